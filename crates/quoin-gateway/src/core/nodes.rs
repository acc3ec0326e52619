//! What the gateway knows of each node: whether it is there, its start, and whom to ask first.

use quoin_api::Frame;
use quoin_core::{NodeIndex, SignerSet, TimeMs};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often a node is sent a charter or asked for one because of its heartbeats, at most.
const CHARTER_INTERVAL_MS: u64 = 1_000;

/// The nodes of the charter in force.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: BTreeMap<NodeIndex, Node>,
}

#[derive(Debug, Default)]
struct Node {
    up: bool,
    generation: Option<u64>,
    suspect_until: Option<TimeMs>,
    backlog: VecDeque<Frame>,
    keys_asked: Option<TimeMs>,
    charter_spoken: Option<TimeMs>,
}

impl Nodes {
    /// Follows the charter: nodes that left are forgotten, new ones start as away.
    pub fn follow(&mut self, members: impl Iterator<Item = NodeIndex>) {
        let members: BTreeSet<NodeIndex> = members.collect();
        self.nodes.retain(|index, _| members.contains(index));
        for index in members {
            self.nodes.entry(index).or_default();
        }
    }

    /// Forgets a node whose identity the charter no longer names.
    pub fn forget(&mut self, node: NodeIndex) {
        self.nodes.remove(&node);
    }

    /// Whether the charter names the node.
    #[must_use]
    pub fn knows(&self, node: NodeIndex) -> bool {
        self.nodes.contains_key(&node)
    }

    /// All nodes.
    pub fn all(&self) -> impl Iterator<Item = NodeIndex> + '_ {
        self.nodes.keys().copied()
    }

    /// Nodes with a connection.
    pub fn up(&self) -> impl Iterator<Item = NodeIndex> + '_ {
        self.nodes.iter().filter(|(_, n)| n.up).map(|(i, _)| *i)
    }

    /// Nodes without a connection.
    pub fn down(&self) -> impl Iterator<Item = NodeIndex> + '_ {
        self.nodes.iter().filter(|(_, n)| !n.up).map(|(i, _)| *i)
    }

    /// Whether a node has a connection.
    #[must_use]
    pub fn is_up(&self, node: NodeIndex) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.up)
    }

    /// Whether a node has a connection, and has let no attempt time out lately.
    #[must_use]
    pub fn is_well(&self, now: TimeMs, node: NodeIndex) -> bool {
        let node = self.nodes.get(&node);
        node.is_some_and(|n| n.up && n.suspect_until.is_none_or(|until| now >= until))
    }

    /// Notes that a node has come, and returns what it missed.
    pub fn came(&mut self, node: NodeIndex) -> VecDeque<Frame> {
        let Some(node) = self.nodes.get_mut(&node) else {
            return VecDeque::new();
        };
        node.up = true;
        node.suspect_until = None;
        node.keys_asked = None;
        std::mem::take(&mut node.backlog)
    }

    /// Notes that a node has gone.
    pub fn gone(&mut self, node: NodeIndex) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.up = false;
        }
    }

    /// Notes a node's start; returns whether it is a new one of a node that was known before.
    pub fn started(&mut self, node: NodeIndex, generation: u64) -> bool {
        let Some(node) = self.nodes.get_mut(&node) else {
            return false;
        };
        match node.generation {
            Some(known) if generation <= known => false,
            known => {
                node.generation = Some(generation);
                known.is_some()
            }
        }
    }

    /// Makes a node the last choice for a while.
    pub fn suspect(&mut self, node: NodeIndex, until: TimeMs) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.suspect_until = Some(until);
        }
    }

    /// Notes that a node has answered something.
    pub fn answered(&mut self, node: NodeIndex) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.suspect_until = None;
        }
    }

    /// Keeps a frame for a node that is away; the oldest goes when there are too many.
    pub fn keep(&mut self, node: NodeIndex, frame: Frame, max: usize) {
        if let Some(node) = self.nodes.get_mut(&node) {
            if node.backlog.len() >= max {
                node.backlog.pop_front();
            }
            node.backlog.push_back(frame);
        }
    }

    /// Whether a node may be asked for its keys again; when so, it is noted that it was.
    pub fn should_ask_keys(&mut self, now: TimeMs, node: NodeIndex, interval_ms: u64) -> bool {
        let Some(node) = self.nodes.get_mut(&node) else {
            return false;
        };
        let due = node.up
            && node
                .keys_asked
                .is_none_or(|at| now.since(at) >= interval_ms);
        if due {
            node.keys_asked = Some(now);
        }
        due
    }

    /// Whether a node's charter may be spoken of again: heartbeats come several times a second, and
    /// a charter is large. When so, it is noted that it was.
    pub fn should_speak_of_charter(&mut self, now: TimeMs, node: NodeIndex) -> bool {
        let Some(node) = self.nodes.get_mut(&node) else {
            return false;
        };
        let due = node
            .charter_spoken
            .is_none_or(|at| now.since(at) >= CHARTER_INTERVAL_MS);
        if due {
            node.charter_spoken = Some(now);
        }
        due
    }

    /// The set to ask next: nodes that are up, the lowest indices first, so that every request
    /// has the same set while it is healthy. Nodes in `avoided` and suspects come last, and a set
    /// in `bad` is never chosen.
    #[must_use]
    pub fn choose(&self, now: TimeMs, wish: &Wish<'_>) -> Option<SignerSet> {
        let mut order: Vec<(bool, bool, NodeIndex)> = self
            .nodes
            .iter()
            .filter(|(index, node)| node.up && wish.holders.contains(index))
            .map(|(index, node)| {
                let suspect = node.suspect_until.is_some_and(|until| now < until);
                (wish.avoided.contains(index), suspect, *index)
            })
            .collect();
        order.sort_unstable();
        let order: Vec<NodeIndex> = order.into_iter().map(|(_, _, index)| index).collect();
        first_set(&order, wish.size, wish.bad)
    }
}

/// What a set of signers must satisfy.
#[derive(Debug)]
pub struct Wish<'a> {
    /// Who holds a share of the key.
    pub holders: &'a BTreeSet<NodeIndex>,
    /// How many signers are needed.
    pub size: usize,
    /// Nodes that failed this request before.
    pub avoided: &'a BTreeSet<NodeIndex>,
    /// Sets whose answers did not combine.
    pub bad: &'a BTreeSet<SignerSet>,
}

/// The first combination of `size` nodes, in lexicographic order of their places, not in `bad`.
fn first_set(order: &[NodeIndex], size: usize, bad: &BTreeSet<SignerSet>) -> Option<SignerSet> {
    if size == 0 || order.len() < size {
        return None;
    }
    let mut places: Vec<usize> = (0..size).collect();
    loop {
        let nodes = places.iter().filter_map(|p| order.get(*p).copied());
        let set = SignerSet::from_unordered(nodes.collect())?;
        if !bad.contains(&set) {
            return Some(set);
        }
        if !next_places(&mut places, order.len()) {
            return None;
        }
    }
}

/// Moves to the next combination of places below `count`; false after the last.
fn next_places(places: &mut [usize], count: usize) -> bool {
    let size = places.len();
    for at in (0..size).rev() {
        let limit = count - (size - at);
        let Some(place) = places.get_mut(at) else {
            return false;
        };
        if *place < limit {
            *place += 1;
            let mut next = *place;
            for later in places.iter_mut().skip(at + 1) {
                next += 1;
                *later = next;
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(i: u8) -> NodeIndex {
        NodeIndex::new(i).unwrap()
    }

    fn set(indices: &[u8]) -> SignerSet {
        SignerSet::from_ascending(indices.iter().map(|i| node(*i)).collect()).unwrap()
    }

    fn all_up(n: u8) -> Nodes {
        let mut nodes = Nodes::default();
        nodes.follow((1..=n).map(node));
        for i in 1..=n {
            nodes.came(node(i));
        }
        nodes
    }

    #[test]
    fn every_combination_is_tried_before_none_is_left() {
        let order: Vec<NodeIndex> = (1..=5).map(node).collect();
        let mut bad = BTreeSet::new();
        while let Some(set) = first_set(&order, 3, &bad) {
            assert!(bad.insert(set));
        }
        assert_eq!(bad.len(), 10);
    }

    #[test]
    fn the_lowest_indices_serve_until_one_is_suspected_or_avoided() {
        let mut nodes = all_up(3);
        let holders: BTreeSet<NodeIndex> = (1..=3).map(node).collect();
        let (none, bad) = (BTreeSet::new(), BTreeSet::new());
        let wish = Wish {
            holders: &holders,
            size: 2,
            avoided: &none,
            bad: &bad,
        };
        assert_eq!(nodes.choose(TimeMs(0), &wish), Some(set(&[1, 2])));
        nodes.suspect(node(1), TimeMs(10));
        assert_eq!(nodes.choose(TimeMs(5), &wish), Some(set(&[2, 3])));
        assert_eq!(nodes.choose(TimeMs(10), &wish), Some(set(&[1, 2])));
        let avoided = BTreeSet::from([node(2)]);
        let wish = Wish {
            avoided: &avoided,
            ..wish
        };
        assert_eq!(nodes.choose(TimeMs(10), &wish), Some(set(&[1, 3])));
        nodes.gone(node(3));
        assert_eq!(nodes.choose(TimeMs(10), &wish), Some(set(&[1, 2])));
        nodes.gone(node(1));
        assert_eq!(nodes.choose(TimeMs(10), &wish), None);
    }

    #[test]
    fn only_a_later_start_of_a_known_node_is_a_restart() {
        let mut nodes = all_up(1);
        assert!(!nodes.started(node(1), 7));
        assert!(!nodes.started(node(1), 7));
        assert!(!nodes.started(node(1), 6));
        assert!(nodes.started(node(1), 8));
    }
}
