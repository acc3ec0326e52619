//! Couriers: connections of nobody in particular, for statements that carry their own signatures.
//!
//! Whoever must stop a cluster cannot wait for a gateway that may be hostile, and has no key that the
//! charter pins for a link. So a node's port also takes clients without a certificate. The side that
//! dials still demands the pinned key of the node. What a courier brings proves nothing by the way
//! that it came: whoever receives it must look at its signatures alone.
//!
//! Couriers must not get in the way of links. They agree on a protocol of their own inside the
//! handshake, so that a peer without a certificate is never taken for one and a courier never for a
//! peer. There are few at a time, and the one that has been silent longest gives way to a new one
//! unless a frame of its own waits; each is read slowly, and all of them together are; frames are small and none of them is bulk.

use crate::connection::{Link, millis, write, write_loop};
use crate::endpoint::{Event, Inbound, Shared};
use crate::error::LinkError;
use crate::frame::{Assembler, FRAGMENT_BYTES_MAX, Priority, Read, write_fragment};
use crate::identity::SpkiHash;
use crate::limits::{Limits, count};
use crate::pins::{LivePins, PeerId, Pins};
use crate::queue::SendQueue;
use crate::tls::{COURIER_PROTOCOL, courier_config};
use quoin_core::NodeIndex;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::{TlsConnector, TlsStream};

/// Frames waiting for one courier: a chain of charters is the longest answer.
const QUEUE_FRAMES_MAX: usize = 1024;
/// Bytes waiting for one courier.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// The couriers of an endpoint.
pub(crate) struct Couriers {
    state: Mutex<State>,
    /// When the next frame of any courier may be read.
    next: tokio::sync::Mutex<Instant>,
    /// One for each courier, and as many for those that are on their way out.
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    last: u64,
    live: BTreeMap<u64, Seated>,
}

struct Seated {
    queue: Arc<SendQueue>,
    heard: Instant,
    close: Arc<Notify>,
    /// One frame at a time: taken from when a frame is read until the receiver has dealt with it.
    room: Arc<Semaphore>,
}

impl Seated {
    /// Whether a frame of this courier is on its way to the receiver.
    fn is_waiting(&self) -> bool {
        self.room.available_permits() == 0
    }
}

/// A courier's place, held until dropped.
struct Seat<'a> {
    couriers: &'a Couriers,
    id: u64,
    queue: Arc<SendQueue>,
    close: Arc<Notify>,
    room: Arc<Semaphore>,
}

impl Couriers {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            state: Mutex::default(),
            next: tokio::sync::Mutex::new(Instant::now()),
            places: Arc::new(Semaphore::new(limits.couriers_max.saturating_mul(2))),
        }
    }

    /// The queue of a courier that is still there.
    pub(crate) fn queue(&self, id: u64) -> Option<Arc<SendQueue>> {
        self.state()
            .live
            .get(&id)
            .map(|seated| seated.queue.clone())
    }

    /// Closes a courier's connection.
    pub(crate) fn close(&self, id: u64) {
        if let Some(seated) = self.state().live.remove(&id) {
            seated.queue.close();
            seated.close.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place; whoever has been silent longest gives way when there is none. Who has brought a
    /// frame that nobody has dealt with yet stays: what newcomers could push out might be a freeze.
    fn sit(&self, couriers_max: usize) -> Option<Seat<'_>> {
        let mut state = self.state();
        while state.live.len() >= couriers_max {
            let idle = state.live.iter().filter(|(_, seated)| !seated.is_waiting());
            let silent = idle.min_by_key(|(_, seated)| seated.heard);
            let id = silent.map(|(id, _)| *id)?;
            if let Some(seated) = state.live.remove(&id) {
                seated.queue.close();
                seated.close.notify_one();
            }
        }
        state.last += 1;
        let id = state.last;
        let (queue, close) = (
            Arc::new(SendQueue::new(QUEUE_FRAMES_MAX, QUEUE_BYTES_MAX)),
            Arc::new(Notify::new()),
        );
        let seated = Seated {
            queue: queue.clone(),
            heard: Instant::now(),
            close: close.clone(),
            room: Arc::new(Semaphore::new(1)),
        };
        let room = seated.room.clone();
        state.live.insert(id, seated);
        Some(Seat {
            couriers: self,
            id,
            queue,
            close,
            room,
        })
    }

    /// Waits until the next frame may be read, in the order of those who wait.
    async fn turn(&self, limits: &Limits) {
        let mut next = self.next.lock().await;
        sleep_until(*next).await;
        *next = Instant::now() + limits.couriers_frame_every;
    }

    fn heard(&self, id: u64) {
        if let Some(seated) = self.state().live.get_mut(&id) {
            seated.heard = Instant::now();
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.queue.close();
        self.couriers.state().live.remove(&self.id);
    }
}

/// Serves a courier until it ends, and says why it ended.
pub(crate) async fn serve<S>(shared: &Shared, stream: S) -> LinkError
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (couriers, limits) = (&shared.couriers, &shared.limits);
    let Ok(_place) = couriers.places.clone().try_acquire_owned() else {
        count(&shared.counters.handshakes_shed);
        return LinkError::Superseded;
    };
    let Some(seat) = couriers.sit(limits.couriers_max) else {
        count(&shared.counters.handshakes_shed);
        return LinkError::Superseded;
    };
    let peer = PeerId::Courier(seat.id);
    if let Err(e) = shared.deliver(&peer, Event::Connected).await {
        return e;
    }
    count(&shared.counters.couriers);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let why = tokio::select! {
        biased;
        () = shared.stopped() => LinkError::ShutDown,
        () = seat.close.notified() => LinkError::Superseded,
        why = write_loop(limits, &seat.queue, &mut writer) => why,
        why = read_loop(shared, &seat, &peer, &mut reader) => why,
    };
    seat.queue.close();
    tracing::debug!(%peer, %why, "courier is gone");
    let gone = shared.deliver(&peer, Event::Disconnected).await;
    gone.err().unwrap_or(why)
}

async fn read_loop(
    shared: &Shared,
    seat: &Seat<'_>,
    peer: &PeerId,
    reader: &mut (impl AsyncRead + Unpin),
) -> LinkError {
    let limits = &shared.limits;
    let mut assembler = Assembler::new(limits.courier_frame_bytes_max);
    loop {
        let next = timeout(limits.courier_idle, next_frame(&mut assembler, reader));
        let body = match next.await {
            Ok(Ok(body)) => body,
            Ok(Err(e)) => return e,
            Err(_) => return LinkError::Idle(millis(limits.courier_idle)),
        };
        seat.couriers.heard(seat.id);
        let pause = Instant::now() + limits.courier_frame_every;
        let Ok(permit) = seat.room.clone().acquire_owned().await else {
            return LinkError::ShutDown;
        };
        seat.couriers.turn(limits).await;
        let inbound = Inbound::frame(peer.clone(), body, permit);
        if shared.inbound.send(inbound).await.is_err() {
            return LinkError::ShutDown;
        }
        count(&shared.counters.frames_received);
        sleep_until(pause).await;
    }
}

/// The next frame. Keep-alives do not count as one: who has nothing to say leaves.
async fn next_frame(
    assembler: &mut Assembler,
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Vec<u8>, LinkError> {
    loop {
        match assembler.read(reader).await? {
            Read::Keepalive | Read::Part => {}
            Read::Frame(Priority::Bulk, _) => return Err(LinkError::NotForCouriers),
            Read::Frame(_, body) => return Ok(body),
        }
    }
}

/// A courier's own end: a connection to one node, which has proved its pinned key.
pub struct Courier {
    stream: TlsStream<TcpStream>,
    assembler: Assembler,
    limits: Limits,
}

/// Connects to a node as a courier. `key` is the key that the charter pins for the node.
///
/// # Errors
/// When the node cannot be reached in time, has another key, or takes no couriers.
pub async fn courier_connect(address: &str, key: SpkiHash) -> Result<Courier, LinkError> {
    let limits = Limits::default();
    let dialling = async {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(LinkError::io(format!("connect to `{address}`")))?;
        stream
            .set_nodelay(true)
            .map_err(LinkError::io("set TCP_NODELAY"))?;
        // Whose key it is has no meaning here; that it is this one has.
        let one = NodeIndex::new(1).ok_or(LinkError::NotPinned)?;
        let pins = LivePins::new(Pins::new([(key, PeerId::Node(one))])?);
        let connector = TlsConnector::from(courier_config(pins)?);
        let name = ServerName::try_from("quoin").map_err(|_| LinkError::WrongProtocol)?;
        let tls = connector.connect(name, stream).await;
        let tls = tls.map_err(LinkError::io("TLS handshake"))?;
        if tls.get_ref().1.alpn_protocol() != Some(COURIER_PROTOCOL) {
            return Err(LinkError::WrongProtocol);
        }
        let mut courier = Courier {
            stream: TlsStream::from(tls),
            assembler: Assembler::default(),
            limits: limits.clone(),
        };
        match courier.assembler.read(&mut courier.stream).await? {
            Read::Keepalive => Ok(courier),
            Read::Part | Read::Frame(..) => Err(LinkError::WrongProtocol),
        }
    };
    match timeout(limits.handshake, dialling).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LinkError::HandshakeTimeout(millis(limits.handshake))),
    }
}

impl Courier {
    /// Sends one frame.
    ///
    /// # Errors
    /// When the node has closed the connection or does not read.
    pub async fn send(&mut self, body: &[u8]) -> Result<(), LinkError> {
        let mut out = Vec::with_capacity(body.len() + 64);
        let mut parts = body.chunks(FRAGMENT_BYTES_MAX).peekable();
        if parts.peek().is_none() {
            write_fragment(&mut out, Priority::Urgent, &[], false);
        }
        while let Some(part) = parts.next() {
            write_fragment(&mut out, Priority::Urgent, part, parts.peek().is_some());
        }
        write(&self.limits, &mut self.stream, &out).await
    }

    /// Waits for the next frame. Not safe to cancel: after that the connection is of no more use.
    ///
    /// # Errors
    /// When the connection has ended, or nothing at all was heard for too long.
    pub async fn receive(&mut self) -> Result<Vec<u8>, LinkError> {
        loop {
            let read = self.assembler.read(&mut self.stream);
            match timeout(self.limits.idle, read).await {
                Ok(Ok(Read::Frame(_, body))) => return Ok(body),
                Ok(Ok(Read::Keepalive | Read::Part)) => {}
                Ok(Err(e)) => return Err(e),
                Err(_) => return Err(LinkError::Idle(millis(self.limits.idle))),
            }
        }
    }
}

/// What a finished handshake has led to.
pub(crate) enum Accepted {
    /// A peer, by its pinned key.
    Peer(Link<TlsStream<TcpStream>>),
    /// Nobody in particular.
    Courier(TlsStream<TcpStream>),
}
