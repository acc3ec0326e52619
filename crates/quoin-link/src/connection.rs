//! One authenticated connection: reads and writes side by side until either ends.

use crate::endpoint::{Event, Inbound, Shared};
use crate::error::LinkError;
use crate::frame::{Assembler, Read, write_keepalive};
use crate::identity::SpkiHash;
use crate::limits::{Limits, count};
use crate::pins::PeerId;
use crate::queue::SendQueue;
use crate::slot::Slot;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Several small frames share one write and one TLS record up to about this size.
const WRITE_BYTES: usize = 64 << 10;

/// What a received frame costs of its peer's inbound bound besides its length. It bounds the
/// number of small frames: 64 MiB allow about a thousand.
const FRAME_COST_BYTES: usize = 64 << 10;

/// A finished handshake.
pub(crate) struct Link<S> {
    /// Who is at the other end.
    pub(crate) peer: PeerId,
    /// The key that proved it.
    pub(crate) key: SpkiHash,
    pub(crate) stream: S,
}

/// Serves the peer until the connection ends, and says why it ended.
///
/// The receiver sees `Connected`, then frames, then `Disconnected`, and nothing of another
/// connection of this peer in between.
pub(crate) async fn serve<S>(shared: &Shared, slot: &Slot, link: Link<S>) -> LinkError
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = &shared.limits;
    let peer = &link.peer;
    let claim = slot.claim();
    if shared.pins.key(peer) != Some(link.key) {
        // The charter changed during the handshake.
        return LinkError::NotPinned;
    }
    let queue = Arc::new(SendQueue::new(
        limits.queue_frames_max,
        limits.queue_bytes_max,
    ));
    let seat = match slot.take(claim, queue.clone()).await {
        Ok(seat) => seat,
        Err(e) => return e,
    };
    if let Err(e) = shared.deliver(peer, Event::Connected).await {
        return e;
    }
    count(&shared.counters.connections);
    tracing::info!(%peer, "link is up");
    let (mut reader, mut writer) = tokio::io::split(link.stream);
    let why = tokio::select! {
        biased;
        () = shared.stopped() => LinkError::ShutDown,
        () = slot.superseded(claim) => LinkError::Superseded,
        why = write_loop(limits, &queue, &mut writer) => why,
        why = read_loop(shared, slot, peer, &mut reader) => why,
    };
    // From here on nothing can be queued for this connection.
    queue.close();
    if is_malformed(&why) {
        count(&shared.counters.malformed);
    }
    tracing::info!(%peer, %why, "link is down");
    let gone = shared.deliver(peer, Event::Disconnected).await;
    drop(seat);
    gone.err().unwrap_or(why)
}

fn is_malformed(why: &LinkError) -> bool {
    matches!(
        why,
        LinkError::FragmentTooLong { .. }
            | LinkError::FrameTooLong(_)
            | LinkError::UnknownKind(_)
            | LinkError::MalformedFragment(_)
    )
}

async fn read_loop(
    shared: &Shared,
    slot: &Slot,
    peer: &PeerId,
    reader: &mut (impl AsyncRead + Unpin),
) -> LinkError {
    let mut assembler = Assembler::default();
    loop {
        let body = match read(&shared.limits, &mut assembler, reader).await {
            Ok(Read::Frame(_, body)) => body,
            Ok(Read::Keepalive | Read::Part) => continue,
            Err(e) => return e,
        };
        let max = shared.limits.inbound_bytes_max;
        let cost = u32::try_from(body.len() + FRAME_COST_BYTES).map_or(max, |cost| cost.min(max));
        let Ok(permit) = slot.inbound.clone().acquire_many_owned(cost).await else {
            return LinkError::ShutDown;
        };
        let inbound = Inbound::frame(peer.clone(), body, permit);
        if shared.inbound.send(inbound).await.is_err() {
            return LinkError::ShutDown;
        }
        count(&shared.counters.frames_received);
    }
}

async fn read(
    limits: &Limits,
    assembler: &mut Assembler,
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Read, LinkError> {
    match timeout(limits.idle, assembler.read(reader)).await {
        Ok(read) => read,
        Err(_) => Err(LinkError::Idle(millis(limits.idle))),
    }
}

pub(crate) async fn write_loop(
    limits: &Limits,
    queue: &SendQueue,
    writer: &mut (impl AsyncWrite + Unpin),
) -> LinkError {
    let mut out = Vec::new();
    loop {
        out.clear();
        if timeout(limits.keepalive, queue.ready()).await.is_ok() {
            queue.take(&mut out, WRITE_BYTES);
        } else {
            write_keepalive(&mut out);
        }
        if let Err(e) = write(limits, writer, &out).await {
            return e;
        }
    }
}

/// Writes and flushes `bytes` within the write limit.
pub(crate) async fn write(
    limits: &Limits,
    writer: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> Result<(), LinkError> {
    let writing = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    match timeout(limits.write, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(LinkError::io("write to peer")(e)),
        Err(_) => Err(LinkError::WriteTimeout(millis(limits.write))),
    }
}

/// A duration in whole milliseconds, for an error's text.
pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
