//! The life of a key in a run: who asks for new shares, who comes and goes, and what must have
//! become of it in the end.

use crate::callers::verified_record;
use crate::faults::{Defect, Faults, below, chance};
use crate::network::{Place, Scheduled};
use crate::setup::{BEGIN, Size};
use crate::violation::Violation;
use crate::workload::{self, FEE, Payee, Payment, fresh_id};
use crate::world::{STORM_MS, World};
use quoin_core::payload::KeyChange;
use quoin_core::{KeyId, NodeIndex, ShareEpoch, TimeMs};
use quoin_gateway::core as gateway;
use quoin_node::core::{Event, Peer, Record};
use quoin_policy::BackupPolicy;
use quoin_protocol::KeyShare;
use rand_core::RngCore;
use std::collections::BTreeSet;

/// How long the world stands still: longer than an old epoch's presignatures are honoured.
const PAUSE_MS: u64 = 61_000;
/// How long after the last pause every share of an old epoch must be gone, and every node have the
/// newest: nodes ask each other what they lack every five seconds.
const SETTLE_MS: u64 = 14_000;
/// For how long a handover counts as under way after a record of it was written.
const HANDOVER_MS: u64 = 1_000;
/// The longest time for writing a backup.
const BACKUP_MS_MAX: u64 = 300;

/// The nodes and the threshold of second charters for clusters of three and of five nodes: larger,
/// with a node replaced, smaller.
const LATER_OF_THREE: [(&[u8], u8); 3] =
    [(&[1, 2, 3, 4], 3), (&[1, 2, 4], 2), (&[1, 2, 3, 4, 5], 3)];
const LATER_OF_FIVE: [(&[u8], u8); 2] = [(&[1, 2, 3, 4], 3), (&[1, 2, 3, 4, 6], 3)];

/// What the run does to its keys, and how far it is.
#[derive(Default)]
pub(crate) struct Changes {
    /// Whether this run moves shares.
    pub(crate) moves: bool,
    /// Whether this run suspends the key for a while.
    pub(crate) suspends: bool,
    /// Until when a handover counts as under way.
    pub(crate) until: TimeMs,
    /// For how long the world has stood still in all.
    pub(crate) paused_ms: u64,
    /// When the run ends, once everything is answered and the last pause is over.
    pub(crate) over: Option<TimeMs>,
}

/// Draws a cluster. One with malicious nodes never loses honest ones to a charter.
pub(crate) fn draw_size(nodes: u8, threshold: u8, faults: &Faults, rng: &mut dyn RngCore) -> Size {
    let choices: &[(&'static [u8], u8)] = match nodes {
        3 => &LATER_OF_THREE,
        _ => &LATER_OF_FIVE,
    };
    let place = below(rng, choices.len() as u64) as usize;
    let later = choices.get(place).copied();
    let wanted = below(rng, 2) == 0 && faults.liars == 0 && nodes != 4;
    let sticky = 3 + below(rng, 12);
    Size {
        nodes,
        threshold,
        later: later.filter(|_| wanted),
        backup: below(rng, 3) == 0,
        // Three of four bear one malicious node everywhere.
        f_tol: u8::from(nodes == 4),
        sticky: (nodes == 4 || below(rng, 2) == 0).then_some(sticky),
    }
}

impl World {
    /// Draws which shares move, and when.
    pub(crate) fn plan_changes(&mut self) -> Option<()> {
        if below(&mut self.rng, 2) > 0 {
            return Some(());
        }
        self.changes.moves = true;
        for _ in 0..=below(&mut self.rng, 2) {
            let when = 200 + below(&mut self.rng, STORM_MS - 1_000);
            self.plan_change(KeyChange::Refresh, 0, BEGIN.plus(when))?;
        }
        if below(&mut self.rng, 3) == 0 {
            let when = BEGIN.plus(500 + below(&mut self.rng, STORM_MS / 2));
            self.changes.suspends = true;
            self.plan_change(KeyChange::Suspend, 0, when)?;
            let later = when.plus(300 + below(&mut self.rng, 1_000));
            self.plan_change(KeyChange::Resume, 0, later)?;
            self.plan_change(KeyChange::Resume, 0, BEGIN.plus(STORM_MS + 3_000))?;
            self.plan_change(KeyChange::Resume, 0, BEGIN.plus(STORM_MS + 20_000))?;
        }
        if below(&mut self.rng, 3) == 0 {
            let when = BEGIN.plus(1_500 + below(&mut self.rng, STORM_MS - 2_000));
            self.schedule.at(when, Scheduled::Pause);
        }
        if self.liars.nodes.is_empty() {
            let when = BEGIN.plus(STORM_MS + 5_000);
            self.plan_change(KeyChange::Refresh, 0, when)?;
        }
        Some(())
    }

    /// Reshares after a charter that names other nodes, one of them in the calm.
    pub(crate) fn plan_reshares(&mut self, amended: TimeMs) -> Option<()> {
        let [first, later] = self.cluster.members.clone();
        if first == later {
            return Some(());
        }
        self.changes.moves = true;
        let common: Vec<NodeIndex> = first.intersection(&later).copied().collect();
        let size = usize::from(self.cluster.threshold);
        let calm = BEGIN.plus(STORM_MS + 4_000);
        for when in [amended.plus(below(&mut self.rng, 1_500)), calm] {
            let skip = below(&mut self.rng, common.len() as u64) as usize;
            let chosen = common.iter().cycle().skip(skip).take(size).copied();
            let chosen: BTreeSet<NodeIndex> = chosen.collect();
            let dealers = chosen.into_iter().collect();
            self.plan_change(KeyChange::Reshare { dealers }, 1, when)?;
        }
        Some(())
    }

    fn plan_change(&mut self, change: KeyChange, floor: u64, when: TimeMs) -> Option<()> {
        let id = fresh_id(&mut self.rng);
        let work = workload::change_key(&self.cluster, id, change, floor, self.until)?;
        self.schedule.at(when, Scheduled::Work(self.work.len()));
        self.work.push(work);
        Some(())
    }

    /// The whole world stands still: whatever was about to happen happens later, and time goes on.
    pub(crate) fn pause(&mut self) {
        self.schedule.delay(PAUSE_MS);
        self.changes.paused_ms += PAUSE_MS;
        self.counts.pauses += 1;
        self.checks.stops.paused_until(self.now.plus(PAUSE_MS));
        self.errands.stirred(self.now.plus(PAUSE_MS));
        self.note("the world stands still for a minute", b"pause");
        if self.defect == Some(Defect::StoppedClocks) {
            self.nodes.values_mut().for_each(|n| n.stop_clock(PAUSE_MS));
        }
    }

    /// Once everything is answered: time for old epochs to end, and a last payment. Says whether
    /// the run is over.
    pub(crate) fn is_over(&mut self) -> bool {
        if !self.changes.moves {
            return true;
        }
        if let Some(over) = self.changes.over {
            return self.now > over;
        }
        self.pause();
        self.changes.over = Some(self.now.plus(PAUSE_MS + SETTLE_MS));
        self.resume_at_last();
        let payment = Payment {
            id: fresh_id(&mut self.rng),
            nonce: 2_000,
            value: 3,
            to: Payee::Friend,
            floor: 0,
            fee: FEE,
        };
        if let Some(work) = workload::pay(&self.cluster, &self.cluster.key, payment, self.until) {
            self.checks.expect(&work);
            let when = self.now.plus(PAUSE_MS + 8_000);
            self.schedule.at(when, Scheduled::Work(self.work.len()));
            self.work.push(work);
        }
        false
    }

    /// A suspension that was permitted late may have come after every resumption. When all of them
    /// are answered the key is resumed once more, so that the last payment can be signed.
    fn resume_at_last(&mut self) {
        if !self.changes.suspends {
            return;
        }
        let id = fresh_id(&mut self.rng);
        let resume = workload::change_key(&self.cluster, id, KeyChange::Resume, 0, self.until);
        if let Some(work) = resume {
            self.checks.expect(&work);
            let when = self.now.plus(PAUSE_MS + 5_000);
            self.schedule.at(when, Scheduled::Work(self.work.len()));
            self.work.push(work);
        }
    }

    /// What must have become of the dealt key when nothing has failed for long.
    pub(crate) fn check_settled(&mut self) {
        self.counts.handovers = self.epochs.handed_over();
        let waited = self.changes.over.is_some_and(|over| self.now > over);
        if !waited || !self.liars.nodes.is_empty() {
            return;
        }
        let [first, later] = &self.cluster.members;
        let amended = self.cluster.amendment.unverified().hash();
        let members = match self.checks.stops.is_in_force(amended) {
            true => later,
            false => first,
        };
        let found = self.epochs.unsettled(self.cluster.key.key, members);
        self.checks.violations.extend(found);
    }

    /// How likely the node dies at an effect now.
    pub(crate) fn crash_chance(&self) -> u64 {
        let moving = self.now < self.changes.until;
        self.faults.crash
            + if moving {
                self.faults.handover_crash
            } else {
                0
            }
    }

    /// A node writes a record: notes whether a handover is under way.
    pub(crate) fn notice_handover(&mut self, record: &Record) {
        let part = matches!(
            record,
            Record::KeyPending(_)
                | Record::KeyActive { .. }
                | Record::BackupWritten { .. }
                | Record::EpochHeld(_)
                | Record::EpochErased { .. }
        );
        if part {
            self.changes.until = self.now.plus(HANDOVER_MS);
        }
        self.counts.faults += u64::from(matches!(record, Record::Fault(_)));
    }

    /// A node's shell writes a backup: it takes its time, and may fail.
    pub(crate) fn back_up(
        &mut self,
        node: NodeIndex,
        life: u64,
        share: &KeyShare,
        _: &BackupPolicy,
    ) {
        let public = &share.public;
        let of = (public.key, public.epoch, public.shares_hash());
        let written = !chance(&mut self.rng, self.faults.backup_failure);
        let when = self.now.plus(below(&mut self.rng, BACKUP_MS_MAX));
        let done = Scheduled::BackedUp(node, life, of, written);
        self.schedule.at(when, done);
    }

    pub(crate) fn backed_up(
        &mut self,
        node: NodeIndex,
        life: u64,
        of: (KeyId, ShareEpoch, [u8; 32]),
        written: bool,
    ) {
        if written && self.defect != Some(Defect::LostBackups) {
            // The file may be there although its node has died meanwhile.
            self.epochs.backed_up(node, of.2);
            self.counts.backups += 1;
        }
        if self.is_alive(node, life) {
            let outcome = match written {
                true => Ok([1; 32]),
                false => Err("the disk is full".to_owned()),
            };
            self.feed_node(node, Event::BackupWritten(of, outcome));
        }
    }

    /// A node's shell follows the charter in force: it connects with who is new in it.
    pub(crate) fn dial(&mut self, node: NodeIndex, life: u64) {
        let [first, later] = self.cluster.members.clone();
        let new = self.up().into_iter().filter(|n| *n != node);
        let new = new.filter(|n| !first.contains(n) || !first.contains(&node));
        for other in new.filter(|n| later.contains(n)).collect::<Vec<_>>() {
            for (one, two) in [(node, other), (other, node)] {
                if self.is_alive(node, life) {
                    self.feed_node(one, Event::Connected(Peer::Node(two)));
                }
            }
        }
    }

    /// The gateway's shell follows the charter in force.
    pub(crate) fn dial_from_gateway(&mut self) {
        let [first, _] = &self.cluster.members;
        let new: Vec<NodeIndex> = self
            .up()
            .into_iter()
            .filter(|n| !first.contains(n))
            .collect();
        let peer = Peer::Gateway(self.gateway_name.clone());
        for node in new {
            self.feed_gateway(gateway::Event::NodeUp(node));
            self.feed_node(node, Event::Connected(peer.clone()));
        }
    }

    /// The nodes that only the second charter names are set up by their operators.
    pub(crate) fn start_spares(&mut self) {
        let [first, later] = self.cluster.members.clone();
        for spare in later.difference(&first) {
            let when = self.now.plus(below(&mut self.rng, 800));
            self.schedule.at(when, Scheduled::Restart(*spare));
        }
    }

    /// A caller hears that a key's shares have moved: the record must be certified by all.
    pub(crate) fn key_renewed(&mut self, certificate: &[u8]) {
        match verified_record(&self.cluster, certificate) {
            Ok(_) => self.counts.keys_renewed += 1,
            Err(why) => self.checks.violations.push(Violation::BadCertificate(why)),
        }
    }

    /// For the defect that alters what honest nodes send each other in a session.
    pub(crate) fn altered_message(
        &mut self,
        from: Place,
        to: Place,
        mut frame: quoin_api::Frame,
    ) -> quoin_api::Frame {
        let between = matches!((from, to), (Place::Node(_), Place::Node(_)));
        if between
            && self.defect == Some(Defect::AlteredMessages)
            && let quoin_api::Frame::Session(session) = &mut frame
            && below(&mut self.rng, 4) == 0
            && let Some(last) = session.message.last_mut()
        {
            *last ^= 1;
        }
        frame
    }
}
