//! What would be decided about a request: asked by somebody, and answered without any effect.
//!
//! The question is a request in every respect but one. Its stamp has lapsed, at most ten minutes ago,
//! so that nobody who carries the question can have it signed. It is judged as if the stamp ran for
//! a while, by the same rules and under the same conditions as any other, but nothing is reserved,
//! recorded or refused for good: there is no tombstone, no first sight and no warrant to sign with.
//!
//! Whoever may read policies learns everything; others learn the decision and the ids of the rules
//! that made it, which a request would have told them too.

use super::charters::refused;
use super::requests::{Admitted, key_facts};
use super::{Node, Peer, Turn};
use quoin_api::Frame;
use quoin_api::frame::{ExplainReply, ExplainRequest, Refusal};
use quoin_core::{Payload, Scheme, Signed, Stamp, TimeMs};
use quoin_policy::{Approval, Conditions, Explanation, Request, Reservation};

/// How long after its stamp has lapsed a question is answered: a stamp that anybody may have seen
/// must not open the policies for ever.
const QUESTION_MS_MAX: u64 = 10 * 60 * 1000;
/// The shortest time between two explanations: one goes into up to 128 rules, and whoever carries
/// questions must not keep a node from signing with them.
const EXPLAIN_EVERY_MS: u64 = 20;
/// For how long the request in question would run.
const ASSUMED_LIFE_MS: u64 = 60 * 60 * 1000;

impl Node {
    pub(super) fn on_explain(&mut self, turn: &mut Turn<'_>, to: Peer, asked: &ExplainRequest) {
        let busy = turn.now.since(self.explained) < EXPLAIN_EVERY_MS;
        let explained = if busy {
            Err(refused("node", "it explains something else; ask again"))
        } else {
            self.explained = turn.now;
            self.explain(asked, turn.now)
        };
        let explained = explained.and_then(|explanation| {
            serde_json::to_string(&explanation).map_err(|e| refused("explanation", e.to_string()))
        });
        let reply = ExplainReply {
            attempt: asked.attempt,
            node: self.me(),
            explanation: explained,
        };
        self.send(turn, to, Frame::ExplainReply(reply));
    }

    /// What would be decided. It takes the node as it is, and leaves it so.
    pub(super) fn explain(
        &self,
        asked: &ExplainRequest,
        now: TimeMs,
    ) -> Result<Explanation, Refusal> {
        let admitted = self
            .admit(&asked.stamp, &asked.payload)
            .map_err(|rejection| refused(&rejection.field, rejection.message))?;
        let mut stamp = admitted.stamp().clone();
        let lapsed = stamp.not_after;
        if lapsed > now || now.since(lapsed) > QUESTION_MS_MAX {
            return Err(refused(
                "stamp.not_after",
                "a question must not be usable as a request: stamp it with a `not_after` that has \
                 just passed, at most ten minutes ago",
            ));
        }
        stamp.not_after = now.plus(ASSUMED_LIFE_MS);
        let approvals: Vec<Signed<Approval>> = asked
            .approvals
            .iter()
            .map(|bytes| Signed::from_bytes(&bytes.0))
            .collect::<Result<_, _>>()
            .map_err(|e| refused("approvals", e.to_string()))?;
        self.explain_admitted(&admitted, &stamp, &approvals, now)
    }

    fn explain_admitted(
        &self,
        admitted: &Admitted,
        stamp: &Stamp,
        approvals: &[Signed<Approval>],
        now: TimeMs,
    ) -> Result<Explanation, Refusal> {
        let entry = stamp.key.and_then(|key| self.keys.get(&key));
        let public = entry.and_then(|e| e.current.as_ref().map(|epoch| (e, epoch.public())));
        let facts = public.map(|(e, public)| key_facts(public, &stamp.account.path, e.state));
        let scheme = match (&admitted.payload, &facts) {
            (Payload::CreateKey(create), _) => create.scheme,
            (_, Some(facts)) => facts.scheme,
            (_, None) if stamp.key.is_some() => {
                return Err(refused("stamp.key", "this node does not know the key"));
            }
            (_, None) => Scheme::Ecdsa,
        };
        let decoded = quoin_chain::decode(&admitted.payload, &stamp.account, scheme)
            .map_err(|rejection| refused(&rejection.field, rejection.message))?;
        let request = Request {
            decoded,
            stamp,
            key: facts.as_ref(),
            approvals,
            first_seen: now,
            now,
            conditions: self.conditions(now),
        };
        let rooms = |reservation: &Reservation| {
            self.ledger.rooms(&self.constitution, &request, reservation)
        };
        Ok(self.constitution.explain(&request, &stamp.principal, rooms))
    }

    /// What this node knows beside charter and request, for a request that no signer set is named
    /// for.
    fn conditions(&self, now: TimeMs) -> Conditions<'_> {
        Conditions {
            freezes: &self.freezes,
            facts: &self.facts,
            notices: &self.notices,
            lease: self.has_lease(now),
            clock: self.has_good_clock(now),
            set: self.sets.in_force(),
        }
    }
}
