//! What must hold of freezes, vetoes and charters in every run.
//!
//! A statement counts from when it is durable on an honest node: a node may act on it before, and
//! never after without it. That every signer set meets those who have a statement is for the nodes'
//! number to give; what the checkers ask is that each of them keeps to what its own disk says, and
//! that a node that was kept from hearing it stops by itself when its lease ends.

use crate::law::{CHARTER_DELAY_MS, CORRIDOR_CAP};
use crate::setup::TRADER;
use crate::violation::Violation;
use crate::workload::Payee;
use quoin_api::frame::FreezesFrame;
use quoin_core::{
    Certificate, CharterHash, CharterNumber, FreezeId, KeyName, NodeIndex, RequestId, Signed,
    TimeMs,
};
use quoin_node::core::{NoticeRecord, Record};
use quoin_policy::{Charter, Freeze, FreezeLevel, FreezeScope, Subject, Veto};
use std::collections::{BTreeMap, BTreeSet};

/// For how long a node that hears nobody goes on: a lease, and what is on its way or being written
/// when it ends.
const OUTLIVED_MS: u64 = 5_000 + 1_500;

/// The nodes of a charter and how many of them sign.
#[derive(Clone, Debug, Default)]
pub struct Quorum {
    /// The nodes.
    pub members: BTreeSet<NodeIndex>,
    /// How many sign.
    pub threshold: usize,
}

impl Quorum {
    /// How many nodes every signer set meets.
    fn blocking(&self) -> usize {
        (self.members.len() + 1).saturating_sub(self.threshold)
    }
}

/// A partial signature that leaves, as freezes see it.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    /// When.
    pub now: TimeMs,
    /// From which node.
    pub node: NodeIndex,
    /// For which request.
    pub request: RequestId,
    /// For whom.
    pub to: Payee,
    /// With which key.
    pub key: &'a KeyName,
    /// The nodes of the charter that it was judged under.
    pub quorum: &'a Quorum,
}

/// What the checkers remember of what stops.
#[derive(Default)]
pub struct Stops {
    liars: BTreeSet<NodeIndex>,
    /// Of the first charter.
    quorum: Quorum,
    /// The freezes on each honest node's disk, and since when.
    frozen: BTreeMap<FreezeId, (Freeze, BTreeMap<NodeIndex, TimeMs>)>,
    lifted: BTreeMap<NodeIndex, BTreeSet<FreezeId>>,
    /// What each honest node has shown as lifted, or had on its disk when it started.
    shown: BTreeMap<NodeIndex, BTreeSet<FreezeId>>,
    vetoed: BTreeMap<Subject, BTreeSet<NodeIndex>>,
    /// The requests whose veto enough nodes had before any of them answered.
    dead: BTreeSet<RequestId>,
    answered: BTreeSet<RequestId>,
    /// What each node has signed in the corridor.
    corridor: BTreeMap<NodeIndex, BTreeSet<RequestId>>,
    /// When each node saw a proposed charter first, by its own clock.
    seen: BTreeMap<(NodeIndex, CharterHash), TimeMs>,
    in_force: BTreeMap<CharterHash, BTreeSet<NodeIndex>>,
    numbers: BTreeMap<CharterNumber, CharterHash>,
    /// No lease is older than this: the world stood still, and what was on its way came late.
    since: TimeMs,
    /// How much longer a lease may seem to last, because clocks have jumped.
    slack_ms: u64,
}

impl Stops {
    /// Checkers of a run.
    #[must_use]
    pub fn new(liars: BTreeSet<NodeIndex>, quorum: Quorum) -> Self {
        Self {
            liars,
            quorum,
            ..Self::default()
        }
    }

    /// Whatever was on its way arrives only after this.
    pub fn paused_until(&mut self, when: TimeMs) {
        self.since = when;
    }

    /// A clock has jumped: its node's time stands still until the world has caught up.
    pub fn clock_jumped(&mut self, by_ms: u64) {
        self.slack_ms = by_ms;
    }

    /// An operator has handed a charter to a node that starts.
    pub fn took_over(&mut self, node: NodeIndex, charter: CharterHash) {
        self.in_force.entry(charter).or_default().insert(node);
    }

    /// Whether a charter is in force on some honest nodes and not on others.
    #[must_use]
    pub fn is_split(&self, charter: CharterHash) -> bool {
        let honest = |n: &&NodeIndex| !self.liars.contains(n);
        let all = self.quorum.members.iter().filter(honest).count();
        let with = self.in_force.get(&charter).map_or(0, BTreeSet::len);
        with > 0 && with < all
    }

    /// Whether an honest node has a charter in force.
    #[must_use]
    pub fn is_in_force(&self, charter: CharterHash) -> bool {
        self.in_force.contains_key(&charter)
    }

    /// A record of an honest node is durable.
    pub fn on_durable(
        &mut self,
        node: NodeIndex,
        now: TimeMs,
        record: &Record,
        approved: &BTreeSet<RequestId>,
    ) -> Option<Violation> {
        if self.liars.contains(&node) {
            return None;
        }
        match record {
            Record::Freeze(bytes) => {
                let freeze = Signed::<Freeze>::from_bytes(&bytes.0).ok()?;
                let freeze = freeze.unverified().clone();
                let known = self.frozen.entry(freeze.id);
                let (_, on) = known.or_insert((freeze, BTreeMap::new()));
                on.entry(node).or_insert(now);
                None
            }
            Record::Unfrozen(unfrozen) => {
                let by_leave = unfrozen.request.is_some_and(|id| approved.contains(&id));
                let baseless = unfrozen
                    .lifts
                    .iter()
                    .find(|id| !by_leave && !self.others_lifted(node, id));
                let found = baseless.map(|id| Violation::LiftedByNobody(node, *id));
                let lifted = self.lifted.entry(node).or_default();
                lifted.extend(unfrozen.lifts.iter().copied());
                found
            }
            Record::Veto(notice) => {
                self.veto_durable(node, notice);
                None
            }
            Record::Charter(bytes) => {
                let charter = Certificate::<Charter>::from_bytes(&bytes.0).ok()?;
                let hash = charter.unverified().hash();
                self.in_force.entry(hash).or_default().insert(node);
                None
            }
            _ => None,
        }
    }

    /// Whether so many others have lifted a freeze that an honest one is among those who say so.
    fn others_lifted(&self, node: NodeIndex, id: &FreezeId) -> bool {
        let with = self
            .lifted
            .iter()
            .filter(|(n, all)| **n != node && all.contains(id));
        with.count() + self.liars.len() >= self.quorum.threshold
    }

    fn veto_durable(&mut self, node: NodeIndex, notice: &NoticeRecord) {
        let Ok(veto) = Signed::<Veto>::from_bytes(&notice.statement.0) else {
            return;
        };
        let subject = veto.unverified().subject;
        let on = self.vetoed.entry(subject).or_default();
        on.insert(node);
        if let Subject::Request(id) = subject
            && on.len() >= self.quorum.blocking()
            && !self.answered.contains(&id)
        {
            self.dead.insert(id);
        }
    }

    fn has_veto(&self, node: NodeIndex, subject: &Subject) -> bool {
        self.vetoed
            .get(subject)
            .is_some_and(|on| on.contains(&node))
    }

    /// An honest node writes a record, at its own time.
    pub fn on_written(
        &mut self,
        node: NodeIndex,
        time: TimeMs,
        record: &Record,
    ) -> Option<Violation> {
        match record {
            Record::Proposal(proposal) => {
                let charter = Certificate::<Charter>::from_bytes(&proposal.certificate.0).ok()?;
                let place = (node, charter.unverified().hash());
                // What was lost with a crash was not seen: the newest record says since when.
                let first = self.seen.get(&place).copied().unwrap_or(time);
                self.seen.insert(place, first.max(proposal.first_seen));
                None
            }
            Record::Charter(bytes) => {
                let charter = Certificate::<Charter>::from_bytes(&bytes.0).ok()?;
                let charter = charter.unverified();
                let early = !self.may_enact(node, time, charter.hash());
                early.then_some(Violation::CharterTooEarly(node, charter.number))
            }
            _ => None,
        }
        .filter(|_| !self.liars.contains(&node))
    }

    /// Whether a node may take a charter into force: because it has waited, or because it follows.
    fn may_enact(&self, node: NodeIndex, time: TimeMs, hash: CharterHash) -> bool {
        let seen = self.seen.get(&(node, hash));
        let waited = seen.is_some_and(|at| time.since(*at) >= CHARTER_DELAY_MS);
        let vetoed = self.has_veto(node, &Subject::Charter(hash));
        let others = self.in_force.get(&hash).into_iter().flatten();
        let others = others.filter(|n| **n != node).count();
        (waited && !vetoed) || others + self.liars.len() >= self.quorum.threshold
    }

    /// A partial signature leaves an honest node.
    pub fn on_answer(&mut self, leaving: Leaving<'_>) -> Option<Violation> {
        let Leaving { node, request, .. } = leaving;
        self.answered.insert(request);
        if self.has_veto(node, &Subject::Request(request)) {
            return Some(Violation::VetoIgnored(node, request));
        }
        let mut in_corridor = false;
        for (id, (freeze, on)) in &self.frozen {
            if !covers(freeze, leaving.key) {
                continue;
            }
            let lifted = |n: &NodeIndex| self.lifted.get(n).is_some_and(|all| all.contains(id));
            let open = is_corridor(freeze, leaving.to);
            if on.contains_key(&node) && !lifted(&node) {
                if !open {
                    return Some(Violation::FreezeIgnored(node, request));
                }
                in_corridor = true;
            }
            // Nobody who still hears enough others hears one that does not know of the freeze.
            let enough = leaving.quorum.blocking().max(leaving.quorum.threshold);
            let long = self.long_before(leaving.now);
            let fenced = on
                .iter()
                .filter(|(n, at)| leaving.quorum.members.contains(n) && **at <= long);
            if fenced.count() >= enough && !on.keys().any(lifted) && !open {
                return Some(Violation::FreezeOutlived(node, request));
            }
        }
        if in_corridor {
            return self.sign_in_corridor(&leaving);
        }
        // What is judged again is charged as it is then, and to no budget that it is not in any more.
        self.corridor.entry(node).or_default().remove(&request);
        None
    }

    fn sign_in_corridor(&mut self, leaving: &Leaving<'_>) -> Option<Violation> {
        let signed = self.corridor.entry(leaving.node).or_default();
        signed.insert(leaving.request);
        let part = CORRIDOR_CAP / (leaving.quorum.blocking() as u64).max(1);
        let signed = signed.len() as u64;
        (signed > part).then_some(Violation::CorridorOverBudget(signed, part))
    }

    /// What was durable by then has ended every lease without it by `now`.
    fn long_before(&self, now: TimeMs) -> TimeMs {
        let lease = OUTLIVED_MS + self.slack_ms;
        if now.since(self.since) < lease {
            return TimeMs(0);
        }
        TimeMs(now.0.saturating_sub(lease))
    }

    /// How many partial signatures left in the corridor.
    #[must_use]
    pub fn in_corridor(&self) -> u64 {
        self.corridor.values().map(|all| all.len() as u64).sum()
    }

    /// A signature of a request exists.
    #[must_use]
    pub fn on_signed(&self, request: RequestId) -> Option<Violation> {
        let dead = self.dead.contains(&request);
        dead.then_some(Violation::SignedVetoed(request))
    }

    /// A node starts from its disk: what it shows from now on has all that is there.
    pub fn started(&mut self, node: NodeIndex) {
        let durable = self.lifted.get(&node).cloned().unwrap_or_default();
        self.shown.entry(node).or_default().extend(durable);
    }

    /// An honest node shows what it knows of freezes. It may have been put together before the last
    /// lift became durable, but never shows less than before.
    pub fn on_shown(&mut self, node: NodeIndex, frame: &FreezesFrame) -> Option<Violation> {
        let before = self.shown.entry(node).or_default();
        let freezes = frame.freezes.iter();
        let freezes = freezes.filter_map(|bytes| Signed::<Freeze>::from_bytes(&bytes.0).ok());
        let mut back = freezes
            .map(|f| f.unverified().id)
            .filter(|id| before.contains(id));
        let mut forgotten = before.iter().filter(|id| !frame.lifted.contains(id));
        let found = back.next().or_else(|| forgotten.next().copied());
        before.extend(frame.lifted.iter().copied());
        found.map(|id| Violation::FreezeCameBack(node, id))
    }

    /// An honest node says which charter it has in force.
    pub fn on_charter(&mut self, number: CharterNumber, hash: CharterHash) -> Option<Violation> {
        let known = *self.numbers.entry(number).or_insert(hash);
        (known != hash).then_some(Violation::CharterSplit(number))
    }
}

/// Whether a freeze covers what the trader asks for with a key.
fn covers(freeze: &Freeze, key: &KeyName) -> bool {
    match &freeze.scope {
        FreezeScope::All => true,
        FreezeScope::Key(name) => name == key,
        FreezeScope::Principal(principal) => principal.as_str() == TRADER,
        _ => false,
    }
}

/// Whether a payment is in the corridor that a freeze leaves open.
fn is_corridor(freeze: &Freeze, to: Payee) -> bool {
    freeze.level == FreezeLevel::Risk
        && !matches!(freeze.scope, FreezeScope::Principal(_))
        && to == Payee::Oneself
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoin_api::frame::Opaque;
    use quoin_core::cbor::Version;
    use quoin_core::{ClusterId, SigningIdentity};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    const ID: FreezeId = FreezeId([1; 16]);
    const REQUEST: RequestId = RequestId([7; 16]);

    fn node(n: u8) -> NodeIndex {
        NodeIndex::new(n).unwrap()
    }

    fn quorum() -> Quorum {
        Quorum {
            members: (1..=3).map(node).collect(),
            threshold: 2,
        }
    }

    fn stops() -> Stops {
        Stops::new(BTreeSet::new(), quorum())
    }

    fn signer() -> SigningIdentity {
        SigningIdentity::generate(&mut ChaCha20Rng::seed_from_u64(1))
    }

    fn freeze(scope: FreezeScope, level: FreezeLevel) -> Record {
        let freeze = Freeze {
            version: Version,
            cluster: ClusterId([0; 32]),
            id: ID,
            principal: "watcher".parse().unwrap(),
            scope,
            level,
            at: TimeMs(0),
            reason: String::new(),
        };
        Record::Freeze(Opaque(Signed::sign(freeze, &signer()).to_bytes()))
    }

    fn veto(subject: Subject) -> Record {
        let veto = Veto {
            version: Version,
            cluster: ClusterId([0; 32]),
            subject,
            principal: "watcher".parse().unwrap(),
            at: TimeMs(0),
        };
        Record::Veto(NoticeRecord {
            statement: Opaque(Signed::sign(veto, &signer()).to_bytes()),
            seen: TimeMs(0),
        })
    }

    fn unfrozen(request: Option<RequestId>) -> Record {
        Record::Unfrozen(quoin_node::core::UnfrozenRecord {
            lifts: vec![ID],
            suspends: Vec::new(),
            request,
            at: TimeMs(0),
        })
    }

    fn durable(stops: &mut Stops, on: u8, at: u64, record: &Record) -> Option<Violation> {
        stops.on_durable(node(on), TimeMs(at), record, &BTreeSet::from([REQUEST]))
    }

    fn leaves(stops: &mut Stops, from: u8, at: u64, to: Payee) -> Option<Violation> {
        let (key, quorum) = ("desk".parse().unwrap(), quorum());
        stops.on_answer(Leaving {
            now: TimeMs(at),
            node: node(from),
            request: REQUEST,
            to,
            key: &key,
            quorum: &quorum,
        })
    }

    #[test]
    fn what_a_freeze_on_its_disk_covers_must_not_leave_a_node_until_it_is_lifted() {
        let key = |name: &str| FreezeScope::Key(name.parse().unwrap());
        let trader = FreezeScope::Principal(TRADER.parse().unwrap());
        let ignored = Some(Violation::FreezeIgnored(node(1), REQUEST));
        let cases = [
            (FreezeScope::All, FreezeLevel::Risk, Payee::Friend, true),
            (FreezeScope::All, FreezeLevel::Risk, Payee::Oneself, false),
            (FreezeScope::All, FreezeLevel::Hard, Payee::Oneself, true),
            (key("desk"), FreezeLevel::Risk, Payee::Friend, true),
            (key("second"), FreezeLevel::Hard, Payee::Friend, false),
            (trader, FreezeLevel::Risk, Payee::Oneself, true),
        ];
        for (scope, level, to, broken) in cases {
            let mut stops = stops();
            durable(&mut stops, 1, 5, &freeze(scope.clone(), level));
            assert_eq!(leaves(&mut stops, 2, 6, to), None, "it has not heard of it");
            let expected = ignored.clone().filter(|_| broken);
            assert_eq!(
                leaves(&mut stops, 1, 6, to),
                expected,
                "{scope:?} {level:?}"
            );
            assert_eq!(durable(&mut stops, 1, 7, &unfrozen(Some(REQUEST))), None);
            assert_eq!(leaves(&mut stops, 1, 8, to), None);
        }
    }

    #[test]
    fn a_node_that_has_not_heard_of_a_freeze_stops_when_its_lease_ends() {
        let mut stops = stops();
        let all = freeze(FreezeScope::All, FreezeLevel::Risk);
        durable(&mut stops, 1, 100_000, &all);
        let late = 100_000 + OUTLIVED_MS;
        assert_eq!(
            leaves(&mut stops, 3, late, Payee::Friend),
            None,
            "one is not enough"
        );
        durable(&mut stops, 2, 100_000, &all);
        assert_eq!(leaves(&mut stops, 3, late - 1, Payee::Friend), None);
        let outlived = Some(Violation::FreezeOutlived(node(3), REQUEST));
        assert_eq!(leaves(&mut stops, 3, late, Payee::Friend), outlived);
        assert_eq!(leaves(&mut stops, 3, late, Payee::Oneself), None);
        stops.paused_until(TimeMs(late));
        assert_eq!(leaves(&mut stops, 3, late, Payee::Friend), None);
    }

    #[test]
    fn a_vetoed_request_is_not_signed_by_who_knows_nor_at_all_once_enough_know() {
        let mut stops = stops();
        let veto = veto(Subject::Request(REQUEST));
        durable(&mut stops, 1, 1, &veto);
        assert_eq!(stops.on_signed(REQUEST), None);
        durable(&mut stops, 2, 1, &veto);
        assert_eq!(
            stops.on_signed(REQUEST),
            Some(Violation::SignedVetoed(REQUEST))
        );
        let ignored = Some(Violation::VetoIgnored(node(2), REQUEST));
        assert_eq!(leaves(&mut stops, 2, 2, Payee::Vault), ignored);
        assert_eq!(leaves(&mut stops, 3, 2, Payee::Vault), None);
    }

    #[test]
    fn a_lift_needs_an_approved_request_or_enough_others() {
        let mut stops = stops();
        let baseless = Some(Violation::LiftedByNobody(node(1), ID));
        assert_eq!(durable(&mut stops, 1, 1, &unfrozen(None)), baseless);
        let unapproved = unfrozen(Some(RequestId([8; 16])));
        assert_eq!(durable(&mut stops, 1, 1, &unapproved), baseless);
        durable(&mut stops, 2, 1, &unfrozen(Some(REQUEST)));
        durable(&mut stops, 3, 1, &unfrozen(Some(REQUEST)));
        assert_eq!(durable(&mut stops, 1, 1, &unfrozen(None)), None);
    }

    #[test]
    fn two_charters_of_one_number_are_found() {
        let mut stops = stops();
        let (one, two) = (CharterHash([1; 32]), CharterHash([2; 32]));
        assert_eq!(stops.on_charter(CharterNumber(1), one), None);
        assert_eq!(stops.on_charter(CharterNumber(1), one), None);
        let split = Some(Violation::CharterSplit(CharterNumber(1)));
        assert_eq!(stops.on_charter(CharterNumber(1), two), split);
    }

    #[test]
    fn a_charter_waits_for_its_delay_and_not_past_a_veto_unless_enough_others_have_it() {
        let hash = CharterHash([1; 32]);
        let mut stops = stops();
        assert!(!stops.may_enact(node(1), TimeMs(5_000), hash), "never seen");
        stops.seen.insert((node(1), hash), TimeMs(5_000));
        let ripe = TimeMs(5_000 + CHARTER_DELAY_MS);
        assert!(!stops.may_enact(node(1), TimeMs(ripe.0 - 1), hash));
        assert!(stops.may_enact(node(1), ripe, hash));
        durable(&mut stops, 1, 1, &veto(Subject::Charter(hash)));
        assert!(!stops.may_enact(node(1), ripe, hash));
        stops.took_over(node(2), hash);
        assert!(!stops.may_enact(node(1), ripe, hash));
        stops.took_over(node(3), hash);
        assert!(stops.may_enact(node(1), ripe, hash));
    }
}
