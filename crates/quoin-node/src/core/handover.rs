//! The handover of a key from one share epoch to the next, and its birth into the first.
//!
//! Source: the construction's sections 19.1 (4), 19.3 and 21.4; design, section 6.
//!
//! 1. A ceremony gives a share. It is stored with the key's record, and only once that is durable
//!    the node signs the record: this endorsement is its acknowledgement.
//! 2. All holders' endorsements are the certificate. Once it is durable the epoch is in use, and
//!    the one before retires: its presignatures are honoured for [`super::config::OVERLAP_MS`], no
//!    longer.
//! 3. Each node then states that it *holds* the epoch. The shares of the epochs before are erased
//!    only after all holders have said so, whatever the overlap's clock says.
//!
//! So a certificate proves n durable shares, and at every moment some epoch has t usable ones. A
//! node has at most one pending record of a key; another one takes its place only when the first
//! is not expected to be certified: a node that would have to endorse it has sworn not to
//! (`CeremonyAbandoned`), or the charter in force no longer names one of its holders. A corrupt node
//! may endorse it after all. So a record that this node has endorsed is *kept* with its share until
//! all holders have a later epoch, and comes into use if its certificate appears before
//! (`docs/decisions/0009`).
//! A node that waits reminds the others, and each of them hands on every endorsement that it has.

use super::config::{ABANDONED_MAX, HELD_REMINDER_MS};
use super::keys::{Epoch, KeyEntry, Pending, overlap_end, share_label};
use super::record::KeyRecord;
use super::requests::rejected;
use super::{Alarm, Continuation, Effect, Node, Peer, Record, Turn};
use quoin_api::Frame;
use quoin_api::epochs::{CeremonyAbandoned, EpochHeld};
use quoin_api::frame::{
    ENDORSEMENTS_MAX, HeldFrame, KeysFrame, Opaque, PreparedFrame, Reply, ReplyFrame,
};
use quoin_core::cbor::{self, Version};
use quoin_core::statement::Endorsement;
use quoin_core::{
    CeremonyId, Certificate, KeyId, KeyState, NodeIndex, Rejection, RequestId, ShareEpoch, Signed,
    Statement, TimeMs,
};
use quoin_protocol::combine::{KeyPublic, verify_certificate};
use quoin_protocol::dkg::{Generated, verify_succession};
use std::collections::{BTreeMap, BTreeSet};

/// How often endorsements that are missing are asked for.
const PREPARED_REMINDER_MS: u64 = 1_000;

/// What the handovers of all keys have in common.
#[derive(Default)]
pub(super) struct Handovers {
    /// Records that this node has sworn never to endorse, with the signed statements.
    abandoned: BTreeMap<[u8; 32], Vec<u8>>,
    /// Records that were given up here because another node has sworn the same; who, and its
    /// statement. Each costs a ceremony, and it goes with the kept share.
    sworn: BTreeMap<[u8; 32], (NodeIndex, Vec<u8>)>,
    /// Ids for which somebody has sworn never to endorse a first record: a second ceremony could
    /// give them a second record, so they are never made again.
    spent: BTreeSet<KeyId>,
    prepared_reminded: Option<TimeMs>,
    held_reminded: Option<TimeMs>,
}

impl Node {
    /// The certificates of all keys in use, and during an overlap those of the epochs before.
    pub(super) fn list_keys(&self, now: TimeMs) -> KeysFrame {
        let mut certificates = Vec::new();
        for entry in self.keys.values() {
            let Some(current) = &entry.current else {
                continue;
            };
            certificates.push(Opaque(current.certificate.to_bytes()));
            let retiring = entry.retiring.iter().filter(|r| now < r.honoured_until);
            certificates.extend(retiring.map(|r| Opaque(r.epoch.certificate.to_bytes())));
        }
        KeysFrame { certificates }
    }

    /// The newest certificate of one key, and during an overlap the one before.
    fn list_key(&self, key: KeyId, now: TimeMs) -> KeysFrame {
        let entry = self.keys.get(&key);
        let current = entry.and_then(|e| e.current.as_ref()).into_iter();
        let retiring = entry.into_iter().flat_map(|e| &e.retiring);
        let retiring = retiring.filter(|r| now < r.honoured_until);
        let all = current.chain(retiring.map(|r| &r.epoch));
        let certificates = all.map(|e| Opaque(e.certificate.to_bytes())).collect();
        KeysFrame { certificates }
    }

    /// Whether a key id has a first record that was given up, here or by word of another node.
    pub(super) fn is_spent(&self, key: KeyId) -> bool {
        let given_up = |e: &KeyEntry| {
            let pending = e.next.as_ref();
            e.current.is_none() && pending.is_none_or(|n| self.is_superseded(n))
        };
        self.handovers.spent.contains(&key) || self.keys.get(&key).is_some_and(given_up)
    }

    /// Whether a pending record will hardly be certified any more, because the charter in force does
    /// not name one of its holders: the identities that the shares were dealt to.
    pub(super) fn is_superseded(&self, pending: &Pending) -> bool {
        let public = pending.public();
        !pending.certified && self.live_holders(public).len() < public.public_shares.len()
    }

    /// Whether a record may become the pending one of its key: the first of a new key, or one that
    /// follows the epoch in use.
    pub(super) fn may_store(&self, public: &KeyPublic) -> bool {
        if self.handovers.abandoned.contains_key(&public.shares_hash()) {
            return false;
        }
        let Some(entry) = self.keys.get(&public.key) else {
            let first = public.epoch == ShareEpoch::default() && public.previous.is_none();
            return first && !self.handovers.spent.contains(&public.key);
        };
        if entry.is_being_certified() {
            return false;
        }
        let free = entry.next.as_ref().is_none_or(|n| self.is_superseded(n));
        let current = entry.current.as_ref();
        free && entry.may_succeed()
            && current.is_some_and(|c| verify_succession(public, c.public()).is_ok())
    }

    /// Stores the share with the key's record; endorses it once that is durable.
    pub(super) fn store_epoch(&mut self, turn: &mut Turn<'_>, generated: Generated) {
        let public = &generated.share.public;
        if public.charter != self.constitution.number() || !self.may_store(public) {
            return;
        }
        let (key, label) = (public.key, share_label(public));
        let record = KeyRecord {
            key,
            public: Opaque(cbor::encode(public)),
            boot: self.boot,
        };
        let secret = generated.share.secret.duplicate_secret();
        let pending = Pending::new(public.clone(), Some(generated.share));
        let hash = pending.hash;
        match self.keys.get_mut(&key) {
            Some(entry) => {
                entry.keep_next();
                entry.next = Some(pending);
            }
            None => {
                self.keys.insert(key, KeyEntry::born(pending));
            }
        }
        let ticket = self.persist_with(turn, Record::KeyPending(record), vec![(label, secret)]);
        self.after(ticket, Continuation::KeyStored(key, hash));
    }

    pub(super) fn key_stored(&mut self, turn: &mut Turn<'_>, key: KeyId, hash: [u8; 32]) {
        if !self.is_backed_up(key, hash) {
            return self.back_up(turn, key);
        }
        self.endorse(key, hash);
        self.send_prepared(turn, key, None, true);
        self.activate_if_endorsed(turn, key, hash);
    }

    /// Signs the record of a pending epoch whose share is durable.
    fn endorse(&mut self, key: KeyId, hash: [u8; 32]) {
        let pending = self.keys.get_mut(&key).and_then(|e| e.next.as_mut());
        if let Some(pending) = pending.filter(|p| p.hash == hash && !p.endorsed) {
            let payload = pending.certificate.payload();
            let own = Endorsement::detached(KeyPublic::TAG, payload, &self.identity);
            pending.certificate.add(own);
            pending.endorsed = true;
        }
    }

    /// A record's endorsements by the nodes of its own charter: one for each at most.
    fn endorsements_of<'a>(
        &'a self,
        certificate: &'a Certificate<KeyPublic>,
    ) -> impl Iterator<Item = &'a Endorsement> + 'a {
        let roster = self.rosters.get(&certificate.unverified().charter);
        let nodes = roster.into_iter().flat_map(|r| r.nodes.values());
        let ids: BTreeSet<_> = nodes.map(|node| node.id()).collect();
        let all = certificate.endorsements().iter();
        all.filter(move |e| ids.contains(&e.credential))
    }

    /// Sends all endorsements that this node knows of its pending epoch, or else of the one in use.
    fn send_prepared(&self, turn: &mut Turn<'_>, key: KeyId, to: Option<NodeIndex>, ask: bool) {
        let Some(entry) = self.keys.get(&key) else {
            return;
        };
        let pending = entry.next.as_ref().filter(|n| n.endorsed);
        let pending = pending.map(|n| (&n.certificate, n.hash));
        let current = entry.current.as_ref().map(|c| (&c.certificate, c.hash));
        let Some((certificate, record)) = pending.or(current) else {
            return;
        };
        let frame = prepared_frame(self.endorsements_of(certificate), certificate, record, ask);
        match to {
            Some(node) => self.send(turn, Peer::Node(node), frame),
            None => self.send_to_nodes(turn, &frame),
        }
    }

    /// Takes endorsements of a stored record, whoever hands them on: each counts by its signature
    /// over our own record.
    pub(super) fn on_prepared(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeIndex,
        frame: &PreparedFrame,
    ) {
        let entry = self.keys.get(&frame.key);
        let next = entry.and_then(|e| e.next.as_ref());
        let current = entry.and_then(|e| e.current.as_ref());
        if next.is_some_and(|n| n.hash == frame.record) {
            let ready = next.is_some_and(|n| n.endorsed);
            self.take_endorsements(frame);
            self.activate_if_endorsed(turn, frame.key, frame.record);
            if frame.wants_reply && ready {
                self.send_prepared(turn, frame.key, Some(from), false);
            }
        } else if entry.is_some_and(|e| e.stored(frame.record).is_some()) {
            self.on_prepared_kept(turn, from, frame);
        } else if entry.is_some_and(|e| e.state == KeyState::Destroyed) {
            // This node may have endorsed the record before it erased all shares of the key, so it
            // cannot swear that it never will.
        } else if let Some(current) = current.filter(|c| c.hash == frame.record) {
            // The sender lacks what this node has: a whole certificate.
            if frame.wants_reply {
                let (certificate, hash) = (&current.certificate, current.hash);
                let whole = self.endorsements_of(certificate);
                let whole = prepared_frame(whole, certificate, hash, false);
                self.send(turn, Peer::Node(from), whole);
            }
        } else if current.is_some_and(|c| frame.epoch <= c.number()) {
            // Other shares of the epoch, or later ones, are in use already.
            let keys = self.list_key(frame.key, turn.now);
            self.send(turn, Peer::Node(from), Frame::Keys(keys));
        } else if !self.ceremonies.concern(self.cluster, frame.key) {
            self.abandon(turn, from, frame);
        }
    }

    /// Another node still waits for a record that this one has given up: it hears why. If all have
    /// endorsed it after all, it comes into use.
    fn on_prepared_kept(&mut self, turn: &mut Turn<'_>, from: NodeIndex, frame: &PreparedFrame) {
        self.take_endorsements(frame);
        self.activate_if_endorsed(turn, frame.key, frame.record);
        if !frame.wants_reply {
            return;
        }
        if let Some((_, oath)) = self.handovers.sworn.get(&frame.record) {
            let oath = Frame::CeremonyAbandoned(oath.clone());
            self.send_after_all(turn, Peer::Node(from), oath);
        }
        let keys = self.list_key(frame.key, turn.now);
        self.send(turn, Peer::Node(from), Frame::Keys(keys));
    }

    fn take_endorsements(&mut self, frame: &PreparedFrame) {
        let me = self.identity.public().id();
        let entry = self.keys.get_mut(&frame.key);
        let pending = entry.and_then(|e| e.stored_mut(frame.record));
        let Some(pending) = pending.filter(|p| !p.certified) else {
            return;
        };
        let Some(roster) = self.rosters.get(&pending.public().charter) else {
            return;
        };
        for bytes in frame.endorsements.iter().take(ENDORSEMENTS_MAX) {
            let Ok(endorsement) = Endorsement::from_bytes(&bytes.0) else {
                continue;
            };
            // Our own is made here and nowhere else, once our share is durable.
            let by = endorsement.credential;
            if by == me || pending.is_endorsed_by(by) {
                continue;
            }
            let mut nodes = roster.nodes.values();
            let payload = pending.certificate.payload();
            if nodes.any(|n| endorsement.verify(KeyPublic::TAG, payload, n).is_ok()) {
                pending.certificate.add(endorsement);
            }
        }
    }

    /// Brings a stored epoch into use once its certificate is whole and durable.
    fn activate_if_endorsed(&mut self, turn: &mut Turn<'_>, key: KeyId, hash: [u8; 32]) {
        let Some(entry) = self.keys.get(&key) else {
            return;
        };
        let pending = entry.stored(hash).filter(|p| p.endorsed && !p.certified);
        let outranks = |p: &&Pending| {
            entry
                .current
                .as_ref()
                .is_none_or(|c| p.public().outranks(c.public()))
        };
        let Some(pending) = pending.filter(outranks) else {
            return;
        };
        let mut certificate = Certificate::unsigned(pending.public().clone());
        for endorsement in self.endorsements_of(&pending.certificate) {
            certificate.add(endorsement.clone());
        }
        self.certify(turn, key, certificate);
    }

    /// Writes the whole certificate of a stored epoch; it is in use once that is durable.
    fn certify(&mut self, turn: &mut Turn<'_>, key: KeyId, certificate: Certificate<KeyPublic>) {
        let Some(roster) = self.rosters.get(&certificate.unverified().charter) else {
            return;
        };
        if verify_certificate(&certificate, &roster.nodes).is_err() {
            return;
        }
        let hash = certificate.unverified().shares_hash();
        let pending = self.keys.get_mut(&key).and_then(|e| e.stored_mut(hash));
        let Some(pending) = pending.filter(|p| !p.certified) else {
            return;
        };
        // All holders have endorsed it, so who has sworn not to has lied. The record is good.
        if let Some((liar, _)) = self.handovers.sworn.remove(&hash) {
            let alarm = Alarm::Equivocated(liar);
            turn.effects.push(Effect::Alarm(alarm));
        }
        let record = Record::KeyActive {
            key,
            certificate: Opaque(certificate.to_bytes()),
        };
        pending.certificate = certificate;
        pending.certified = true;
        let ticket = self.persist(turn, record);
        self.after(ticket, Continuation::KeyActivated(key, hash));
    }

    /// Puts the pending epoch into use; its certificate is durable.
    pub(super) fn key_activated(&mut self, turn: &mut Turn<'_>, key: KeyId, hash: [u8; 32]) {
        let Some(entry) = self.keys.get_mut(&key) else {
            return;
        };
        if entry.stored(hash).is_none_or(|p| !p.certified) {
            return;
        }
        let Some(pending) = entry.take_stored(hash) else {
            return;
        };
        let epoch = Epoch::new(pending.certificate, pending.share);
        self.drop_rival(turn, epoch.public());
        let Some(entry) = self.keys.get_mut(&key) else {
            return;
        };
        let ceremony = epoch.public().ceremony;
        let reply = Reply::CeremonyDone(epoch.certificate.to_bytes());
        entry.succeed(epoch, turn.now, overlap_end(turn.now));
        self.ceremonies.done.insert(ceremony);
        for (peer, attempt) in self.ceremonies.take_askers(ceremony) {
            let request_id = RequestId(ceremony.0);
            let frame = Frame::Reply(ReplyFrame {
                attempt,
                request_id,
                reply: reply.clone(),
            });
            self.send(turn, peer, frame);
        }
        self.send_held(turn, key, None, true);
        let keys = Frame::Keys(self.list_key(key, turn.now));
        self.send_to_nodes(turn, &keys);
        for gateway in self.pools.gateways() {
            self.send(turn, Peer::Gateway(gateway), keys.clone());
        }
        self.fill_pools(turn);
    }

    /// Before a certified record takes the place of another of its number: presignatures are named
    /// by the number, so those of the one that goes are dropped at once.
    fn drop_rival(&mut self, turn: &mut Turn<'_>, public: &KeyPublic) {
        let (key, epoch) = (public.key, public.epoch);
        let current = self.keys.get(&key).and_then(|e| e.current.as_ref());
        if current.is_some_and(|c| c.number() == epoch && public.outranks(c.public())) {
            self.pools.drop_epoch(key, epoch);
            self.drop_batches_of(turn, key, epoch);
        }
    }

    /// Epochs whose shares the journal holds are endorsed again after a restart: the same records.
    pub(super) fn restore_prepared(&mut self) {
        for pending in self.keys.values_mut().flat_map(|e| &mut e.kept) {
            // Those that were endorsed when they were given up.
            if pending.endorsed {
                let payload = pending.certificate.payload();
                let own = Endorsement::detached(KeyPublic::TAG, payload, &self.identity);
                pending.certificate.add(own);
            }
        }
        let pending = self.keys.iter();
        let pending = pending.filter_map(|(key, e)| e.next.as_ref().map(|n| (*key, n.hash)));
        for (key, hash) in pending.collect::<Vec<_>>() {
            if self.is_backed_up(key, hash) {
                self.endorse(key, hash);
            }
        }
    }

    /// Asks again for what is missing: endorsements of pending epochs, and statements of who holds
    /// the epochs in use.
    pub(super) fn remind(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let due = |at: Option<TimeMs>, every| at.is_none_or(|at| now.since(at) >= every);
        if due(self.handovers.prepared_reminded, PREPARED_REMINDER_MS) {
            self.handovers.prepared_reminded = Some(turn.now);
            let waits = |e: &KeyEntry| e.next.as_ref().is_some_and(|n| n.endorsed && !n.certified);
            let waiting = self
                .keys
                .iter()
                .filter(|(_, e)| waits(e))
                .map(|(key, _)| *key);
            for key in waiting.collect::<Vec<_>>() {
                self.send_prepared(turn, key, None, true);
            }
        }
        if due(self.handovers.held_reminded, HELD_REMINDER_MS) {
            self.handovers.held_reminded = Some(turn.now);
            let waiting = self.keys.iter().filter(|(_, e)| !self.is_held_by_all(e));
            for key in waiting.map(|(key, _)| *key).collect::<Vec<_>>() {
                self.send_held(turn, key, None, true);
            }
        }
    }

    /// Whether every holder of the epoch in use has said that it holds it.
    pub(super) fn is_held_by_all(&self, entry: &KeyEntry) -> bool {
        let Some(current) = &entry.current else {
            return true;
        };
        // Nobody holds a destroyed key, and nobody will.
        if entry.state == KeyState::Destroyed {
            return true;
        }
        let mut holders = current.holders();
        holders.all(|n| match n == self.me() {
            true => current.share.is_some(),
            false => entry.held.contains_key(&n),
        })
    }

    /// Sends this node's statement that it holds the epoch in use, with all others' that it knows.
    fn send_held(&self, turn: &mut Turn<'_>, key: KeyId, to: Option<NodeIndex>, ask: bool) {
        let Some(frame) = self.held_frame(key, ask) else {
            return;
        };
        match to {
            Some(node) => self.send(turn, Peer::Node(node), frame),
            None => self.send_to_nodes(turn, &frame),
        }
    }

    fn held_frame(&self, key: KeyId, wants_reply: bool) -> Option<Frame> {
        let entry = self.keys.get(&key)?;
        let current = entry.current.as_ref()?;
        let own = current.share.as_ref().map(|_| {
            let statement = EpochHeld {
                version: Version,
                cluster: self.cluster,
                key,
                epoch: current.number(),
                boot: self.boot,
                record: current.hash,
            };
            Signed::sign(statement, &self.identity).to_bytes()
        });
        let known = entry.held.values().cloned();
        Some(Frame::Held(HeldFrame {
            key,
            epoch: current.number(),
            statements: own.into_iter().chain(known).map(Opaque).collect(),
            wants_reply,
        }))
    }

    /// Tells a node that has just connected which epochs this node holds, and asks what it knows.
    pub(super) fn greet_with_keys(&self, turn: &mut Turn<'_>, node: NodeIndex) {
        self.send(turn, Peer::Node(node), Frame::KeysRequest);
        let all = self.keys.iter().filter(|(_, e)| e.current.is_some());
        let moved = all.filter(|(_, e)| !e.retiring.is_empty() || !self.is_held_by_all(e));
        for (key, _) in moved {
            self.send_held(turn, *key, Some(node), true);
        }
    }

    /// Takes statements of who holds the epoch in use.
    pub(super) fn on_held(&mut self, turn: &mut Turn<'_>, from: NodeIndex, frame: &HeldFrame) {
        let current = self.keys.get(&frame.key).and_then(|e| e.current.as_ref());
        let number = current.map(Epoch::number);
        if current.is_some_and(|c| self.is_of_rival(c, frame)) {
            // Two certificates have one number. Whoever lacks one hears of it, and all choose alike.
            self.send(turn, Peer::Node(from), Frame::KeysRequest);
            let keys = self.list_key(frame.key, turn.now);
            return self.send(turn, Peer::Node(from), Frame::Keys(keys));
        }
        if number.is_none_or(|n| n < frame.epoch) {
            // The sender is ahead: its certificate, or its endorsements, are what this node lacks.
            let pending = self.keys.get(&frame.key).and_then(|e| e.next.as_ref());
            if pending.is_some_and(|n| n.endorsed) {
                self.send_prepared(turn, frame.key, Some(from), true);
            }
            return self.send(turn, Peer::Node(from), Frame::KeysRequest);
        }
        for bytes in frame.statements.iter().take(ENDORSEMENTS_MAX) {
            self.take_held(turn, frame.key, &bytes.0);
        }
        if frame.wants_reply && number == Some(frame.epoch) {
            self.send_held(turn, frame.key, Some(from), false);
        } else if number > Some(frame.epoch) {
            let keys = self.list_key(frame.key, turn.now);
            self.send(turn, Peer::Node(from), Frame::Keys(keys));
        }
    }

    /// Whether the statements are of another record than this node's, with the same number.
    fn is_of_rival(&self, current: &Epoch, frame: &HeldFrame) -> bool {
        let first = frame.statements.first();
        let first = first.and_then(|bytes| Signed::<EpochHeld>::from_bytes(&bytes.0).ok());
        current.number() == frame.epoch
            && first.is_some_and(|s| s.unverified().record != current.hash)
    }

    fn take_held(&mut self, turn: &mut Turn<'_>, key: KeyId, bytes: &[u8]) -> Option<()> {
        let signed = Signed::<EpochHeld>::from_bytes(bytes).ok()?;
        let by = signed.unverified().boot.node;
        let entry = self.keys.get(&key)?;
        let current = entry.current.as_ref()?;
        let known = by == self.me() || entry.held.contains_key(&by);
        if known || !current.holders().any(|n| n == by) {
            return None;
        }
        let roster = self.rosters.get(&current.public().charter)?;
        let held = signed.verify(roster.nodes.get(&by)?).ok()?;
        let ours = held.cluster == self.cluster
            && held.key == key
            && held.epoch == current.number()
            && held.record == current.hash;
        if !ours {
            return None;
        }
        self.persist(turn, Record::EpochHeld(Opaque(bytes.to_vec())));
        self.keys.get_mut(&key)?.held.insert(by, bytes.to_vec());
        Some(())
    }

    /// Lets go of old epochs: of their presignatures once the overlap is over, of their shares once
    /// all holders have the new ones.
    pub(super) fn retire_epochs(&mut self, turn: &mut Turn<'_>) {
        let old = |e: &KeyEntry| !e.retiring.is_empty() || !e.kept.is_empty();
        let with_old = self.keys.iter().filter(|(_, e)| old(e));
        for key in with_old.map(|(key, _)| *key).collect::<Vec<_>>() {
            let Some(entry) = self.keys.get(&key) else {
                continue;
            };
            let over = entry.retiring.iter();
            let over = over.filter(|r| turn.now >= r.honoured_until);
            let over: Vec<ShareEpoch> = over.map(|r| r.epoch.number()).collect();
            let all_over = over.len() == entry.retiring.len();
            let number = entry.current.as_ref().map(Epoch::number);
            // Of a record that was outranked by another of its number, the pool is the other's.
            let over: Vec<_> = over.into_iter().filter(|e| Some(*e) != number).collect();
            let held = self.is_held_by_all(entry);
            for epoch in over {
                self.pools.drop_epoch(key, epoch);
                self.drop_batches_of(turn, key, epoch);
            }
            if all_over && held {
                self.erase_retiring(turn, key);
            }
        }
    }

    /// Erases the shares of all old epochs of a key, certified ones and kept ones: every holder has
    /// a later one durably. What has the number of the epoch in use is not older than it: its
    /// certificate may yet appear, and outrank the other's.
    fn erase_retiring(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        let Some(entry) = self.keys.get_mut(&key) else {
            return;
        };
        if entry.is_being_certified() {
            return;
        }
        let (retired, given_up) = entry.take_old();
        let mut labels: BTreeMap<ShareEpoch, Vec<String>> = BTreeMap::new();
        let retired = retired.iter().map(|r| (r.epoch.public(), &r.epoch.share));
        let kept = given_up.iter().map(|p| (p.public(), &p.share));
        for (public, _) in retired.chain(kept).filter(|(_, share)| share.is_some()) {
            let of_number = labels.entry(public.epoch).or_default();
            of_number.push(share_label(public));
        }
        entry.erased.extend(labels.keys());
        for pending in &given_up {
            self.handovers.sworn.remove(&pending.hash);
        }
        for (epoch, labels) in labels {
            self.persist_erasing(turn, Record::EpochErased { key, epoch }, labels);
        }
    }

    /// Swears never to endorse a record that others wait for, and of which this node has no share
    /// and cannot come to have one: its ceremony is not running here.
    fn abandon(&mut self, turn: &mut Turn<'_>, from: NodeIndex, frame: &PreparedFrame) {
        if let Some(bytes) = self.handovers.abandoned.get(&frame.record) {
            let again = Frame::CeremonyAbandoned(bytes.clone());
            return self.send_after_all(turn, Peer::Node(from), again);
        }
        if self.handovers.abandoned.len() >= ABANDONED_MAX {
            return;
        }
        let statement = CeremonyAbandoned {
            version: Version,
            cluster: self.cluster,
            key: frame.key,
            epoch: frame.epoch,
            boot: self.boot,
            record: frame.record,
        };
        if frame.epoch == ShareEpoch::default() {
            self.handovers.spent.insert(frame.key);
        }
        let bytes = Signed::sign(statement, &self.identity).to_bytes();
        self.handovers.abandoned.insert(frame.record, bytes.clone());
        let ticket = self.persist(turn, Record::Abandoned(Opaque(bytes.clone())));
        for node in self.peers.connected_nodes() {
            let told = Frame::CeremonyAbandoned(bytes.clone());
            self.after(ticket, Continuation::Send(Peer::Node(node), told));
        }
    }

    /// Gives up a pending epoch that a node has sworn never to endorse, whoever says so. If this node
    /// has endorsed it, the oath proves nothing about what the other endorses later, so the share is
    /// kept; if not, no certificate of it can ever be whole.
    pub(super) fn on_abandoned(&mut self, turn: &mut Turn<'_>, bytes: &[u8]) -> Option<()> {
        let signed = Signed::<CeremonyAbandoned>::from_bytes(bytes).ok()?;
        let (key, by) = (signed.unverified().key, signed.unverified().boot.node);
        let pending = self.keys.get(&key)?.next.as_ref()?;
        let public = pending.public();
        let roster = self.rosters.get(&public.charter)?;
        let credential = roster.nodes.get(&by).filter(|_| by != self.me())?;
        let statement = signed.verify(credential).ok()?;
        let ours = statement.cluster == self.cluster
            && statement.record == pending.hash
            && statement.epoch == public.epoch;
        if !ours {
            return None;
        }
        if pending.certified || pending.is_endorsed_by(credential.id()) {
            // It said both; the endorsement may be in a certificate, so the oath is void.
            turn.effects.push(Effect::Alarm(Alarm::Equivocated(by)));
            return None;
        }
        let (label, ceremony) = (share_label(public), public.ceremony);
        let first = self.keys.get(&key)?.current.is_none();
        let oath = Opaque(bytes.to_vec());
        let ticket = if pending.endorsed {
            self.give_up(key, by, bytes.to_vec());
            self.persist(turn, Record::AbandonedKept(oath))
        } else {
            self.drop_pending(key);
            self.persist_erasing(turn, Record::Abandoned(oath), vec![label])
        };
        if first {
            self.tell_birth_failed(ticket, ceremony);
        }
        for node in self.peers.connected_nodes() {
            let told = Frame::CeremonyAbandoned(bytes.to_vec());
            self.after(ticket, Continuation::Send(Peer::Node(node), told));
        }
        Some(())
    }

    /// Who asked for the key hears that this request makes none.
    fn tell_birth_failed(&mut self, ticket: super::Ticket, ceremony: CeremonyId) {
        for (peer, attempt) in self.ceremonies.take_askers(ceremony) {
            let frame = Frame::Reply(ReplyFrame {
                attempt,
                request_id: RequestId(ceremony.0),
                reply: birth_failed(),
            });
            self.after(ticket, Continuation::Send(peer, frame));
        }
    }

    /// Keeps the pending record of a key with its share, though a node has sworn not to endorse it.
    fn give_up(&mut self, key: KeyId, by: NodeIndex, oath: Vec<u8>) {
        let Some(entry) = self.keys.get_mut(&key) else {
            return;
        };
        if let Some(pending) = &mut entry.next {
            pending.endorsed = true;
            self.handovers.sworn.insert(pending.hash, (by, oath));
        }
        entry.keep_next();
    }

    /// Forgets the pending epoch of a key. A key that has no other is forgotten, but for its id.
    fn drop_pending(&mut self, key: KeyId) {
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.next = None;
            if entry.current.is_none() && entry.kept.is_empty() {
                self.keys.remove(&key);
                self.handovers.spent.insert(key);
            }
        }
    }

    /// A journaled oath of another node over a record that this node had endorsed.
    pub(super) fn restore_kept(&mut self, bytes: Vec<u8>) -> Option<()> {
        let signed = Signed::<CeremonyAbandoned>::from_bytes(&bytes).ok()?;
        let statement = signed.unverified();
        let pending = self.keys.get(&statement.key)?.next.as_ref()?;
        if pending.hash != statement.record {
            return None;
        }
        self.give_up(statement.key, statement.boot.node, bytes.clone());
        Some(())
    }

    /// A journaled oath: this node's own is kept, another's drops what it is about.
    pub(super) fn restore_abandoned(&mut self, bytes: Vec<u8>) -> Option<()> {
        let signed = Signed::<CeremonyAbandoned>::from_bytes(&bytes).ok()?;
        let statement = signed.unverified();
        if statement.boot.node == self.me() {
            if statement.epoch == ShareEpoch::default() {
                self.handovers.spent.insert(statement.key);
            }
            self.handovers.abandoned.insert(statement.record, bytes);
            return Some(());
        }
        let pending = self.keys.get(&statement.key)?.next.as_ref()?;
        if pending.hash == statement.record {
            self.drop_pending(statement.key);
        }
        Some(())
    }

    /// Learns from another node's listing: the certificate of a pending epoch, or an epoch of which
    /// this node has no share.
    pub(super) fn on_keys(&mut self, turn: &mut Turn<'_>, frame: &KeysFrame) {
        for bytes in &frame.certificates {
            let Ok(certificate) = Certificate::<KeyPublic>::from_bytes(&bytes.0) else {
                return;
            };
            if self.is_news(&certificate) {
                let public = certificate.unverified();
                let Some(roster) = self.rosters.get(&public.charter) else {
                    continue;
                };
                // A node that sends one false certificate is not worth the check of the others.
                if verify_certificate(&certificate, &roster.nodes).is_err() {
                    return;
                }
                self.learn(turn, certificate);
            }
        }
    }

    /// Whether a certificate outranks the one in use, or is of an unknown key.
    fn is_news(&self, certificate: &Certificate<KeyPublic>) -> bool {
        let public = certificate.unverified();
        let Some(entry) = self.keys.get(&public.key) else {
            return public.cluster == self.cluster;
        };
        let newer = entry
            .current
            .as_ref()
            .is_none_or(|c| public.outranks(c.public()) && is_same_key(c.public(), public));
        public.cluster == self.cluster && newer && !entry.is_being_certified()
    }

    fn learn(&mut self, turn: &mut Turn<'_>, certificate: Certificate<KeyPublic>) {
        let public = certificate.unverified();
        let (key, epoch) = (public.key, public.epoch);
        let entry = self.keys.get(&key);
        if entry.is_some_and(|e| e.stored(public.shares_hash()).is_some()) {
            return self.certify(turn, key, certificate);
        }
        // Another identity may have held a share at this node's index; then nothing is missing.
        if self.live_holders(public).contains(&self.me()) {
            turn.effects
                .push(Effect::Alarm(Alarm::ShareMissing(key, epoch)));
        }
        let record = Record::KeyLearned(Opaque(certificate.to_bytes()));
        self.persist(turn, record);
        self.drop_rival(turn, certificate.unverified());
        self.adopt_learned(certificate, turn.now);
    }

    /// Puts an epoch into use of which this node has no share.
    pub(super) fn adopt_learned(&mut self, certificate: Certificate<KeyPublic>, now: TimeMs) {
        let (key, ceremony) = {
            let public = certificate.unverified();
            (public.key, public.ceremony)
        };
        self.ceremonies.done.insert(ceremony);
        match self.keys.get_mut(&key) {
            // Its presignatures need not be honoured: this node is late already.
            Some(entry) => entry.succeed(Epoch::new(certificate, None), now, now),
            None => {
                self.keys.insert(key, KeyEntry::learned(certificate, now));
            }
        }
    }
}

fn prepared_frame<'a>(
    endorsements: impl Iterator<Item = &'a Endorsement>,
    certificate: &Certificate<KeyPublic>,
    record: [u8; 32],
    wants_reply: bool,
) -> Frame {
    let public = certificate.unverified();
    Frame::Prepared(PreparedFrame {
        key: public.key,
        endorsements: endorsements.map(|e| Opaque(e.to_bytes())).collect(),
        wants_reply,
        epoch: public.epoch,
        record,
    })
}

/// What a request hears whose key id was given up.
pub(super) fn birth_failed() -> Reply {
    let message = "a node gave the key of this request up before all had acknowledged it: ask \
                   again with a new request id";
    rejected(Rejection::caller("stamp.request_id", message))
}

/// Whether two records are of one key, whatever their epochs.
fn is_same_key(one: &KeyPublic, other: &KeyPublic) -> bool {
    one.key == other.key
        && one.public_key == other.public_key
        && one.scheme == other.scheme
        && one.purpose == other.purpose
        && one.chain_code == other.chain_code
        && one.origin == other.origin
        && one.name == other.name
}
