//! The shell: one task owns the core; this file gives it a clock, links to nodes, and callers.
//!
//! It decides nothing. What it adds to the core is that a caller waits on a channel, and that
//! time is the host's, kept from running backwards.

use crate::core::{ClientId, Effect, Event, Gateway, Outcome};
use crate::metrics::Metrics;
use quoin_api::Frame;
use quoin_api::frame::Priority;
use quoin_core::{CharterNumber, NodeIndex, TimeMs};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// How often the core hears that time has passed.
const TICK: Duration = Duration::from_millis(20);
/// How many callers' events may wait for the core.
const CALLS_MAX: usize = 4_096;

/// What happens on the links to nodes.
#[derive(Debug)]
pub enum LinkEvent {
    /// A link stands, authenticated as that node.
    Up(NodeIndex),
    /// It is gone.
    Down(NodeIndex),
    /// A frame came on it.
    Frame(NodeIndex, Vec<u8>),
}

/// The links to nodes, as the shell uses them.
pub trait NodeLinks: Send + 'static {
    /// Hands a frame to the link with `node`; it may be lost with the link.
    fn send(&self, node: NodeIndex, priority: Priority, frame: Vec<u8>);

    /// A newer charter is in force: keep it, and connect to its nodes.
    fn adopted(&mut self, number: CharterNumber, charter: &[u8]);

    /// Time has passed.
    fn tick(&mut self) {}
}

/// The time of this host.
#[must_use]
pub fn wall_clock() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    TimeMs(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

/// The way of faces to the core. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::Sender<(Event, oneshot::Sender<Outcome>, ClientId)>,
    clients: Arc<AtomicU64>,
}

impl Handle {
    /// Puts an event to the core and waits for its reply.
    pub async fn call(&self, event: impl FnOnce(ClientId) -> Event) -> Outcome {
        let client = ClientId(self.clients.fetch_add(1, Ordering::Relaxed));
        let (reply, replied) = oneshot::channel();
        // A full queue means that the core cannot keep up: better said now than late.
        if self.calls.try_send((event(client), reply, client)).is_err() {
            return Outcome::Overloaded;
        }
        replied.await.unwrap_or(Outcome::Overloaded)
    }
}

/// Starts the task that owns the core. It ends when every handle is dropped.
pub fn spawn(
    gateway: Gateway,
    links: Box<dyn NodeLinks>,
    inbound: mpsc::Receiver<LinkEvent>,
    metrics: Arc<Metrics>,
) -> Handle {
    let (calls, called) = mpsc::channel(CALLS_MAX);
    let shell = Shell {
        gateway,
        links,
        metrics,
        waiting: BTreeMap::new(),
        now: TimeMs(0),
    };
    tokio::spawn(shell.run(called, inbound));
    Handle {
        calls,
        clients: Arc::new(AtomicU64::new(1)),
    }
}

struct Shell {
    gateway: Gateway,
    links: Box<dyn NodeLinks>,
    metrics: Arc<Metrics>,
    waiting: BTreeMap<ClientId, oneshot::Sender<Outcome>>,
    now: TimeMs,
}

impl Shell {
    async fn run(
        mut self,
        mut calls: mpsc::Receiver<(Event, oneshot::Sender<Outcome>, ClientId)>,
        mut inbound: mpsc::Receiver<LinkEvent>,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut linked = true;
        loop {
            tokio::select! {
                event = inbound.recv(), if linked => match event {
                    Some(event) => self.on_link(event),
                    None => linked = false,
                },
                call = calls.recv() => match call {
                    Some((event, reply, client)) => {
                        self.waiting.insert(client, reply);
                        self.handle(event);
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    self.links.tick();
                    self.handle(Event::Tick);
                }
            }
        }
    }

    fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up(node) => self.handle(Event::NodeUp(node)),
            LinkEvent::Down(node) => self.handle(Event::NodeDown(node)),
            LinkEvent::Frame(node, bytes) => match Frame::from_bytes(&bytes) {
                Ok(frame) => self.handle(Event::NodeFrame(node, frame)),
                Err(error) => {
                    self.metrics.malformed_frame(node);
                    tracing::warn!(%node, %error, "a node sent a malformed frame");
                }
            },
        }
    }

    fn handle(&mut self, event: Event) {
        self.now = self.now.max(wall_clock());
        let mut effects = Vec::new();
        self.gateway.handle(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send(node, frame) => {
                    self.links.send(node, frame.priority(), frame.to_bytes());
                }
                Effect::Reply(client, outcome) => {
                    if let Some(reply) = self.waiting.remove(&client) {
                        // The caller may have hung up; its outcome is kept in the core.
                        let _ = reply.send(outcome);
                    }
                }
                Effect::CharterAdopted { number, charter } => {
                    tracing::info!(number = number.0, "a charter is in force");
                    self.links.adopted(number, &charter);
                }
                Effect::Metric(metric) => self.metrics.count(&metric),
            }
        }
    }
}
