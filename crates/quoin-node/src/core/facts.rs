//! What feeds say: taken from whoever carries it, shown to all nodes, never older than before.
//!
//! Statements live in memory only. After a start this node has none, and gets the newest from its
//! peers and from its gateways; until then what needs a fact is not permitted. What must survive is
//! how far each feed had counted, or a restart could be fed what the feed has taken back. That mark
//! is journaled when it moves, but no more often than every ten seconds for each feed, because a
//! feed may speak many times a second. So after a crash the statements of the last ten seconds
//! before it can be shown again, out of order; a statement is believed only inside the age that its
//! rule allows, and never one that is older than the mark.
//!
//! A statement is handed on to every node, because a gateway must not choose who hears what. Which
//! statements a judgement rested on is in the record of its decision.

use super::charters::refused;
use super::{Alarm, Effect, Node, Peer, Record, Turn};
use quoin_api::Frame;
use quoin_api::frame::{Opaque, Refusal, StatementReply};
use quoin_core::{Address, NodeIndex, PrincipalId, Purpose, Signed, TimeMs};
use quoin_policy::{Fact, FactStatement, FactView, Warrant};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// How often a feed's mark is journaled, at most.
const MARK_MS: u64 = 10_000;
/// The shortest time between two statements of one feed; what comes faster is dropped, and the next
/// one says the same or better.
const BETWEEN_MS: u64 = 50;

/// What a node remembers of one feed.
#[derive(Default)]
struct Feed {
    /// The highest number that is journaled.
    mark: u64,
    marked: Option<TimeMs>,
    heard: Option<TimeMs>,
    /// The newest statement of this boot (`Signed<FactStatement>`), to hand on.
    newest: Option<(u64, Vec<u8>)>,
}

/// What a node remembers of the feeds.
#[derive(Default)]
pub(super) struct Feeds {
    feeds: BTreeMap<PrincipalId, Feed>,
    /// The accounts of digest keys that were reported as funded.
    funded: BTreeSet<Address>,
}

impl Feeds {
    /// A mark, as the journal has it.
    pub(super) fn restore(&mut self, feed: PrincipalId, seq: u64) {
        let feed = self.feeds.entry(feed).or_default();
        feed.mark = feed.mark.max(seq);
    }

    /// Whether it is the newest statement of its feed, brought once more: by somebody else, or by
    /// another way.
    fn is_newest(&self, feed: &PrincipalId, bytes: &[u8]) -> bool {
        let known = self.feeds.get(feed).and_then(|f| f.newest.as_ref());
        known.is_some_and(|(_, newest)| newest == bytes)
    }

    /// Whether a statement's number is higher than all before, as far as this node remembers. After
    /// a start the marked one itself may come again.
    fn is_news(&self, feed: &PrincipalId, seq: u64) -> bool {
        let Some(feed) = self.feeds.get(feed) else {
            return true;
        };
        match &feed.newest {
            Some((newest, _)) => seq > *newest,
            None => seq >= feed.mark,
        }
    }
}

impl Node {
    pub(super) fn on_facts(&mut self, turn: &mut Turn<'_>, from: &Peer, bytes: &[u8]) {
        let refused = self.take_facts(turn, from, bytes).err();
        self.statement_reply(turn, from, bytes, refused);
    }

    fn take_facts(
        &mut self,
        turn: &mut Turn<'_>,
        from: &Peer,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let signed = Signed::<FactStatement>::from_bytes(bytes)
            .map_err(|e| refused("facts", e.to_string()))?;
        let said = signed.unverified();
        if said.cluster != self.cluster {
            return Err(refused("cluster", "the statement is for another cluster"));
        }
        if self.feeds.is_newest(&said.feed, bytes) {
            return Ok(());
        }
        if !self.feeds.is_news(&said.feed, said.seq) {
            return Err(refused("seq", "the feed has said something newer"));
        }
        let heard = self.feeds.feeds.get(&said.feed).and_then(|f| f.heard);
        if heard.is_some_and(|at| turn.now.since(at) < BETWEEN_MS) {
            return Err(refused("feed", "the feed speaks too often"));
        }
        self.is_genuine(&signed)?;
        let (feed, seq) = (said.feed.clone(), said.seq);
        let taken = self
            .facts
            .accept(&self.constitution, said.clone(), turn.now);
        taken.map_err(|fault| refused("facts", fault.to_string()))?;
        let known = self.feeds.feeds.entry(feed.clone()).or_default();
        known.heard = Some(turn.now);
        known.newest = Some((seq, bytes.to_vec()));
        let due = known.marked.is_none_or(|at| turn.now.since(at) >= MARK_MS);
        if due && seq > known.mark {
            known.mark = seq;
            known.marked = Some(turn.now);
            self.persist(turn, Record::FactSeen { feed, seq });
        }
        self.flood(turn, from, &Frame::Facts(bytes.to_vec()));
        self.watch_digest_accounts(turn, &signed.unverified().facts);
        self.nonces_said(&signed.unverified().facts);
        Ok(())
    }

    /// Checks that a statement is signed by its feed; what it says, the store checks.
    fn is_genuine(&self, signed: &Signed<FactStatement>) -> Result<(), Refusal> {
        let feed = &signed.unverified().feed;
        let known = self.constitution.credential(signed.credential());
        let Some((_, credential)) = known.filter(|(p, _)| p.id == *feed) else {
            let message = format!("`{feed}` has no such credential");
            return Err(refused("feed", message));
        };
        let verified = signed.verify(credential);
        verified
            .map(drop)
            .map_err(|e| refused("facts", e.to_string()))
    }

    /// What was believed when a warrant was made, for the record of its decision.
    pub(super) fn facts_of(&self, warrant: &Warrant) -> Option<Opaque> {
        let at = warrant.reservation().at;
        let view = self.facts.view(&self.constitution, warrant.intent(), at);
        let known = view
            != FactView {
                // Of nothing, everybody knows the worth.
                value_usd_micro: view.value_usd_micro,
                ..FactView::default()
            };
        let known = known || view.value_usd_micro.is_some_and(|value| value > 0);
        let json = serde_json::to_vec(&view).ok().filter(|_| known);
        json.map(Opaque)
    }

    /// Shows a node that has just connected the newest statement of each feed.
    pub(super) fn greet_with_facts(&self, turn: &mut Turn<'_>, node: NodeIndex) {
        let newest = self.feeds.feeds.values().filter_map(|f| f.newest.as_ref());
        for (_, bytes) in newest {
            self.send(turn, Peer::Node(node), Frame::Facts(bytes.clone()));
        }
    }

    fn is_digest_account(&self, address: &Address) -> bool {
        let root = quoin_core::DerivationPath::ROOT;
        let keys = self.keys.values().filter_map(|e| e.current.as_ref());
        let mut digest = keys
            .map(|epoch| epoch.public())
            .filter(|public| public.purpose == Purpose::Digest);
        digest.any(|public| super::key_addresses(public, &root).contains(address))
    }

    /// Reports accounts of digest keys that are believed to have money: such a key signs what nobody
    /// can explain, so whoever may ask it to sign may spend that money.
    fn watch_digest_accounts(&mut self, turn: &mut Turn<'_>, facts: &[Fact]) {
        for fact in facts {
            let Fact::Balance { asset, account, .. } = fact else {
                continue;
            };
            let believed = self
                .facts
                .balance(&self.constitution, asset, account, turn.now);
            let funded = believed.is_some_and(|view| !view.amount.is_zero());
            let news = funded && !self.feeds.funded.contains(account);
            if news && self.is_digest_account(account) {
                self.feeds.funded.insert(account.clone());
                let alarm = Alarm::DigestAccountFunded(asset.clone(), account.clone());
                turn.effects.push(Effect::Alarm(alarm));
            }
        }
    }

    /// Says to whoever brought a statement whether it was taken; a node is not told.
    pub(super) fn statement_reply(
        &mut self,
        turn: &mut Turn<'_>,
        to: &Peer,
        statement: &[u8],
        refused: Option<Refusal>,
    ) {
        if let Peer::Node(_) = to {
            return;
        }
        let reply = Frame::StatementReply(StatementReply {
            statement: Sha256::digest(statement).into(),
            node: self.me(),
            refused,
        });
        if self.storage_failed {
            // Nothing that waits for the disk will ever leave, and this says that it failed.
            return self.send(turn, to.clone(), reply);
        }
        self.send_after_all(turn, to.clone(), reply);
    }
}
