//! Proposed charters: kept, merged, shown to everybody, and judged until they come into force.
//!
//! A charter that at least one governor has signed is a proposal from the moment this node sees it:
//! journaled with the time of that first sight, which delays count from, and flooded, so that a
//! gateway cannot show it to some nodes and hide it from those who would veto it. Signatures of
//! governors are merged by the charter's hash, approvals are collected beside it. When all is met
//! that the charter in force demands of a change of itself, the node takes it into force, by its own
//! judgement and at its own time; [`super::charters`] says how a node follows that was away.
//!
//! What strangers can make grow has an end: a proposal needs the signature of a governor, one
//! governor cannot fill the list, and a charter that a whole quorum has signed always finds room.

use super::charters::refused;
use super::record::{CharterApprovalRecord, ProposalRecord};
use super::shadow::Shadow;
use super::{Node, Peer, Record, Ticket, Turn};
use quoin_api::Frame;
use quoin_api::frame::{CharterApproval, Opaque, PROPOSALS_MAX, ProposalBody, Refusal};
use quoin_core::statement::SIGNATURES_MAX;
use quoin_core::{
    Certificate, CharterHash, CharterNumber, IntentHash, NodeIndex, PrincipalId, PublicCredential,
    Signed, TimeMs,
};
use quoin_policy::{Approval, Charter, Constitution, Subject, charter_request_id};
use std::collections::{BTreeMap, BTreeSet};

/// The most open proposals that one governor's signature keeps in the list, when no other governor
/// has signed them: a lone governor must not fill it.
const OPEN_PER_GOVERNOR_MAX: usize = 2;
/// The most approvals of one principal that are kept for one proposal. What an approval signs
/// changes when another rule permits the change, so the newest is not always the one that counts.
const APPROVALS_PER_PRINCIPAL_MAX: usize = 4;
/// How often a proposal about which nothing is new is judged again: grants end with time.
const RECONSIDER_MS: u64 = 60_000;

/// How many charters of one governor a node judges in vain within [`RECONSIDER_MS`]: judging means
/// compiling, and one governor's key must not keep a node busy with it.
const REFUSED_PER_GOVERNOR_MAX: usize = 4;
/// The most refused charters that are remembered.
const REFUSED_MAX: usize = 128;

/// A charter that was judged in vain.
struct Refused {
    at: TimeMs,
    signers: Vec<PrincipalId>,
    refusal: Refusal,
}

/// A proposed charter.
pub(super) struct Proposal {
    /// The charter with the signatures that are genuine and of governors.
    pub(super) certificate: Certificate<Charter>,
    /// When this node saw it first.
    pub(super) first_seen: TimeMs,
    /// Signed approvals, by who gave them and what they are of.
    approvals: BTreeMap<PrincipalId, BTreeMap<IntentHash, Signed<Approval>>>,
    /// Itself as a constitution, once enough have signed it.
    pub(super) shadow: Option<Shadow>,
    standing: Standing,
    /// What the standing rests on; `None` before it was judged.
    basis: Option<Basis>,
}

/// How a proposal stands, by the last judgement.
#[derive(Default)]
pub(super) struct Standing {
    /// What is missing, for people.
    pub(super) unmet: Vec<String>,
    /// What approvals sign.
    pub(super) intent_hash: Option<IntentHash>,
    pub(super) vetoed_by: BTreeSet<PrincipalId>,
    /// When a delay ends.
    pub(super) wake: Option<TimeMs>,
}

impl Standing {
    /// What a proposal waits for, or that nothing helps it any more.
    fn told(&self) -> Result<Vec<String>, Refusal> {
        if self.vetoed_by.is_empty() {
            return Ok(self.unmet.clone());
        }
        let names: Vec<&str> = self.vetoed_by.iter().map(PrincipalId::as_str).collect();
        let message = format!("vetoed by {}", names.join(", "));
        Err(refused("charter", message))
    }
}

/// What a judgement rests on: unless it changes, nothing but time can change the outcome.
#[derive(Clone, PartialEq, Eq)]
struct Basis {
    at: TimeMs,
    signatures: usize,
    approvals: usize,
    vetoes: usize,
    receipts: usize,
    /// The signatures and vetoes of all proposals together: one of them may be a rival.
    elsewhere: usize,
    clock: bool,
    vouched: bool,
}

/// The proposals, and what other nodes have in force.
#[derive(Default)]
pub(super) struct Proposals {
    open: BTreeMap<CharterHash, Proposal>,
    /// Which charter each other node has, or had, in force at each number after this node's.
    pub(super) vouched: BTreeMap<NodeIndex, BTreeMap<CharterNumber, CharterHash>>,
    /// The proposals that had been vetoed when their number passed: they are no rivals of what is
    /// in force.
    pub(super) vetoed: BTreeMap<CharterNumber, BTreeSet<CharterHash>>,
    /// The record of the charter in force.
    pub(super) enacted: Ticket,
    /// The charters that were judged in vain of late.
    refused: BTreeMap<CharterHash, Refused>,
    /// When a request was judged under the proposals last.
    pub(super) shadowed: Option<TimeMs>,
}

impl Proposals {
    /// The proposals.
    pub(super) fn open(&self) -> impl Iterator<Item = (&CharterHash, &Proposal)> {
        self.open.iter()
    }

    /// Those that could be compiled and that nobody has vetoed.
    pub(super) fn shadows(&mut self) -> impl Iterator<Item = &mut Shadow> {
        let open = self.open.values_mut().filter(|p| !p.is_vetoed());
        open.filter_map(|p| p.shadow.as_mut())
    }

    pub(super) fn named(&self, hash: &CharterHash) -> Option<&Proposal> {
        self.open.get(hash)
    }

    /// Takes all of them: another number's turn has come.
    pub(super) fn take(&mut self) -> BTreeMap<CharterHash, Proposal> {
        self.refused.clear();
        std::mem::take(&mut self.open)
    }

    /// Whether a charter of these signers may be judged, which costs much and may be in vain.
    fn may_judge(
        &mut self,
        hash: &CharterHash,
        signers: &[PrincipalId],
        now: TimeMs,
    ) -> Result<(), Refusal> {
        self.refused
            .retain(|_, refused| now.since(refused.at) < RECONSIDER_MS);
        let known = self.refused.get(hash);
        if let Some(known) = known.filter(|known| known.signers.len() >= signers.len()) {
            return Err(known.refusal.clone());
        }
        let in_vain = |governor: &&PrincipalId| {
            let of_one = self.refused.values();
            of_one.filter(|r| r.signers.contains(governor)).count()
        };
        // With another governor's signature it is another matter.
        if signers
            .iter()
            .any(|governor| in_vain(&governor) < REFUSED_PER_GOVERNOR_MAX)
        {
            return Ok(());
        }
        Err(refused(
            "proposals",
            format!(
                "{REFUSED_PER_GOVERNOR_MAX} charters of whoever signed it were refused within the \
                 last {} s; wait, or let another governor sign this one",
                RECONSIDER_MS / 1000
            ),
        ))
    }

    fn judged_in_vain(&mut self, hash: CharterHash, refused: Refused) {
        if self.refused.len() >= REFUSED_MAX {
            let oldest = self.refused.iter().min_by_key(|(_, r)| r.at);
            let oldest = oldest.map(|(hash, _)| *hash);
            oldest.map(|hash| self.refused.remove(&hash));
        }
        self.refused.insert(hash, refused);
    }

    /// How many proposals that nobody has vetoed a principal's signature is on.
    fn open_of(&self, constitution: &Constitution, governor: &PrincipalId) -> usize {
        let open = self.open.values().filter(|p| !p.is_vetoed());
        open.filter(|p| signers(constitution, &p.certificate).contains(governor))
            .count()
    }
}

impl Proposal {
    fn new(certificate: Certificate<Charter>, first_seen: TimeMs) -> Self {
        Self {
            certificate,
            first_seen,
            approvals: BTreeMap::new(),
            shadow: None,
            standing: Standing::default(),
            basis: None,
        }
    }

    /// When it was judged last.
    #[cfg(test)]
    pub(super) fn judged(&self) -> Option<TimeMs> {
        self.basis.as_ref().map(|basis| basis.at)
    }

    /// Whether somebody who may has vetoed it.
    pub(super) fn is_vetoed(&self) -> bool {
        !self.standing.vetoed_by.is_empty()
    }

    /// What approvals of it sign, when it is known.
    pub(super) const fn intent_hash(&self) -> Option<IntentHash> {
        self.standing.intent_hash
    }

    /// The approvals, none of which has been judged.
    pub(super) fn approvals(&self) -> Vec<Signed<Approval>> {
        let all = self.approvals.values().flat_map(BTreeMap::values);
        all.cloned().collect()
    }

    /// Keeps an approval; whether it is news.
    fn approve(&mut self, signed: &Signed<Approval>) -> bool {
        let (approval, wanted) = (signed.unverified(), self.standing.intent_hash);
        let given = self.approvals.entry(approval.principal.clone());
        let given = given.or_default();
        let known = given.get(&approval.intent_hash);
        if known.is_some_and(|known| known.unverified().not_after >= approval.not_after) {
            return false;
        }
        if known.is_none() && given.len() >= APPROVALS_PER_PRINCIPAL_MAX {
            let stale = given.keys().find(|hash| Some(**hash) != wanted).copied();
            let Some(stale) = stale.filter(|_| wanted == Some(approval.intent_hash)) else {
                return false;
            };
            given.remove(&stale);
        }
        given.insert(approval.intent_hash, signed.clone());
        true
    }
}

/// The principals of the charter in force whose signatures a certificate carries, whatever has become
/// of their grants; the signatures were checked when they came.
fn signers(constitution: &Constitution, certificate: &Certificate<Charter>) -> Vec<PrincipalId> {
    let all = certificate.endorsements().iter();
    let known = all.filter_map(|e| constitution.credential(e.credential));
    known.map(|(principal, _)| principal.id.clone()).collect()
}

impl Node {
    /// Keeps a charter that would follow the one in force, or what is new of one that is kept.
    ///
    /// # Errors
    /// When no governor signed it, it is not valid in itself, or there is no room.
    pub(super) fn keep_proposal(
        &mut self,
        turn: &mut Turn<'_>,
        certificate: &Certificate<Charter>,
        from: &Peer,
    ) -> Result<(), Refusal> {
        if self.storage_failed {
            return Err(refused("storage", "the node's disk has failed"));
        }
        let charter = certificate.unverified();
        let hash = charter.hash();
        let mut merged = match self.proposals.open.get(&hash) {
            Some(known) => known.certificate.clone(),
            None => Certificate::unsigned(charter.clone()),
        };
        let before = merged.endorsements().len();
        self.merge(&mut merged, certificate, turn.now);
        if merged.endorsements().len() == before {
            return match before {
                0 => Err(refused(
                    "signatures",
                    "no governor of the charter in force has signed it",
                )),
                _ => Ok(()),
            };
        }
        let first_seen = match self.proposals.open.get_mut(&hash) {
            Some(known) => {
                known.certificate = merged.clone();
                known.first_seen
            }
            None => {
                let proposal = self.judge_first(turn, hash, &merged)?;
                self.make_room(turn, &merged)?;
                self.proposals.open.insert(hash, proposal);
                turn.now
            }
        };
        self.cast_shadow(&hash, turn.now);
        let bytes = merged.to_bytes();
        let record = ProposalRecord {
            certificate: Opaque(bytes.clone()),
            first_seen,
        };
        self.persist(turn, Record::Proposal(record));
        self.flood(turn, from, &Frame::Charter(bytes));
        Ok(())
    }

    /// Judges a charter that is not kept yet, when there is room and whoever signed it has not had too
    /// many judged in vain.
    fn judge_first(
        &mut self,
        turn: &Turn<'_>,
        hash: CharterHash,
        merged: &Certificate<Charter>,
    ) -> Result<Proposal, Refusal> {
        let by = signers(&self.constitution, merged);
        self.proposals.may_judge(&hash, &by, turn.now)?;
        // Whatever has fewer signatures than a quorum needs room of its own, which costs nothing to
        // see. A quorum's is compiled for that alone.
        self.has_room(merged, turn.now)?;
        let proposal = Proposal::new(merged.clone(), turn.now);
        let weighed = self.weigh(&proposal, turn.now);
        let (standing, _) = weighed.inspect_err(|refusal| {
            let refused = Refused {
                at: turn.now,
                signers: by,
                refusal: refusal.clone(),
            };
            self.proposals.judged_in_vain(hash, refused);
        })?;
        if !standing.vetoed_by.is_empty() && self.proposals.open.len() >= PROPOSALS_MAX {
            return Err(refused("charter", "it has been vetoed"));
        }
        Ok(proposal)
    }

    /// Compiles a proposal once, when it has the signatures of a successor.
    fn cast_shadow(&mut self, hash: &CharterHash, now: TimeMs) {
        let open = self.proposals.open.get(hash);
        let certificate = open.filter(|p| p.shadow.is_none()).map(|p| &p.certificate);
        let next = certificate.and_then(|certificate| self.follows(certificate, now));
        if let Some(proposal) = self.proposals.open.get_mut(hash)
            && let Some(next) = next
        {
            proposal.shadow = Some(Shadow::new(next));
        }
    }

    /// Adds the signatures of those who may sign charters that `certificate` has and `merged` lacks.
    fn merge(
        &self,
        merged: &mut Certificate<Charter>,
        certificate: &Certificate<Charter>,
        now: TimeMs,
    ) {
        let seats = self.constitution.charter_seats();
        for seat in seats.filter(|p| !p.is_expired(now)) {
            // One more of the same person changes nothing, and all of them might not fit: what is
            // journaled and shown has to be read again.
            let of_seat = |id| seat.credentials.iter().any(|c| c.id() == id);
            let mut known = merged.endorsements().iter();
            if merged.endorsements().len() >= SIGNATURES_MAX || known.any(|e| of_seat(e.credential))
            {
                continue;
            }
            let signed = seat
                .credentials
                .iter()
                .map(PublicCredential::id)
                .zip(&seat.credentials);
            let signed = signed.filter(|(_, credential)| certificate.endorsed_by(credential));
            let mut endorsements = signed.filter_map(|(id, _)| {
                let mut all = certificate.endorsements().iter();
                all.find(|e| e.credential == id)
            });
            if let Some(endorsement) = endorsements.next() {
                merged.add(endorsement.clone());
            }
        }
    }

    /// Whether whoever signed a charter may have one more proposal.
    fn has_room(&self, certificate: &Certificate<Charter>, now: TimeMs) -> Result<bool, Refusal> {
        let whole = self.is_certified_by_us(certificate, now);
        let by = signers(&self.constitution, certificate);
        let has_room = |governor: &PrincipalId| {
            self.proposals.open_of(&self.constitution, governor) < OPEN_PER_GOVERNOR_MAX
        };
        if whole || by.iter().any(has_room) {
            return Ok(whole);
        }
        Err(refused(
            "proposals",
            format!(
                "whoever signed it has {OPEN_PER_GOVERNOR_MAX} proposals open already; veto one, or \
                 let another governor sign this one"
            ),
        ))
    }

    /// Sees to it that there is room for one more proposal.
    fn make_room(
        &mut self,
        turn: &mut Turn<'_>,
        certificate: &Certificate<Charter>,
    ) -> Result<(), Refusal> {
        let now = turn.now;
        let whole = self.has_room(certificate, now)?;
        if self.proposals.open.len() < PROPOSALS_MAX {
            return Ok(());
        }
        // A vetoed one has had its day, and its veto is remembered apart from it.
        let all = self.proposals.open.iter();
        let vetoed = all.clone().find(|(_, p)| p.is_vetoed());
        let partial = all.filter(|(_, p)| !self.is_certified_by_us(&p.certificate, now));
        let fewest = partial.min_by_key(|(_, p)| p.certificate.endorsements().len());
        let gives_way = vetoed.or(fewest.filter(|_| whole));
        let Some(hash) = gives_way.map(|(hash, _)| *hash) else {
            return Err(refused(
                "proposals",
                format!("there are {PROPOSALS_MAX} proposals already; veto one"),
            ));
        };
        self.proposals.open.remove(&hash);
        self.persist(turn, Record::ProposalDropped(hash));
        Ok(())
    }

    /// Takes an approval of a proposal, from whoever carries it.
    pub(super) fn on_charter_approval(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Peer,
        frame: &CharterApproval,
    ) {
        let refused = self.take_approval(turn, from, frame).err();
        self.statement_reply(turn, from, &frame.approval, refused);
    }

    fn take_approval(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Peer,
        frame: &CharterApproval,
    ) -> Result<(), Refusal> {
        let hash = frame.charter;
        if !self.proposals.open.contains_key(&hash) {
            return Err(refused(
                "charter",
                format!("no charter `{hash}` is proposed"),
            ));
        }
        let signed = Signed::<Approval>::from_bytes(&frame.approval)
            .map_err(|e| refused("approval", e.to_string()))?;
        let approval = signed.unverified();
        if approval.cluster != self.cluster {
            return Err(refused("approval.cluster", "it is for another cluster"));
        }
        if approval.request_id != charter_request_id(&hash) {
            return Err(refused("approval.request_id", "it is for something else"));
        }
        if approval.not_after <= turn.now {
            return Err(refused("approval.not_after", "the approval has lapsed"));
        }
        let known = self.constitution.credential(signed.credential());
        let known = known.filter(|(p, _)| p.id == approval.principal && !p.is_expired(turn.now));
        let genuine = known.is_some_and(|(_, credential)| signed.verify(credential).is_ok());
        if !genuine {
            return Err(refused(
                "approval.principal",
                format!("`{}` did not sign it, or has no grant", approval.principal),
            ));
        }
        let proposal = self.proposals.open.get_mut(&hash);
        if proposal.is_some_and(|p| p.approve(&signed)) {
            let record = CharterApprovalRecord {
                charter: hash,
                approval: Opaque(frame.approval.clone()),
            };
            self.persist(turn, Record::CharterApproval(record));
            self.flood(turn, from, &Frame::CharterApproval(frame.clone()));
        }
        let _ = self.reconsider_charter(turn, hash, Some(from));
        Ok(())
    }

    /// Sends a frame to every connected node but the one that it came from.
    pub(super) fn flood(&self, turn: &mut Turn<'_>, from: &Peer, frame: &Frame) {
        let nodes = self.peers.connected_nodes().into_iter().map(Peer::Node);
        for node in nodes.filter(|node| node != from) {
            self.send(turn, node, frame.clone());
        }
    }

    /// Judges the proposals about which there is something new.
    pub(super) fn reconsider_charters(&mut self, turn: &mut Turn<'_>) {
        let all = self.proposals.open.iter();
        let due = all.filter(|(hash, p)| self.is_due(hash, p, turn.now));
        let due: Vec<CharterHash> = due.map(|(hash, _)| *hash).collect();
        for hash in due {
            let _ = self.reconsider_charter(turn, hash, None);
        }
    }

    fn basis(&self, hash: &CharterHash, proposal: &Proposal, now: TimeMs) -> Basis {
        let subject = Subject::Charter(*hash);
        let all = self.proposals.open.iter();
        let of_one = |(hash, p): (&CharterHash, &Proposal)| {
            let vetoes = self.notices.vetoes(&Subject::Charter(*hash)).count();
            vetoes.saturating_add(p.certificate.endorsements().len())
        };
        Basis {
            at: now,
            signatures: proposal.certificate.endorsements().len(),
            approvals: proposal.approvals.values().map(BTreeMap::len).sum(),
            vetoes: self.notices.vetoes(&subject).count(),
            receipts: self.notices.receipts(&subject).count(),
            elsewhere: all.map(of_one).sum(),
            clock: self.clock_agrees(now),
            vouched: self.is_vouched_for(proposal.certificate.unverified().number, hash),
        }
    }

    fn is_due(&self, hash: &CharterHash, proposal: &Proposal, now: TimeMs) -> bool {
        let Some(before) = &proposal.basis else {
            return true;
        };
        let same = Basis {
            at: before.at,
            ..self.basis(hash, proposal, now)
        };
        let woken = |at: TimeMs| before.at < at && at <= now;
        same != *before
            || proposal.standing.wake.is_some_and(woken)
            || now.since(before.at) >= RECONSIDER_MS
    }

    /// Judges a proposal and takes it into force when it is ready; what it waits for otherwise.
    ///
    /// # Errors
    /// When it has been vetoed.
    pub(super) fn reconsider_charter(
        &mut self,
        turn: &mut Turn<'_>,
        hash: CharterHash,
        from: Option<&Peer>,
    ) -> Result<Vec<String>, Refusal> {
        let Some(proposal) = self.proposals.open.get(&hash) else {
            return Ok(Vec::new());
        };
        let number = proposal.certificate.unverified().number;
        let certificate = proposal.certificate.clone();
        if self.is_vouched_for(number, &hash)
            && let Some(next) = self.follows(&certificate, turn.now)
        {
            self.enact(turn, next, certificate, from);
            return Ok(Vec::new());
        }
        // Judging means compiling: who shows the same again learns what it came to before.
        if !self.is_due(&hash, proposal, turn.now) {
            return proposal.standing.told();
        }
        let basis = self.basis(&hash, proposal, turn.now);
        let weighed = self.weigh(proposal, turn.now);
        let (mut standing, next) = weighed.unwrap_or_else(|refusal| {
            let standing = Standing {
                unmet: vec![refusal.message],
                ..Standing::default()
            };
            (standing, None)
        });
        if next.is_some() {
            standing.unmet = self.obstacles(&hash, turn.now);
        }
        if let Some(next) = next.filter(|_| standing.unmet.is_empty()) {
            self.enact(turn, next, certificate, from);
            return Ok(Vec::new());
        }
        let told = standing.told();
        if let Some(proposal) = self.proposals.open.get_mut(&hash) {
            proposal.standing = standing;
            proposal.basis = Some(basis);
        }
        told
    }

    /// What keeps a proposal that is ready from coming into force on this node.
    fn obstacles(&self, hash: &CharterHash, now: TimeMs) -> Vec<String> {
        let mut obstacles = Vec::new();
        // Delays are counted with this node's clock, and a wrong one may run ahead. A node that hears
        // nobody cannot tell; it could not sign either.
        if !self.clock_agrees(now) {
            obstacles.push("other nodes whose clocks agree with this node's".to_owned());
        }
        // Nodes that had seen the two in another order would choose otherwise, and two charters of
        // one number stop the cluster. So neither comes into force.
        if let Some(rival) = self.rivals(hash, now).first() {
            let rival = rival.unverified().hash();
            obstacles.push(format!(
                "a veto of it or of charter `{rival}`: governors have signed both for one number"
            ));
        }
        obstacles
    }

    /// What this node knows of the proposals.
    pub(super) fn list_proposals(&self) -> Vec<ProposalBody> {
        let all = self.proposals.open.values();
        let body = |p: &Proposal| {
            let vetoed_by = p.standing.vetoed_by.iter().map(ToString::to_string);
            let (judged, flipped, flips) = p.shadow.as_ref().map(Shadow::told).unwrap_or_default();
            ProposalBody {
                certificate: Opaque(p.certificate.to_bytes()),
                first_seen: p.first_seen,
                unmet: p.standing.unmet.clone(),
                intent_hash: p.standing.intent_hash.unwrap_or(IntentHash([0; 32])),
                vetoed_by: vetoed_by.collect(),
                judged,
                flipped,
                flips,
            }
        };
        all.map(body).collect()
    }

    /// Shows a node that has just connected what is proposed.
    pub(super) fn greet_with_proposals(&self, turn: &mut Turn<'_>, node: NodeIndex) {
        for (hash, proposal) in &self.proposals.open {
            let certificate = Frame::Charter(proposal.certificate.to_bytes());
            self.send(turn, Peer::Node(node), certificate);
            for approval in proposal.approvals() {
                let frame = CharterApproval {
                    charter: *hash,
                    approval: approval.to_bytes(),
                };
                self.send(turn, Peer::Node(node), Frame::CharterApproval(frame));
            }
        }
    }

    /// A proposal, or what was new of one, as the journal has it.
    pub(super) fn replay_proposal(&mut self, record: &ProposalRecord) -> Option<()> {
        let certificate = Certificate::<Charter>::from_bytes(&record.certificate.0).ok()?;
        let charter = certificate.unverified();
        if charter.previous != Some(self.constitution.hash()) {
            return None;
        }
        let hash = charter.hash();
        if let Some(known) = self.proposals.open.get_mut(&hash) {
            known.certificate = certificate;
        } else {
            let proposal = Proposal::new(certificate, record.first_seen);
            self.proposals.open.insert(hash, proposal);
        }
        self.cast_shadow(&hash, self.last_time);
        Some(())
    }

    /// One that gave way to another.
    pub(super) fn replay_dropped(&mut self, hash: &CharterHash) {
        self.proposals.open.remove(hash);
    }

    /// An approval of a proposal, as the journal has it.
    pub(super) fn replay_charter_approval(&mut self, record: &CharterApprovalRecord) -> Option<()> {
        let signed = Signed::<Approval>::from_bytes(&record.approval.0).ok()?;
        if let Some(proposal) = self.proposals.open.get_mut(&record.charter) {
            proposal.approve(&signed);
        }
        Some(())
    }
}
