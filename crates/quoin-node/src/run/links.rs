//! The links to peers: whose keys are pinned follows the charter in force, and where nodes listen
//! follows `node.json`.
//!
//! A charter carries no addresses. So whoever adds a node first writes its address into `node.json`
//! of the others, and then brings the charter into force; the file is looked at every two seconds,
//! and the node need not be restarted. Doing it in the other order works too, only later.

use super::folder::{NODE_FILE, NodeFile, read_node_file};
use super::{RunError, io};
use crate::core::{Node, Peer, courier_may};
use quoin_api::Frame;
use quoin_api::frame::{FrameError, Priority};
use quoin_core::{GatewayId, NodeIndex};
use quoin_link::{Endpoint, Inbound, Limits, LinkError, PeerId, Pins, SpkiHash, TlsIdentity};
use quoin_policy::Charter;
use rand_core::{OsRng, RngCore};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// How often `node.json` is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long links stay as they are after a charter has come into force, so that those who leave
/// hear of it. The core deals with them no more from the first moment.
const FOLLOW_AFTER: Duration = Duration::from_millis(500);

/// How many couriers there are at a time: people with something urgent, and watchers.
const COURIERS_MAX: usize = 16;

/// The links of a running node.
pub(super) struct Links {
    endpoint: Endpoint,
    dir: PathBuf,
    me: NodeIndex,
    pins: Pins,
    /// Peers whose links end in a moment, because the charter in force has other keys for them, or
    /// none.
    leaving: BTreeSet<PeerId>,
    peers: BTreeMap<NodeIndex, SocketAddr>,
    seen: Option<SystemTime>,
    looked: Instant,
    follow_at: Option<Instant>,
}

impl Links {
    /// Listens, and dials the nodes of the charter in force.
    pub(super) async fn start(
        dir: &Path,
        file: &NodeFile,
        node: &Node,
    ) -> Result<(Self, mpsc::Receiver<Inbound>), RunError> {
        let me = node.boot().node;
        if file.index != me {
            return Err(RunError::Malformed {
                path: dir.join(NODE_FILE).display().to_string(),
                reason: format!("`index` is {}, but the charter says {me}", file.index),
            });
        }
        let identity = TlsIdentity::load(&dir.join(super::folder::TLS_FILE))?;
        let listener = tokio::net::TcpListener::bind(file.listen)
            .await
            .map_err(io(format!("listen on `{}`", file.listen)))?;
        let mut jitter_seed = [0u8; 32];
        OsRng.fill_bytes(&mut jitter_seed);
        let pins = pins(node)?;
        let config = quoin_link::Config {
            me: PeerId::Node(me),
            identity,
            addresses: addresses(&pins, &file.peers),
            pins: pins.clone(),
            limits: Limits {
                couriers_max: COURIERS_MAX,
                ..Limits::default()
            },
            jitter_seed,
        };
        let (endpoint, inbound) = Endpoint::start(config, Some(listener))?;
        let links = Self {
            endpoint,
            dir: dir.to_owned(),
            me,
            pins,
            leaving: BTreeSet::new(),
            peers: file.peers.clone(),
            seen: modified(dir),
            looked: Instant::now(),
            follow_at: None,
        };
        links.warn_of_missing(node.charter().unverified());
        Ok((links, inbound))
    }

    /// The charter in force has changed.
    pub(super) fn charter_changed(&mut self, node: &Node) {
        let next = pins(node).unwrap_or_default();
        let peers = self.pins.peers();
        self.leaving = peers
            .filter(|peer| next.key(peer) != self.pins.key(peer))
            .cloned()
            .collect();
        self.follow_at = Some(Instant::now() + FOLLOW_AFTER);
    }

    /// Whether what a link brings is for the core: nothing is, from whoever is about to be cut off,
    /// and another identity may come at its index.
    pub(super) fn admits(&self, inbound: &Inbound) -> bool {
        matches!(inbound.event, quoin_link::Event::Disconnected)
            || !self.leaving.contains(&inbound.from)
    }

    /// What the passing of time means for the links.
    pub(super) fn tick(&mut self, node: &Node) {
        let now = Instant::now();
        let mut follow = self.follow_at.is_some_and(|at| now >= at);
        if follow || now.duration_since(self.looked) >= LOOK_EVERY {
            self.looked = now;
            follow |= self.read_addresses();
        }
        if follow {
            self.follow_at = None;
            self.follow(node);
        }
    }

    /// Reads the addresses again when the file has changed; says whether they have.
    fn read_addresses(&mut self) -> bool {
        let modified = modified(&self.dir);
        if modified == self.seen {
            return false;
        }
        self.seen = modified;
        match read_node_file(&self.dir) {
            Ok(file) if file.peers == self.peers => false,
            Ok(file) => {
                tracing::info!("the addresses in `node.json` have changed");
                self.peers = file.peers;
                true
            }
            Err(error) => {
                tracing::error!(%error, "the addresses stay as they were");
                false
            }
        }
    }

    fn follow(&mut self, node: &Node) {
        let charter = node.charter().unverified();
        match pins(node) {
            Ok(pins) => {
                let addresses = addresses(&pins, &self.peers);
                self.endpoint.set_peers(pins.clone(), &addresses);
                self.pins = pins;
                self.leaving.clear();
                tracing::info!(charter = charter.number.0, "links follow the charter");
            }
            // A charter that verified names no key twice.
            Err(error) => tracing::error!(%error, "the charter's keys cannot be pinned"),
        }
        if node.is_member() {
            self.warn_of_missing(charter);
        }
    }

    fn warn_of_missing(&self, charter: &Charter) {
        let dialled = charter.nodes.iter().map(|n| n.index);
        for node in dialled.filter(|n| *n > self.me && !self.peers.contains_key(n)) {
            tracing::warn!(
                node = node.get(),
                "`peers` in `node.json` has no address of this node; add it, and it is dialled"
            );
        }
    }

    /// Gives a frame to the link with a peer; it may be lost with the link.
    pub(super) fn send(&self, peer: &Peer, frame: &Frame) {
        let priority = match frame.priority() {
            Priority::Urgent => quoin_link::Priority::Urgent,
            Priority::Normal => quoin_link::Priority::Normal,
            Priority::Bulk => quoin_link::Priority::Bulk,
        };
        let to = match peer {
            Peer::Node(node) => PeerId::Node(*node),
            Peer::Gateway(gateway) => PeerId::Gateway(gateway.to_string()),
            Peer::Courier(number) => PeerId::Courier(*number),
        };
        let sent = self.endpoint.send(&to, priority, frame.to_bytes());
        if sent != quoin_link::Sent::Queued {
            tracing::debug!(?peer, ?sent, "frame not sent");
        }
    }

    /// Whether a peer may send the frame at all. A courier that sends anything but what everybody may
    /// bring is cut off; what it sent never reaches the core.
    pub(super) fn may_send(&self, from: &PeerId, frame: &Frame) -> bool {
        let PeerId::Courier(number) = from else {
            return true;
        };
        let may = courier_may(frame);
        if !may {
            tracing::debug!(%from, "a courier sent what it may not");
            self.endpoint.close_courier(*number);
        }
        may
    }

    /// Drops a frame that cannot be read, and with it a courier that sent it. Anybody can be one, so
    /// that is no warning.
    pub(super) fn malformed(&self, from: &PeerId, error: &FrameError) {
        match from {
            PeerId::Courier(number) => {
                tracing::debug!(%from, %error, "malformed frame of a courier");
                self.endpoint.close_courier(*number);
            }
            from => tracing::warn!(%from, %error, "malformed frame dropped"),
        }
    }

    /// Closes every link.
    pub(super) async fn shutdown(self) {
        self.endpoint.shutdown().await;
    }
}

/// Whose keys the charter in force pins for this node; nobody's when it names this node no longer.
fn pins(node: &Node) -> Result<Pins, LinkError> {
    if !node.is_member() {
        return Pins::new([]);
    }
    let (me, charter) = (node.boot().node, node.charter().unverified());
    let nodes = charter.nodes.iter().filter(|n| n.index != me);
    let nodes = nodes.map(|n| (SpkiHash(n.tls_key_hash), PeerId::Node(n.index)));
    let gateways = charter.gateways.iter();
    let gateways = gateways.map(|g| (SpkiHash(g.tls_key_hash), PeerId::Gateway(g.id.to_string())));
    Pins::new(nodes.chain(gateways))
}

/// Where the pinned nodes listen. An address of anybody else is of no use.
fn addresses(pins: &Pins, peers: &BTreeMap<NodeIndex, SocketAddr>) -> BTreeMap<PeerId, String> {
    let all = peers
        .iter()
        .map(|(node, address)| (PeerId::Node(*node), address.to_string()));
    all.filter(|(peer, _)| pins.key(peer).is_some()).collect()
}

fn modified(dir: &Path) -> Option<SystemTime> {
    std::fs::metadata(dir.join(NODE_FILE))
        .and_then(|m| m.modified())
        .ok()
}

/// The peer that an identity on a link belongs to.
pub(super) fn peer_of(id: &PeerId) -> Option<Peer> {
    match id {
        PeerId::Node(node) => Some(Peer::Node(*node)),
        PeerId::Gateway(name) => name.parse::<GatewayId>().ok().map(Peer::Gateway),
        PeerId::Courier(number) => Some(Peer::Courier(*number)),
    }
}
