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
//! can never be certified: a node that would have to endorse it has sworn not to
//! (`CeremonyAbandoned`), or the charter in force no longer names one of its holders.
//! A node that waits reminds the others, and each of them hands on every endorsement that it has.

use super::config::{ABANDONED_MAX, HELD_REMINDER_MS};
use super::keys::{Epoch, KeyEntry, Pending, overlap_end, share_label};
use super::record::KeyRecord;
use super::{Alarm, Continuation, Effect, Node, Peer, Record, Turn};
use quoin_api::Frame;
use quoin_api::epochs::{CeremonyAbandoned, EpochHeld};
use quoin_api::frame::{
    ENDORSEMENTS_MAX, HeldFrame, KeysFrame, Opaque, PreparedFrame, Reply, ReplyFrame,
};
use quoin_core::cbor::{self, Version};
use quoin_core::statement::Endorsement;
use quoin_core::{
    Certificate, KeyId, KeyState, NodeIndex, RequestId, ShareEpoch, Signed, Statement, TimeMs,
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

    /// Whether a pending record can never be certified any more, because the charter in force does
    /// not name one of its holders.
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
            return public.epoch == ShareEpoch::default() && public.previous.is_none();
        };
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
        let (key, label) = (public.key, share_label(public.key, public.epoch));
        let record = KeyRecord {
            key,
            public: Opaque(cbor::encode(public)),
            boot: self.boot,
        };
        let secret = generated.share.secret.duplicate_secret();
        let pending = Pending::new(public.clone(), Some(generated.share));
        let hash = pending.hash;
        match self.keys.get_mut(&key) {
            Some(entry) => entry.next = Some(pending),
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
        self.activate_if_endorsed(turn, key);
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
            self.activate_if_endorsed(turn, frame.key);
            if frame.wants_reply && ready {
                self.send_prepared(turn, frame.key, Some(from), false);
            }
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

    fn take_endorsements(&mut self, frame: &PreparedFrame) {
        let me = self.identity.public().id();
        let pending = self.keys.get_mut(&frame.key).and_then(|e| e.next.as_mut());
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

    /// Brings a pending epoch into use once its certificate is whole and durable.
    fn activate_if_endorsed(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        let pending = self.keys.get(&key).and_then(|e| e.next.as_ref());
        let Some(pending) = pending.filter(|p| p.endorsed && !p.certified) else {
            return;
        };
        let mut certificate = Certificate::unsigned(pending.public().clone());
        for endorsement in self.endorsements_of(&pending.certificate) {
            certificate.add(endorsement.clone());
        }
        self.certify(turn, key, certificate);
    }

    /// Writes the whole certificate of the pending epoch; it is in use once that is durable.
    fn certify(&mut self, turn: &mut Turn<'_>, key: KeyId, certificate: Certificate<KeyPublic>) {
        let Some(roster) = self.rosters.get(&certificate.unverified().charter) else {
            return;
        };
        if verify_certificate(&certificate, &roster.nodes).is_err() {
            return;
        }
        let pending = self.keys.get_mut(&key).and_then(|e| e.next.as_mut());
        let Some(pending) = pending.filter(|p| *p.public() == *certificate.unverified()) else {
            return;
        };
        let hash = pending.hash;
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
        let Some(pending) = entry.next.take_if(|p| p.certified && p.hash == hash) else {
            return;
        };
        let epoch = Epoch::new(pending.certificate, pending.share);
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

    /// Epochs whose shares the journal holds are endorsed again after a restart: the same records.
    pub(super) fn restore_prepared(&mut self) {
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
        let with_old = self.keys.iter().filter(|(_, e)| !e.retiring.is_empty());
        for key in with_old.map(|(key, _)| *key).collect::<Vec<_>>() {
            let Some(entry) = self.keys.get(&key) else {
                continue;
            };
            let over = entry.retiring.iter();
            let over = over.filter(|r| turn.now >= r.honoured_until);
            let over: Vec<ShareEpoch> = over.map(|r| r.epoch.number()).collect();
            let all_over = over.len() == entry.retiring.len();
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

    /// Erases the shares of all old epochs of a key: every holder has the new one durably.
    fn erase_retiring(&mut self, turn: &mut Turn<'_>, key: KeyId) {
        let Some(entry) = self.keys.get_mut(&key) else {
            return;
        };
        for old in std::mem::take(&mut entry.retiring) {
            let epoch = old.epoch.number();
            if old.epoch.share.is_none() {
                continue;
            }
            let Some(entry) = self.keys.get_mut(&key) else {
                return;
            };
            entry.erased.push(epoch);
            let record = Record::EpochErased { key, epoch };
            self.persist_erasing(turn, record, vec![share_label(key, epoch)]);
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
        let bytes = Signed::sign(statement, &self.identity).to_bytes();
        self.handovers.abandoned.insert(frame.record, bytes.clone());
        let ticket = self.persist(turn, Record::Abandoned(Opaque(bytes.clone())));
        for node in self.peers.connected_nodes() {
            let told = Frame::CeremonyAbandoned(bytes.clone());
            self.after(ticket, Continuation::Send(Peer::Node(node), told));
        }
    }

    /// Drops a pending epoch that a node has sworn never to endorse, whoever says so.
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
        let label = share_label(key, public.epoch);
        self.drop_pending(key);
        let record = Record::Abandoned(Opaque(bytes.to_vec()));
        let ticket = self.persist_erasing(turn, record, vec![label]);
        for node in self.peers.connected_nodes() {
            let told = Frame::CeremonyAbandoned(bytes.to_vec());
            self.after(ticket, Continuation::Send(Peer::Node(node), told));
        }
        Some(())
    }

    /// Forgets the pending epoch of a key, and a key that has no other.
    fn drop_pending(&mut self, key: KeyId) {
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.next = None;
            if entry.current.is_none() {
                self.keys.remove(&key);
            }
        }
    }

    /// A journaled oath: this node's own is kept, another's drops what it is about.
    pub(super) fn restore_abandoned(&mut self, bytes: Vec<u8>) -> Option<()> {
        let signed = Signed::<CeremonyAbandoned>::from_bytes(&bytes).ok()?;
        let statement = signed.unverified();
        if statement.boot.node == self.me() {
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

    /// Whether a certificate is of a newer epoch than the one in use, or of an unknown key.
    fn is_news(&self, certificate: &Certificate<KeyPublic>) -> bool {
        let public = certificate.unverified();
        let Some(entry) = self.keys.get(&public.key) else {
            return public.cluster == self.cluster;
        };
        let certified = entry.next.as_ref().is_some_and(|n| n.certified);
        let newer = entry
            .current
            .as_ref()
            .is_none_or(|c| c.number() < public.epoch && is_same_key(c.public(), public));
        public.cluster == self.cluster && newer && !certified
    }

    fn learn(&mut self, turn: &mut Turn<'_>, certificate: Certificate<KeyPublic>) {
        let public = certificate.unverified();
        let (key, epoch) = (public.key, public.epoch);
        let pending = self.keys.get(&key).and_then(|e| e.next.as_ref());
        if pending.is_some_and(|n| n.endorsed && n.hash == public.shares_hash()) {
            return self.certify(turn, key, certificate);
        }
        // Another identity may have held a share at this node's index; then nothing is missing.
        if self.live_holders(public).contains(&self.me()) {
            turn.effects
                .push(Effect::Alarm(Alarm::ShareMissing(key, epoch)));
        }
        let record = Record::KeyLearned(Opaque(certificate.to_bytes()));
        self.persist(turn, record);
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
