//! What `GET /metrics` shows, in the Prometheus text format. No label comes from a caller.

use crate::core::outcome::{Status, Stock};
use crate::core::{Metric, Outcome};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use quoin_core::{NodeIndex, Scheme};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Upper bounds of latency, in seconds: from a loopback signature to the deadline.
const LATENCY_BOUNDS_S: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0,
];

type Labels<const N: usize> = [(&'static str, String); N];

/// All metrics of a gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels<1>, Counter>,
    latency: Family<Labels<1>, Histogram>,
    timeouts: Family<Labels<1>, Counter>,
    misbehaviours: Family<Labels<2>, Counter>,
    not_combined: Counter,
    nodes_up: Gauge,
    in_flight: Gauge,
    pending: Gauge,
    stock: Family<Labels<2>, Gauge>,
    refill: Family<Labels<2>, Gauge<f64, AtomicU64>>,
    until_empty: Family<Labels<2>, Gauge<f64, AtomicU64>>,
    epoch: Family<Labels<2>, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("quoin_gateway");
        let requests = Family::default();
        registry.register("requests", "Requests by outcome", requests.clone());
        let latency = Family::new_with_constructor(
            (|| Histogram::new(LATENCY_BOUNDS_S)) as fn() -> Histogram,
        );
        let help = "Time from a request's arrival to its signature, by scheme";
        registry.register("signature_seconds", help, latency.clone());
        let timeouts = Family::default();
        let help = "Attempts given up because a node was silent";
        registry.register("node_timeouts", help, timeouts.clone());
        let misbehaviours = Family::default();
        let help = "What no honest node sends, by node and kind";
        registry.register("node_misbehaviours", help, misbehaviours.clone());
        let not_combined = Counter::default();
        let help = "Answers that made no valid signature";
        registry.register("not_combined", help, not_combined.clone());
        let nodes_up = Gauge::default();
        registry.register("nodes_up", "Connected nodes", nodes_up.clone());
        let in_flight = Gauge::default();
        registry.register("in_flight", "Requests under way", in_flight.clone());
        let pending = Gauge::default();
        let help = "Requests that wait for approvals";
        registry.register("pending", help, pending.clone());
        let stock = Family::default();
        let help = "Presignature ids in stock, by key";
        registry.register("presignatures", help, stock.clone());
        let refill = Family::default();
        let help = "Presignature ids that nodes lent in each second of the last ten, by key";
        registry.register("presignatures_refill_per_second", help, refill.clone());
        let until_empty = Family::default();
        let help = "Seconds until the stock of a key is empty, were nothing lent any more";
        registry.register("presignatures_seconds_to_empty", help, until_empty.clone());
        let epoch = Family::default();
        let help = "The newest certified share epoch, by key";
        registry.register("key_epoch", help, epoch.clone());
        Self {
            registry,
            requests,
            latency,
            timeouts,
            misbehaviours,
            not_combined,
            nodes_up,
            in_flight,
            pending,
            stock,
            refill,
            until_empty,
            epoch,
        }
    }
}

impl Metrics {
    /// Counts what the core reports.
    pub fn count(&self, metric: &Metric) {
        match metric {
            Metric::Settled { outcome, .. } => {
                let labels = [("outcome", (*outcome).to_owned())];
                self.requests.get_or_create(&labels).inc();
            }
            Metric::TimedOut(node) => {
                let labels = [("node", node.to_string())];
                self.timeouts.get_or_create(&labels).inc();
            }
            Metric::Misbehaved { node, how } => {
                self.misbehaved(*node, how.label());
                tracing::warn!(%node, how = how.label(), "a node misbehaved");
            }
            Metric::NotCombined => {
                self.not_combined.inc();
                tracing::warn!("answers made no valid signature");
            }
            Metric::CharterGap(node) => {
                tracing::error!(%node, "the node's charter is more than one ahead of ours");
            }
        }
    }

    /// Counts a frame that does not decode.
    pub fn malformed_frame(&self, node: NodeIndex) {
        self.misbehaved(node, "malformed-frame");
    }

    fn misbehaved(&self, node: NodeIndex, how: &str) {
        let labels = [("node", node.to_string()), ("how", how.to_owned())];
        self.misbehaviours.get_or_create(&labels).inc();
    }

    /// Notes how long a caller waited for a signature.
    pub fn waited(&self, outcome: &Outcome, time: Duration) {
        if let Outcome::Signed(signed) = outcome {
            let labels = [("scheme", scheme_name(signed.finished.scheme).to_owned())];
            let latency = self.latency.get_or_create(&labels);
            latency.observe(time.as_secs_f64());
        }
    }

    /// The text of all metrics, with the gauges of `status`.
    #[must_use]
    pub fn text(&self, status: &Status) -> String {
        let up = status.nodes.iter().filter(|(_, up)| *up).count();
        self.nodes_up.set(count(up));
        self.in_flight.set(count(status.in_flight));
        self.pending.set(count(status.pending));
        self.show_stock(&status.stock);
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Metrics {
    fn show_stock(&self, stock: &[Stock]) {
        self.stock.clear();
        self.refill.clear();
        self.until_empty.clear();
        self.epoch.clear();
        for of in stock {
            let labels = [
                ("key", of.key.to_string()),
                ("scheme", scheme_name(of.scheme).to_owned()),
            ];
            self.stock.get_or_create(&labels).set(count(of.ids));
            let epoch = self.epoch.get_or_create(&labels);
            epoch.set(i64::from(of.epoch.0));
            let refill = self.refill.get_or_create(&labels);
            refill.set(of.refill_per_s());
            let until_empty = self.until_empty.get_or_create(&labels);
            until_empty.set(of.seconds_to_empty());
        }
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

const fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Ecdsa => "ecdsa",
        Scheme::Taproot => "taproot",
        Scheme::Ed25519 => "ed25519",
        Scheme::Model => "model",
    }
}
