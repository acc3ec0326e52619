//! The links to nodes over `quoin-link`: pins from the charter, addresses from configuration.

use crate::run::{LinkEvent, NodeLinks};
use quoin_api::frame::Priority;
use quoin_core::{Certificate, CharterNumber, NodeIndex};
use quoin_link::{
    Config, Endpoint, Inbound, Limits, LinkError, PeerId, Pins, SpkiHash, TlsIdentity,
};
use quoin_policy::Charter;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// How many link events may wait for the core.
const EVENTS_MAX: usize = 1_024;

/// What is done with a charter that has come into force, such as writing it to disk.
pub type OnCharter = Box<dyn Fn(CharterNumber, &[u8]) + Send>;

/// Mutual-TLS links to the nodes of the charter in force.
pub struct TlsLinks {
    endpoint: Endpoint,
    addresses: BTreeMap<PeerId, String>,
    on_charter: OnCharter,
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
/// where each node listens, as `host:port`. Call it inside a runtime.
///
/// # Errors
/// When the charter pins a key twice, or the TLS library refuses the identity.
pub fn connect(
    name: String,
    identity: TlsIdentity,
    charter: &Charter,
    addresses: BTreeMap<NodeIndex, String>,
    jitter_seed: [u8; 32],
    on_charter: OnCharter,
) -> Result<(TlsLinks, mpsc::Receiver<LinkEvent>), LinkError> {
    let addresses: BTreeMap<PeerId, String> = addresses
        .into_iter()
        .map(|(node, address)| (PeerId::Node(node), address))
        .collect();
    let config = Config {
        me: PeerId::Gateway(name),
        identity,
        pins: pins_of(charter)?,
        addresses: addresses.clone(),
        limits: Limits::default(),
        jitter_seed,
    };
    let (endpoint, inbound) = Endpoint::start(config, None)?;
    let (events, received) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(forward(inbound, events));
    let links = TlsLinks {
        endpoint,
        addresses,
        on_charter,
    };
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

    fn adopted(&self, number: CharterNumber, charter: &[u8]) {
        (self.on_charter)(number, charter);
        let pins = Certificate::<Charter>::from_bytes(charter)
            .ok()
            .and_then(|certificate| pins_of(certificate.unverified()).ok());
        match pins {
            Some(pins) => self.endpoint.set_peers(pins, &self.addresses),
            None => tracing::error!(number = number.0, "the charter's pins are unusable"),
        }
    }
}
