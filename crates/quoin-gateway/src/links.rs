//! The links to nodes over `quoin-link`: pins from the charter, addresses from configuration.
//!
//! A charter carries no addresses. Whoever adds a node writes its address into the gateway's settings
//! and brings the charter into force, in either order: both are followed while the gateway runs.

use crate::run::{LinkEvent, NodeLinks};
use quoin_api::frame::Priority;
use quoin_core::{Certificate, CharterNumber, NodeIndex};
use quoin_link::{
    Config, Endpoint, Inbound, Limits, LinkError, PeerId, Pins, SpkiHash, TlsIdentity,
};
use quoin_policy::Charter;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How many link events may wait for the core.
const EVENTS_MAX: usize = 1_024;

/// What is done with a charter that has come into force, such as writing it to disk.
pub type OnCharter = Box<dyn Fn(CharterNumber, &[u8]) + Send>;

/// Where nodes listen, as `host:port`.
pub type Addresses = BTreeMap<NodeIndex, String>;

/// Looks whether the settings have other addresses by now; `None` when they are as they were.
pub type OnLook = Box<dyn FnMut() -> Option<Addresses> + Send>;

/// How often the settings are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Mutual-TLS links to the nodes of the charter in force.
pub struct TlsLinks {
    endpoint: Endpoint,
    pins: Pins,
    addresses: Addresses,
    looked: Instant,
    on_charter: OnCharter,
    on_look: OnLook,
}

/// Whose keys `charter` pins, for a gateway: its nodes'.
///
/// # Errors
/// When a key appears twice.
pub fn pins_of(charter: &Charter) -> Result<Pins, LinkError> {
    let nodes = charter.nodes.iter();
    Pins::new(nodes.map(|n| (SpkiHash(n.tls_key_hash), PeerId::Node(n.index))))
}

/// Connects to the nodes of `charter`. `name` is this gateway's id in the charter, `addresses` is
/// where each node listens, and `on_look` says when that has changed. Call it inside a runtime.
///
/// # Errors
/// When the charter pins a key twice, or the TLS library refuses the identity.
pub fn connect(
    name: String,
    identity: TlsIdentity,
    charter: &Charter,
    addresses: Addresses,
    jitter_seed: [u8; 32],
    on_charter: OnCharter,
    on_look: OnLook,
) -> Result<(TlsLinks, mpsc::Receiver<LinkEvent>), LinkError> {
    let pins = pins_of(charter)?;
    let config = Config {
        me: PeerId::Gateway(name),
        identity,
        pins: pins.clone(),
        addresses: of_pinned(&pins, &addresses),
        limits: Limits::default(),
        jitter_seed,
    };
    let (endpoint, inbound) = Endpoint::start(config, None)?;
    let (events, received) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(forward(inbound, events));
    let links = TlsLinks {
        endpoint,
        pins,
        addresses,
        looked: Instant::now(),
        on_charter,
        on_look,
    };
    links.warn_of_missing();
    Ok((links, received))
}

/// Hands events on until either side is gone. Each inbound event is held until the core's queue
/// has room, so that a node that floods us slows only itself.
async fn forward(mut inbound: mpsc::Receiver<Inbound>, events: mpsc::Sender<LinkEvent>) {
    while let Some(mut received) = inbound.recv().await {
        let PeerId::Node(node) = received.from else {
            continue;
        };
        let event = std::mem::replace(&mut received.event, quoin_link::Event::Connected);
        let event = match event {
            quoin_link::Event::Connected => LinkEvent::Up(node),
            quoin_link::Event::Disconnected => LinkEvent::Down(node),
            quoin_link::Event::Frame(bytes) => LinkEvent::Frame(node, bytes),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

impl NodeLinks for TlsLinks {
    fn send(&self, node: NodeIndex, priority: Priority, frame: Vec<u8>) {
        let priority = match priority {
            Priority::Urgent => quoin_link::Priority::Urgent,
            Priority::Normal => quoin_link::Priority::Normal,
            Priority::Bulk => quoin_link::Priority::Bulk,
        };
        let sent = self.endpoint.send(&PeerId::Node(node), priority, frame);
        if sent != quoin_link::Sent::Queued {
            // The core waits with a time-out and asks others; the endpoint counts what it lost.
            tracing::debug!(%node, ?sent, "a frame was not sent");
        }
    }

    fn adopted(&mut self, number: CharterNumber, charter: &[u8]) {
        (self.on_charter)(number, charter);
        let pins = Certificate::<Charter>::from_bytes(charter)
            .ok()
            .and_then(|certificate| pins_of(certificate.unverified()).ok());
        match pins {
            Some(pins) => {
                self.pins = pins;
                self.look();
                self.follow();
            }
            None => tracing::error!(number = number.0, "the charter's pins are unusable"),
        }
    }

    fn tick(&mut self) {
        if self.looked.elapsed() >= LOOK_EVERY && self.look() {
            self.follow();
        }
    }
}

impl TlsLinks {
    /// Takes over other addresses; says whether there are any.
    fn look(&mut self) -> bool {
        self.looked = Instant::now();
        let found = (self.on_look)();
        let changed = found.is_some();
        if let Some(addresses) = found {
            self.addresses = addresses;
        }
        changed
    }

    fn follow(&self) {
        let addresses = of_pinned(&self.pins, &self.addresses);
        self.endpoint.set_peers(self.pins.clone(), &addresses);
        self.warn_of_missing();
    }

    fn warn_of_missing(&self) {
        for peer in self.pins.peers() {
            if let PeerId::Node(node) = peer
                && !self.addresses.contains_key(node)
            {
                tracing::warn!(%node, "the settings have no address of this node; add it");
            }
        }
    }
}

/// The addresses of pinned nodes: that of anybody else is of no use.
fn of_pinned(pins: &Pins, addresses: &Addresses) -> BTreeMap<PeerId, String> {
    let peers = addresses
        .iter()
        .map(|(node, address)| (PeerId::Node(*node), address.clone()));
    peers.filter(|(peer, _)| pins.key(peer).is_some()).collect()
}
