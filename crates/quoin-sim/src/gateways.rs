//! The shell of the simulated gateway: its deaths, its restarts, what it sends.

use crate::faults::{Defect, below};
use crate::network::{Place, Scheduled};
use crate::setup::Cluster;
use crate::world::World;
use quoin_core::NodeIndex;
use quoin_gateway::adapters::{CharterChain, ThresholdCombiner};
use quoin_gateway::core::{self as gateway, Gateway};
use quoin_node::core::{Event, Peer};

/// The gateway and which of its lives this is.
pub(crate) struct SimGateway {
    pub(crate) core: Option<Gateway>,
    pub(crate) life: u64,
}

impl SimGateway {
    /// A gateway that knows nothing but the genesis.
    pub(crate) fn start(cluster: &Cluster, life: u64) -> Option<Self> {
        let genesis = cluster.genesis.to_bytes();
        let charters = CharterChain::from_genesis(&genesis, cluster.cluster).ok()?;
        let config = gateway::Config {
            lease_want: 8,
            lease_low: 2,
            ..gateway::Config::default()
        };
        let combiner = Box::new(ThresholdCombiner);
        let core = Gateway::new(config, Box::new(charters), combiner, life);
        Some(Self {
            core: Some(core),
            life,
        })
    }
}

impl World {
    /// The gateway dies with everything that it knew; its callers hear nothing and ask again.
    pub(crate) fn crash_gateway(&mut self) {
        if self.gateway.core.take().is_none() {
            return;
        }
        self.gateway.life += 1;
        self.waiting.clear();
        self.checks.gateway_restarted();
        self.counts.gateway_crashes += 1;
        self.note("gateway dies", b"gateway dies");
        let gone = Peer::Gateway(self.gateway_name.clone());
        for node in self.up() {
            self.feed_node(node, Event::Disconnected(gone.clone()));
        }
        let down = 50 + below(&mut self.rng, self.faults.down_ms_max);
        let restart = Scheduled::RestartGateway;
        self.schedule.at(self.now.plus(down), restart);
    }

    pub(crate) fn restart_gateway(&mut self) {
        if self.gateway.core.is_some() {
            return;
        }
        let Some(gateway) = SimGateway::start(&self.cluster, self.gateway.life + 1) else {
            return;
        };
        self.gateway = gateway;
        self.note("gateway starts", b"gateway starts");
        let peer = Peer::Gateway(self.gateway_name.clone());
        for node in self.up() {
            self.feed_gateway(gateway::Event::NodeUp(node));
            self.feed_node(node, Event::Connected(peer.clone()));
        }
    }

    pub(crate) fn feed_gateway(&mut self, event: gateway::Event) {
        let mut effects = Vec::new();
        if let gateway::Event::NodeFrame(_, frame) = &event {
            self.eavesdrop(frame);
        }
        let Some(core) = self.gateway.core.as_mut() else {
            return;
        };
        core.handle(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                gateway::Effect::Send(node, frame) => self.send_from_gateway(node, frame),
                gateway::Effect::Reply(client, outcome) => {
                    let outcome = self.altered(outcome);
                    self.replied(client, &outcome);
                }
                gateway::Effect::CharterAdopted { .. } => self.dial_from_gateway(),
                gateway::Effect::Metric(_) => {}
            }
        }
    }

    fn send_from_gateway(&mut self, node: NodeIndex, frame: quoin_api::Frame) {
        if !self.faults.hostile_gateway {
            return self.transmit(Place::Gateway, Place::Node(node), &frame);
        }
        for frame in self.tampered(frame) {
            self.transmit(Place::Gateway, Place::Node(node), &frame);
        }
    }

    fn altered(&self, outcome: gateway::Outcome) -> gateway::Outcome {
        match outcome {
            gateway::Outcome::Signed(mut signed)
                if self.defect == Some(Defect::AlteredSignature) =>
            {
                if let Some(last) = signed.finished.signature.last_mut() {
                    *last ^= 1;
                }
                gateway::Outcome::Signed(signed)
            }
            other => other,
        }
    }
}
