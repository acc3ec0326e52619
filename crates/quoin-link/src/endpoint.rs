//! The endpoint: listens, dials, and keeps one connection to each peer.

use crate::connection::{Link, millis, serve, write};
use crate::courier::{self, Accepted, Couriers};
use crate::error::LinkError;
use crate::frame::{Assembler, FRAME_BYTES_MAX, Priority, Read, write_keepalive};
use crate::identity::{SpkiHash, TlsIdentity};
use crate::limits::{Counters, Limits, LiveCounters, count};
use crate::pins::{LivePins, PeerId, Pins};
use crate::slot::Slot;
use crate::tls::{COURIER_PROTOCOL, Configs, PROTOCOL};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use rustls::CommonState;
use rustls::pki_types::ServerName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// How long to wait when the system refuses to accept (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What an endpoint is made of.
pub struct Config {
    /// Who this side is.
    pub me: PeerId,
    /// The key whose hash the peers have pinned.
    pub identity: TlsIdentity,
    /// Whose keys are accepted.
    pub pins: Pins,
    /// Where peers listen, as `host:port`. Those that dial us may be absent; they are ignored.
    pub addresses: BTreeMap<PeerId, String>,
    /// Bounds.
    pub limits: Limits,
    /// Spreads reconnects in time. It guards nothing, so it need not be secret.
    pub jitter_seed: [u8; 32],
}

/// What happened on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer proved its key and the link is usable both ways.
    Connected,
    /// The link ended; frames not yet delivered are lost.
    Disconnected,
    /// A frame, as the peer gave it to its endpoint.
    Frame(Vec<u8>),
}

/// One event and the peer it concerns. Dropping it makes room for more from the same peer.
#[derive(Debug)]
pub struct Inbound {
    /// Whose pinned key the link was made with.
    pub from: PeerId,
    /// What happened.
    pub event: Event,
    _room: Option<OwnedSemaphorePermit>,
}

impl Inbound {
    pub(crate) fn frame(from: PeerId, body: Vec<u8>, room: OwnedSemaphorePermit) -> Self {
        Self {
            from,
            event: Event::Frame(body),
            _room: Some(room),
        }
    }
}

/// What became of a frame given to [`Endpoint::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// It waits for its turn; it may still be lost with the connection.
    Queued,
    /// The queue is full of frames at least as urgent.
    Dropped,
    /// There is no connection now. Nothing is kept for later.
    NotConnected,
    /// It is longer than [`FRAME_BYTES_MAX`].
    TooLong,
}

/// Keeps the links of one process. Dropping it closes them.
pub struct Endpoint {
    shared: Arc<Shared>,
    /// The address of each dialled peer; `None` ends its task.
    dialled: Mutex<BTreeMap<PeerId, watch::Sender<Option<String>>>>,
    ended: mpsc::Receiver<()>,
    local: Option<std::net::SocketAddr>,
}

/// What all tasks of an endpoint share.
pub(crate) struct Shared {
    me: PeerId,
    tls: Configs,
    pub(crate) pins: LivePins,
    pub(crate) limits: Limits,
    pub(crate) counters: LiveCounters,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    slots: Mutex<BTreeMap<PeerId, Arc<Slot>>>,
    pub(crate) couriers: Couriers,
    jitter_seed: [u8; 32],
    stop: watch::Sender<bool>,
    /// Each task holds a clone, so that shutting down can wait for all of them.
    running: Mutex<Option<mpsc::Sender<()>>>,
}

impl Endpoint {
    /// Starts listening on `listener`, if there is one, and dialling. Call it inside a runtime.
    ///
    /// # Errors
    /// When the TLS library refuses the identity, or the listener has no address.
    pub fn start(
        config: Config,
        listener: Option<TcpListener>,
    ) -> Result<(Self, mpsc::Receiver<Inbound>), LinkError> {
        let pins = LivePins::new(config.pins);
        let tls = Configs::new(
            &config.identity,
            pins.clone(),
            config.limits.couriers_max > 0,
        )?;
        let (inbound, received) = mpsc::channel(config.limits.inbound_events_max);
        let (running, ended) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            me: config.me,
            tls,
            pins,
            couriers: Couriers::new(&config.limits),
            limits: config.limits,
            counters: LiveCounters::default(),
            inbound,
            slots: Mutex::default(),
            jitter_seed: config.jitter_seed,
            stop: watch::Sender::new(false),
            running: Mutex::new(Some(running)),
        });
        let local = match &listener {
            Some(l) => Some(l.local_addr().map_err(LinkError::io("read own address"))?),
            None => None,
        };
        if let Some(listener) = listener {
            shared.spawn(accept_loop(shared.clone(), listener));
        }
        let endpoint = Self {
            shared,
            dialled: Mutex::default(),
            ended,
            local,
        };
        endpoint.set_addresses(&config.addresses);
        Ok((endpoint, received))
    }

    /// Gives a frame to the link with `peer`. Never blocks.
    pub fn send(&self, peer: &PeerId, priority: Priority, body: Vec<u8>) -> Sent {
        let counters = &self.shared.counters;
        if body.len() > FRAME_BYTES_MAX {
            return Sent::TooLong;
        }
        let queue = match peer {
            PeerId::Courier(id) => self.shared.couriers.queue(*id),
            peer => self.shared.slots().get(peer).and_then(|slot| slot.queue()),
        };
        let pushed = queue.map(|queue| queue.push(priority, body));
        let Some(pushed) = pushed.filter(|pushed| !pushed.closed) else {
            count(&counters.not_connected);
            return Sent::NotConnected;
        };
        for dropped in pushed.dropped {
            count(match dropped {
                Priority::Urgent => &counters.dropped_urgent,
                Priority::Normal => &counters.dropped_normal,
                Priority::Bulk => &counters.dropped_bulk,
            });
        }
        if pushed.queued {
            count(&counters.frames_queued);
            Sent::Queued
        } else {
            Sent::Dropped
        }
    }

    /// Puts a new charter's peers in force. Links whose key is no longer pinned for their peer
    /// are closed at once.
    pub fn set_peers(&self, pins: Pins, addresses: &BTreeMap<PeerId, String>) {
        let before = self.shared.pins.replace(pins.clone());
        // After the change, so that a handshake which finished under the old pins is either seen
        // here or sees the new ones itself.
        for (peer, slot) in self.shared.slots().iter() {
            if pins.key(peer) != before.key(peer) {
                slot.close();
            }
        }
        self.set_addresses(addresses);
    }

    /// Closes the connection of a courier that has sent what it may not.
    pub fn close_courier(&self, id: u64) {
        self.shared.couriers.close(id);
    }

    /// The peers that are connected now.
    #[must_use]
    pub fn connected(&self) -> Vec<PeerId> {
        let slots = self.shared.slots();
        let connected = slots.iter().filter(|(_, slot)| slot.queue().is_some());
        connected.map(|(peer, _)| peer.clone()).collect()
    }

    /// What the endpoint has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters.snapshot()
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        self.local
    }

    /// Closes every link and waits until its tasks have ended. Drain or drop the receiver first:
    /// a task may be waiting to deliver its last event.
    pub async fn shutdown(mut self) {
        self.shared.stop.send_replace(true);
        self.shared.close_running();
        // Ends with `None` when the last task has dropped its sender.
        let _ = self.ended.recv().await;
    }

    fn set_addresses(&self, addresses: &BTreeMap<PeerId, String>) {
        let mut dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        dialled.retain(|peer, address| {
            let keep = addresses.contains_key(peer);
            if !keep {
                address.send_replace(None);
            }
            keep
        });
        for (peer, address) in addresses {
            if !self.shared.me.dials(peer) {
                continue;
            }
            if let Some(known) = dialled.get(peer) {
                known.send_replace(Some(address.clone()));
                continue;
            }
            let sender = watch::Sender::new(Some(address.clone()));
            let task = dial_loop(self.shared.clone(), peer.clone(), sender.subscribe());
            dialled.insert(peer.clone(), sender);
            self.shared.spawn(task);
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

impl Shared {
    /// Delivers an event that is not a frame.
    pub(crate) async fn deliver(&self, peer: &PeerId, event: Event) -> Result<(), LinkError> {
        let inbound = Inbound {
            from: peer.clone(),
            event,
            _room: None,
        };
        let sent = self.inbound.send(inbound).await;
        sent.map_err(|_| LinkError::ShutDown)
    }

    /// Returns once the endpoint shuts down. Safe to cancel.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, peer: &PeerId) -> Arc<Slot> {
        let new = || Arc::new(Slot::new(self.limits.inbound_bytes_max));
        self.slots().entry(peer.clone()).or_insert_with(new).clone()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.clone() {
            tokio::spawn(async move {
                task.await;
                drop(running);
            });
        }
    }

    fn close_running(&self) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Who is at the other end of a finished handshake.
    fn identify(&self, tls: &CommonState) -> Result<(PeerId, SpkiHash), LinkError> {
        if tls.alpn_protocol() != Some(PROTOCOL) {
            return Err(LinkError::WrongProtocol);
        }
        let certificate = tls.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.ok_or(LinkError::NotPinned)?;
        let hash = SpkiHash::of_certificate(certificate)?;
        let peer = self.pins.peer(&hash).ok_or(LinkError::NotPinned)?;
        Ok((peer, hash))
    }
}

async fn accept_loop(shared: Arc<Shared>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(shared.limits.handshakes_max));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stopped() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            count(&shared.counters.handshakes_shed);
            continue;
        };
        shared.spawn(accept_one(shared.clone(), stream, place));
    }
}

async fn accept_one(shared: Arc<Shared>, stream: TcpStream, place: OwnedSemaphorePermit) {
    let handshake = tokio::select! {
        biased;
        () = shared.stopped() => return,
        done = timeout(shared.limits.handshake, accept_handshake(&shared, stream)) => done,
    };
    drop(place);
    let refused = match handshake {
        Ok(Ok(Accepted::Courier(stream))) => {
            let why = courier::serve(&shared, stream).await;
            tracing::debug!(%why, "courier served");
            return;
        }
        Ok(Ok(Accepted::Peer(link))) => {
            let slot = shared.slot(&link.peer);
            serve(&shared, &slot, link).await;
            return;
        }
        Ok(Err(refused)) => refused,
        Err(_) => LinkError::HandshakeTimeout(millis(shared.limits.handshake)),
    };
    count(&shared.counters.handshakes_refused);
    // Anybody who reaches the port can cause this line, so it is not a warning; the counter is
    // what an alarm watches.
    tracing::debug!(%refused, "inbound link refused");
}

async fn accept_handshake(shared: &Shared, stream: TcpStream) -> Result<Accepted, LinkError> {
    no_delay(&stream)?;
    let acceptor = TlsAcceptor::from(shared.tls.server.clone());
    let tls = acceptor.accept(stream).await;
    let tls = tls.map_err(LinkError::io("TLS handshake"))?;
    let peer = match is_courier(tls.get_ref().1) {
        true if shared.limits.couriers_max > 0 => None,
        true => return Err(LinkError::NotPinned),
        false => Some(shared.identify(tls.get_ref().1)?),
    };
    if let Some((peer, _)) = &peer
        && !peer.dials(&shared.me)
    {
        return Err(LinkError::WrongDirection(peer.clone()));
    }
    let mut tls = TlsStream::from(tls);
    // In TLS 1.3 the client finishes before we have judged its key; this first keep-alive is how
    // it learns that it was accepted.
    let mut hello = Vec::new();
    write_keepalive(&mut hello);
    write(&shared.limits, &mut tls, &hello).await?;
    Ok(match peer {
        Some((peer, key)) => Accepted::Peer(Link {
            peer,
            key,
            stream: tls,
        }),
        None => Accepted::Courier(tls),
    })
}

/// Whether a client came without a certificate and asked to be taken for a courier.
fn is_courier(tls: &CommonState) -> bool {
    tls.alpn_protocol() == Some(COURIER_PROTOCOL) && tls.peer_certificates().is_none()
}

async fn dial_loop(
    shared: Arc<Shared>,
    peer: PeerId,
    mut address: watch::Receiver<Option<String>>,
) {
    let mut backoff = Backoff::new(&shared.limits, shared.jitter_seed, &peer);
    loop {
        let Some(target) = address.borrow_and_update().clone() else {
            return;
        };
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            connected = dial_handshake(&shared, &peer, &target) => match connected {
                Ok(link) => {
                    backoff.reset();
                    let slot = shared.slot(&peer);
                    serve(&shared, &slot, link).await;
                }
                Err(failed) => {
                    count(&shared.counters.dials_failed);
                    tracing::debug!(%peer, %failed, "dial failed");
                }
            },
        }
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

async fn dial_handshake(
    shared: &Shared,
    peer: &PeerId,
    address: &str,
) -> Result<Link<TlsStream<TcpStream>>, LinkError> {
    let dialling = async {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(LinkError::io(format!("connect to `{address}`")))?;
        no_delay(&stream)?;
        let connector = TlsConnector::from(shared.tls.client.clone());
        // The name has no meaning: verification looks at the key alone.
        let name = ServerName::try_from("quoin").map_err(|_| LinkError::WrongProtocol)?;
        let tls = connector.connect(name, stream).await;
        let tls = tls.map_err(LinkError::io("TLS handshake"))?;
        let (found, key) = shared.identify(tls.get_ref().1)?;
        if found != *peer {
            let expected = peer.clone();
            return Err(LinkError::OtherPeer { expected, found });
        }
        let mut tls = TlsStream::from(tls);
        match Assembler::default().read(&mut tls).await? {
            Read::Keepalive => Ok(Link {
                peer: found,
                key,
                stream: tls,
            }),
            Read::Part | Read::Frame(..) => Err(LinkError::WrongProtocol),
        }
    };
    let limit = shared.limits.handshake;
    match timeout(limit, dialling).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LinkError::HandshakeTimeout(millis(limit))),
    }
}

fn no_delay(stream: &TcpStream) -> Result<(), LinkError> {
    stream
        .set_nodelay(true)
        .map_err(LinkError::io("set TCP_NODELAY"))
}

/// Delays between dials: doubled after each failure, each between half and all of the step.
struct Backoff {
    min: Duration,
    max: Duration,
    step: Duration,
    rng: ChaCha20Rng,
}

impl Backoff {
    fn new(limits: &Limits, seed: [u8; 32], peer: &PeerId) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        // Only nodes are dialled; each gets a stream of its own.
        if let PeerId::Node(index) = peer {
            rng.set_stream(u64::from(index.get()));
        }
        Self {
            min: limits.backoff_min,
            max: limits.backoff_max,
            step: limits.backoff_min,
            rng,
        }
    }

    fn reset(&mut self) {
        self.step = self.min;
    }

    fn next(&mut self) -> Duration {
        let half = self.step / 2;
        let jitter = half.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX));
        self.step = (self.step * 2).min(self.max);
        half + jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoin_core::NodeIndex;

    #[test]
    fn delays_grow_to_their_limit_and_start_again_after_a_success() {
        let limits = Limits::default();
        let peer = PeerId::Node(NodeIndex::new(2).unwrap());
        let mut backoff = Backoff::new(&limits, [1; 32], &peer);
        let delays: Vec<_> = (0..8).map(|_| backoff.next()).collect();
        assert!(delays[0] >= limits.backoff_min / 2 && delays[0] <= limits.backoff_min);
        assert!(delays[7] >= limits.backoff_max / 2 && delays[7] <= limits.backoff_max);
        backoff.reset();
        assert!(backoff.next() <= limits.backoff_min);
        let mut other = Backoff::new(&limits, [2; 32], &peer);
        assert_ne!(other.next(), delays[0], "the seed spreads reconnects");
    }
}
