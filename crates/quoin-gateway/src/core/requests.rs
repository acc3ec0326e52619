//! Requests and approvals of callers: reading, sharing a flight, parking, replying.

use super::Gateway;
use super::event::{ClientId, Effect, Metric};
use super::flight::{Approvals, Ask, CLIENTS_MAX, Flight, OTHERS_MAX, Parked, Stage};
use super::outcome::{Failure, Outcome, PendingRequest};
use quoin_api::frame::{APPROVALS_MAX, Opaque};
use quoin_core::payload::PAYLOAD_BYTES_MAX;
use quoin_core::{Payload, RequestId, Signed, Stamp, TimeMs, cbor};

/// What the encoding of a payload adds to its content.
const PAYLOAD_OVERHEAD_BYTES: usize = 16;

impl Gateway {
    pub(super) fn on_request(
        &mut self,
        now: TimeMs,
        client: ClientId,
        stamp: Vec<u8>,
        payload: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        match self.read(stamp, payload) {
            Ok(ask) => match self.admit(now, client, ask) {
                Ok(Some(id)) => self.launch(now, id, effects),
                Ok(None) => {}
                Err(outcome) => effects.push(Effect::Reply(client, outcome)),
            },
            Err(failure) => effects.push(Effect::Reply(client, Outcome::Failed(failure))),
        }
    }

    /// Reads a request. That nobody has checked the stamp's signature is the nodes' matter; what
    /// is malformed or meant for another cluster is refused here, before it costs them anything.
    fn read(&self, stamp: Vec<u8>, payload: Vec<u8>) -> Result<Ask, Failure> {
        let signed = Signed::<Stamp>::from_bytes(&stamp)
            .map_err(|e| Failure::caller("stamp", e.to_string()))?;
        let value = signed.unverified();
        if value.cluster != self.charters.view().cluster {
            let message = "the stamp is for another cluster";
            return Err(Failure::caller("stamp.cluster", message));
        }
        if signed.credential() != value.credential {
            let message = "the stamp is signed by another credential than it names";
            return Err(Failure::caller("stamp.credential", message));
        }
        // Nodes check it again; here it keeps strangers from using up presignatures.
        self.charters.stamp(&signed)?;
        let bytes_max = PAYLOAD_BYTES_MAX + PAYLOAD_OVERHEAD_BYTES;
        let content: Payload = cbor::decode(&payload, bytes_max)
            .map_err(|e| Failure::caller("payload", e.to_string()))?;
        let payload_hash = content.hash();
        if payload_hash != value.payload_hash {
            let message = "the stamp is for another payload";
            return Err(Failure::caller("stamp.payload_hash", message));
        }
        match (&content, value.key) {
            (Payload::CreateKey(_), Some(_)) => {
                let message = "a request for a new key names no key";
                return Err(Failure::caller("stamp.key", message));
            }
            (Payload::ChangeNode(_), Some(_)) => {
                let message = "a request about a node names no key";
                return Err(Failure::caller("stamp.key", message));
            }
            (Payload::Unfreeze(_), Some(_)) => {
                let message = "a request to lift freezes names no key";
                return Err(Failure::caller("stamp.key", message));
            }
            (Payload::CreateKey(_) | Payload::ChangeNode(_) | Payload::Unfreeze(_), None)
            | (_, Some(_)) => {}
            (_, None) => return Err(Failure::caller("stamp.key", "the key is missing")),
        }
        Ok(Ask {
            id: value.request_id,
            content,
            payload_hash,
            key: value.key,
            account: value.account.clone(),
            not_after: value.not_after,
            stamp,
            payload,
        })
    }

    /// Decides whether a request starts a flight (`Some`), joins one (`None`), or has its outcome.
    fn admit(
        &mut self,
        now: TimeMs,
        client: ClientId,
        ask: Ask,
    ) -> Result<Option<RequestId>, Outcome> {
        if let Some((hash, outcome)) = self.settled.find(ask.id) {
            return Err(if hash == ask.payload_hash {
                outcome.clone()
            } else {
                Outcome::Conflict(hash)
            });
        }
        if let Some(flight) = self.flights.get_mut(&ask.id) {
            return join(flight, client, ask).map(|()| None);
        }
        let mut approvals = Approvals::new();
        if let Some(parked) = self.parked.get(&ask.id) {
            if parked.ask.payload_hash != ask.payload_hash {
                return Err(Outcome::Conflict(parked.ask.payload_hash));
            }
            approvals.clone_from(&parked.approvals);
        }
        if self.flights.len() >= self.config.in_flight_max {
            return Err(Outcome::Overloaded);
        }
        Ok(Some(self.open(now, client, ask, approvals)))
    }

    fn open(&mut self, now: TimeMs, client: ClientId, ask: Ask, approvals: Approvals) -> RequestId {
        let budget_ms = if ask.is_ceremony() {
            self.config.ceremony_deadline_ms
        } else {
            self.config.deadline_ms
        };
        let id = ask.id;
        let mut flight = Flight::new(ask, self.next_arrival(), client, now, now.plus(budget_ms));
        flight.approvals = approvals;
        self.flights.insert(id, flight);
        id
    }

    pub(super) fn launch(&mut self, now: TimeMs, id: RequestId, effects: &mut Vec<Effect>) {
        self.move_on(now, id, effects, |gateway, flight, effects| {
            gateway.step(now, flight, effects)
        });
    }

    /// Attaches an approval to its request and sends the request again.
    pub(super) fn on_approval(
        &mut self,
        now: TimeMs,
        client: ClientId,
        approval: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        let head = match self.charters.approval(&approval) {
            Ok(head) => head,
            Err(rejection) => {
                let outcome = Outcome::Failed(rejection.into());
                effects.push(Effect::Reply(client, outcome));
                return;
            }
        };
        let id = head.request_id;
        if let Some((_, outcome)) = self.settled.find(id) {
            effects.push(Effect::Reply(client, outcome.clone()));
            return;
        }
        let attach = |approvals: &mut Approvals| {
            if approvals.len() < APPROVALS_MAX || approvals.contains_key(&head.credential) {
                approvals.insert(head.credential, Opaque(approval.clone()));
            }
        };
        if let Some(parked) = self.parked.get_mut(&id) {
            attach(&mut parked.approvals);
        }
        if let Some(flight) = self.flights.get_mut(&id) {
            if flight.clients.len() >= CLIENTS_MAX {
                effects.push(Effect::Reply(client, Outcome::Overloaded));
                return;
            }
            attach(&mut flight.approvals);
            flight.rerun = true;
            flight.clients.push(client);
            return;
        }
        match self.parked.get(&id) {
            Some(_) if self.flights.len() >= self.config.in_flight_max => {
                effects.push(Effect::Reply(client, Outcome::Overloaded));
            }
            Some(parked) => {
                let (ask, approvals) = (parked.ask.clone(), parked.approvals.clone());
                let id = self.open(now, client, ask, approvals);
                self.launch(now, id, effects);
            }
            None => effects.push(Effect::Reply(client, Outcome::NotFound)),
        }
    }

    /// What is known of a request.
    pub(super) fn known(&self, id: RequestId) -> Outcome {
        if let Some((_, outcome)) = self.settled.find(id) {
            outcome.clone()
        } else if self.flights.contains_key(&id) {
            Outcome::InProgress
        } else if let Some(parked) = self.parked.get(&id) {
            Outcome::Pending(parked.shown.clone())
        } else {
            Outcome::NotFound
        }
    }

    /// Ends a flight: keeps what must be kept and replies to everyone who waits.
    pub(super) fn end(
        &mut self,
        now: TimeMs,
        mut flight: Flight,
        outcome: Outcome,
        effects: &mut Vec<Effect>,
    ) {
        let id = flight.ask.id;
        if let Outcome::Pending(shown) = &outcome {
            self.park(&flight, shown.clone());
            if flight.rerun {
                flight.rerun = false;
                flight.stage = Stage::Starting;
                self.flights.insert(id, flight);
                self.launch(now, id, effects);
                return;
            }
        }
        effects.push(Effect::Metric(Metric::Settled {
            outcome: outcome.kind(),
            latency_ms: now.since(flight.began),
        }));
        if outcome.is_final() {
            self.parked.remove(&id);
            self.settled
                .keep(id, flight.ask.payload_hash, outcome.clone());
            flight
                .clients
                .extend(flight.others.drain(..).map(|(client, _)| client));
        }
        for client in flight.clients.drain(..) {
            effects.push(Effect::Reply(client, outcome.clone()));
        }
        self.try_other_stamp(now, flight, effects);
    }

    /// Whoever waits with another stamp of the same request has a flight of their own: the first
    /// stamp may have been a forgery that the nodes rejected.
    fn try_other_stamp(&mut self, now: TimeMs, flight: Flight, effects: &mut Vec<Effect>) {
        let mut others = flight.others;
        let Some((client, stamp)) = others.pop_front() else {
            return;
        };
        let ask = Ask {
            stamp,
            ..flight.ask
        };
        let id = self.open(now, client, ask, flight.approvals);
        if let Some(next) = self.flights.get_mut(&id) {
            for (client, stamp) in others {
                if stamp == next.ask.stamp {
                    next.clients.push(client);
                } else {
                    next.others.push_back((client, stamp));
                }
            }
        }
        self.launch(now, id, effects);
    }

    fn park(&mut self, flight: &Flight, shown: Box<PendingRequest>) {
        let id = flight.ask.id;
        if !self.parked.contains_key(&id) && self.parked.len() >= self.config.pending_max {
            let oldest = self.parked.iter().min_by_key(|(_, p)| p.seq);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.parked.remove(&oldest);
            }
        }
        let parked = Parked {
            ask: flight.ask.clone(),
            seq: flight.seq,
            approvals: flight.approvals.clone(),
            shown,
        };
        self.parked.insert(id, parked);
    }
}

/// Adds a caller to a flight of the same request.
fn join(flight: &mut Flight, client: ClientId, ask: Ask) -> Result<(), Outcome> {
    if flight.ask.payload_hash != ask.payload_hash {
        return Err(Outcome::Conflict(flight.ask.payload_hash));
    }
    if flight.ask.stamp == ask.stamp {
        if flight.clients.len() >= CLIENTS_MAX {
            return Err(Outcome::Overloaded);
        }
        flight.clients.push(client);
    } else {
        if flight.others.len() >= OTHERS_MAX {
            return Err(Outcome::Overloaded);
        }
        flight.others.push_back((client, ask.stamp));
    }
    Ok(())
}
