//! Nonces over HTTP, and for the other faces: who is asked for the chain's word, and what the
//! outcome of a request says of its number.
//!
//! Anybody who reaches this face can take numbers, which costs nothing but numbers: leases end,
//! their count is limited, and only who knows a request's id can settle what it has.

use super::body::{ApiError, Strict, caller};
use super::fees::pending_nonce;
use super::rpc::Agent;
use super::upstream::Upstream;
use super::{Faces, Hosts, guard};
use crate::core::{Event, Outcome};
use crate::run::{Handle, wall_clock};
use crate::sequencer::{
    Ask, Grant, LEASE_MS, NumberState, Run, SEQUENCES_MAX, SequenceError, SequenceId, Settled,
    Settlement, Standing, Store, StoreError, Ticket,
};
use axum::extract::{FromRef, Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use quoin_api::sequences::{
    AllocateBody, AllocatedBody, NumberStateBody, OpenNumberBody, RunBody, SequenceBody,
    SequencesBody, SettleBody, SettlementBody,
};
use quoin_core::payload::PAYLOAD_BYTES_MAX;
use quoin_core::{Class, Payload, RequestId, Scheme, Signed, Stamp, TimeMs, cbor};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// How long the chain's word on an account is good for, so that thousands of allocations a second are
/// not as many questions to its node.
const VIEW_TIME: Duration = Duration::from_secs(1);
/// How much later than its stamp a request may still be signed: clocks differ.
const STAMP_MARGIN_MS: u64 = 10_000;
/// How many digits of a request's id are shown.
const ID_DIGITS: usize = 8;

/// What one sender at a time does with an account: the number that it must go on with, when a
/// transaction with that number may be signed and has not reached the chain's node.
pub(super) type Lane = Arc<tokio::sync::Mutex<Option<u64>>>;

/// What the routes of nonces share.
#[derive(Clone)]
pub(super) struct Numbering {
    sequences: Arc<Sequences>,
    agents: Arc<Vec<Agent>>,
}

impl FromRef<Faces> for Numbering {
    fn from_ref(faces: &Faces) -> Self {
        Self {
            sequences: Arc::clone(&faces.sequences),
            agents: Arc::clone(&faces.agents),
        }
    }
}

/// The routes of nonces, for whatever state has them.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    Numbering: FromRef<S>,
{
    Router::new()
        .route("/v1/sequences", get(list))
        .route("/v1/sequences/{id}", get(show))
        .route("/v1/sequences/{id}/allocate", post(allocate))
        .route("/v1/sequences/{id}/settle", post(settle))
}

/// Serves nonces alone, on loopback, without a cluster: to measure them.
///
/// # Errors
/// When the listener fails.
pub async fn serve_sequences(
    listener: tokio::net::TcpListener,
    sequences: Arc<Sequences>,
) -> std::io::Result<()> {
    let hosts = Hosts::loopback(listener.local_addr()?.port(), Vec::new());
    let state = Numbering {
        sequences,
        agents: Arc::new(Vec::new()),
    };
    let guarded = from_fn_with_state(Arc::new(hosts), guard::check);
    let router = routes().with_state(state).layer(guarded);
    axum::serve(listener, router).await
}

/// The nonces of a gateway: the sequencer, and whom to ask for the chain's word.
#[derive(Debug)]
pub struct Sequences {
    store: Store,
    chain: Option<ChainNode>,
    views: Mutex<BTreeMap<SequenceId, Instant>>,
    lanes: Mutex<BTreeMap<SequenceId, Lane>>,
    carried: Mutex<BTreeMap<(SequenceId, u64), Carried>>,
}

/// The requests with one number that are under way.
#[derive(Debug, Default)]
struct Carried {
    count: usize,
    /// Whether the first of them was the first ever to ask for the number.
    fresh: bool,
    /// Whether one has ended, and may be signed.
    stuck: bool,
}

/// The gateway's own chain node.
#[derive(Debug)]
struct ChainNode {
    upstream: Upstream,
    id: OnceCell<u64>,
}

/// A request that may have a number.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) sequence: SequenceId,
    /// The request that has the number: its own, or the one that took a block with it.
    pub(super) request: RequestId,
    pub(super) number: u64,
    /// When its stamp ends.
    pub(super) not_after: TimeMs,
    /// Whether nobody outside has the stamp, so that nobody can send it again.
    pub(super) ours: bool,
}

impl Numbered {
    /// What number a request fills; `None` when it fills none, or cannot be read.
    fn of(stamp: &[u8], payload: &[u8]) -> Option<Self> {
        let stamp = Signed::<Stamp>::from_bytes(stamp).ok()?;
        let stamp = stamp.unverified();
        let sequence = SequenceId::of_account(&stamp.account.chain, &stamp.account.address)?;
        let payload: Payload = cbor::decode(payload, 2 * PAYLOAD_BYTES_MAX).ok()?;
        if !matches!(payload, Payload::EvmTransaction(_)) {
            return None;
        }
        let decoded = quoin_chain::decode(&payload, &stamp.account, Scheme::Ecdsa).ok()?;
        Some(Self {
            sequence,
            request: stamp.request_id,
            number: decoded.intent().slot.as_ref()?.nonce,
            not_after: stamp.not_after,
            ours: false,
        })
    }
}

impl Sequences {
    /// Nonces that are forgotten when the process ends: for tests.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::over(Store::in_memory(), None)
    }

    /// The nonces of a folder. `rpc` is the URL of the chain's node, for accounts of no agent.
    ///
    /// # Errors
    /// When another process has the folder, or what is in it cannot be read.
    pub fn open(folder: &std::path::Path, rpc: Option<String>) -> Result<Self, StoreError> {
        Ok(Self::over(Store::open(folder)?, rpc))
    }

    fn over(store: Store, rpc: Option<String>) -> Self {
        Self {
            store,
            chain: rpc.map(|url| ChainNode {
                upstream: Upstream::new(url),
                id: OnceCell::new(),
            }),
            views: Mutex::default(),
            lanes: Mutex::default(),
            carried: Mutex::default(),
        }
    }

    /// The lane of an account.
    pub(super) fn lane(&self, sequence: &SequenceId) -> Lane {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.entry(sequence.clone()).or_default().clone()
    }

    /// How a sequence stands.
    pub(super) fn standing(&self, sequence: &SequenceId) -> Option<Standing> {
        self.store.standing(wall_clock(), sequence)
    }

    /// Whether the chain's word was heard a moment ago; if not, the caller shall ask for it.
    fn is_fresh(&self, sequence: &SequenceId) -> bool {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views
            .get(sequence)
            .is_some_and(|at| at.elapsed() < VIEW_TIME)
    }

    fn heard(&self, sequence: &SequenceId) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if views.len() >= SEQUENCES_MAX {
            views.clear();
        }
        views.insert(sequence.clone(), Instant::now());
    }

    /// Hands out numbers once they are safe to use.
    pub(super) async fn allocate(
        self: &Arc<Self>,
        sequence: &SequenceId,
        ask: &Ask,
    ) -> Result<Grant, SequenceError> {
        let (grant, ticket) = self.store.begin_allocate(wall_clock(), sequence, ask)?;
        self.durable(ticket).await?;
        Ok(grant)
    }

    /// Says what became of a request's numbers, once that is durable; tells whether it was news.
    pub(super) async fn settle(
        self: &Arc<Self>,
        sequence: &SequenceId,
        settled: Settled,
    ) -> Result<bool, SequenceError> {
        let (news, ticket) = self.store.begin_settle(sequence, &settled)?;
        self.durable(ticket).await?;
        Ok(news)
    }

    async fn durable(self: &Arc<Self>, ticket: Ticket) -> Result<(), SequenceError> {
        if self.store.is_durable(ticket) {
            return Ok(());
        }
        let own = Arc::clone(self);
        let waited = tokio::task::spawn_blocking(move || own.store.wait(ticket)).await;
        waited.unwrap_or_else(|e| Err(SequenceError::Storage(e.to_string())))
    }

    /// Takes a request through the core, and keeps its number's story, also when the caller hangs
    /// up meanwhile.
    ///
    /// # Errors
    /// When it cannot be written down that a signature may exist; nothing is asked then.
    pub(super) async fn carry(
        self: &Arc<Self>,
        handle: &Handle,
        numbered: Option<Numbered>,
        stamp: Vec<u8>,
        payload: Vec<u8>,
    ) -> Result<Outcome, SequenceError> {
        let call = move |client| Event::ClientRequest {
            client,
            stamp,
            payload,
        };
        let Some(mut numbered) = numbered else {
            return Ok(handle.call(call).await);
        };
        let fresh = self.claim(&mut numbered).await?;
        self.begin(&numbered, fresh);
        let (own, handle) = (Arc::clone(self), handle.clone());
        let carried = tokio::spawn(async move {
            let outcome = handle.call(call).await;
            own.note(&numbered, &outcome);
            // The caller need not wait for this: a crash before it leaves the number asked.
            tokio::task::spawn_blocking(move || own.store.flush());
            outcome
        });
        // The task ends only with the process.
        Ok(carried.await.unwrap_or(Outcome::Overloaded))
    }

    /// Writes down that a request's number may be signed; tells whether that was news.
    async fn claim(self: &Arc<Self>, numbered: &mut Numbered) -> Result<bool, SequenceError> {
        let asked = |of: &Numbered| of.as_settled(Settlement::Asked);
        let mut claimed = self.settle(&numbered.sequence, asked(numbered)).await;
        // The numbers of a block are signed under other ids than the one that took it.
        if let Err(SequenceError::NotLeased) = claimed
            && let Some(holder) = self.store.block_of(&numbered.sequence, numbered.number)
        {
            numbered.request = holder;
            claimed = self.settle(&numbered.sequence, asked(numbered)).await;
        }
        match claimed {
            Ok(news) => Ok(news),
            Err(error @ SequenceError::Storage(_)) => Err(error),
            // It has no lease: its caller chose the number. The nodes judge that.
            Err(_) => Ok(false),
        }
    }

    fn carried(&self) -> MutexGuard<'_, BTreeMap<(SequenceId, u64), Carried>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, numbered: &Numbered, fresh: bool) {
        let mut carried = self.carried();
        let entry = carried.entry(numbered.place()).or_default();
        entry.count = entry.count.saturating_add(1);
        entry.fresh |= fresh;
    }

    /// A request has ended; tells whether no other with its number is under way or may be signed.
    fn ended(&self, numbered: &Numbered, may_be_signed: bool) -> bool {
        let mut carried = self.carried();
        let Some(entry) = carried.get_mut(&numbered.place()) else {
            return false;
        };
        entry.count = entry.count.saturating_sub(1);
        entry.stuck |= may_be_signed;
        let clear = entry.count == 0 && entry.fresh && !entry.stuck;
        if entry.count == 0 {
            carried.remove(&numbered.place());
        }
        clear
    }

    /// What an outcome says of a number. Whatever leaves it open whether a signature exists says
    /// nothing: the number stays asked.
    fn note(&self, numbered: &Numbered, outcome: &Outcome) {
        let how = self.verdict(numbered, outcome);
        let gives_back = matches!(how, Some(Settlement::Refused | Settlement::Unasked { .. }));
        let clear = self.ended(numbered, !gives_back);
        if let Some(how) = how
            && (clear || !gives_back)
        {
            // Without a lease there is nothing to settle.
            let _ = self
                .store
                .begin_settle(&numbered.sequence, &numbered.as_settled(how));
        }
    }

    fn verdict(&self, numbered: &Numbered, outcome: &Outcome) -> Option<Settlement> {
        let again = |until| match numbered.ours {
            true => Settlement::Refused,
            false => Settlement::Unasked { until },
        };
        Some(match outcome {
            Outcome::Signed(_) => {
                self.store.signed(&numbered.sequence, numbered.number);
                return None;
            }
            // No rule refuses a nonce by that name: another payment has the slot.
            Outcome::Refused(refused)
                if refused.rule.is_none() && refused.field.as_deref() == Some("nonce") =>
            {
                Settlement::Taken
            }
            // A node that has not denied it may have permitted it, and holds the slot for it: then
            // another payment would be signed by too few. So would it when it was asked before.
            Outcome::Refused(refused) if refused.by_all => Settlement::Refused,
            // Approvals may still come, until the stamp ends.
            Outcome::Pending(_) => Settlement::Unasked {
                until: numbered.not_after.plus(STAMP_MARGIN_MS),
            },
            // Nobody was asked; the caller may mend the request and send it again.
            Outcome::Overloaded | Outcome::Conflict(_) => again(wall_clock().plus(LEASE_MS)),
            Outcome::Failed(f) if f.class == Class::Caller => again(wall_clock().plus(LEASE_MS)),
            _ => return None,
        })
    }

    /// Nobody was asked to sign a request's number.
    pub(super) fn give_back(&self, sequence: &SequenceId, request: RequestId) {
        let settled = Settled {
            request,
            number: None,
            how: Settlement::Returned,
        };
        // Without a lease, or with one that has ended, there is nothing to give back.
        let _ = self.store.begin_settle(sequence, &settled);
    }

    /// An approval was the last that was missing: the request's number is used.
    pub(super) fn approved(&self, outcome: &Outcome) {
        let Outcome::Signed(signed) = outcome else {
            return;
        };
        let request = signed.finished.request_id;
        self.store.settle_anywhere(request, Settlement::Used);
    }
}

impl Numbered {
    const fn as_settled(&self, how: Settlement) -> Settled {
        Settled {
            request: self.request,
            number: Some(self.number),
            how,
        }
    }

    fn place(&self) -> (SequenceId, u64) {
        (self.sequence.clone(), self.number)
    }
}

/// What a posted request says of its number.
pub(super) fn numbered(stamp: &[u8], payload: &[u8]) -> Option<Numbered> {
    Numbered::of(stamp, payload)
}

/// The account's next nonce by the chain's word, unless it was heard a moment ago.
async fn chain_next(faces: &Numbering, sequence: &SequenceId) -> Result<Option<u64>, ApiError> {
    let SequenceId::Evm { chain_id, address } = sequence else {
        return Ok(None);
    };
    if faces.sequences.is_fresh(sequence) {
        return Ok(None);
    }
    let unavailable = |message: String| {
        let failure = crate::core::outcome::Failure {
            class: Class::Environment,
            field: "gateway".into(),
            message,
            nodes: Vec::new(),
        };
        ApiError::from(failure)
    };
    let agent = faces.agents.iter().find(|a| a.chain_id == *chain_id);
    let own = faces.sequences.chain.as_ref();
    let upstream = match (agent, own) {
        (Some(agent), _) => &agent.upstream,
        (None, Some(node)) => {
            let id = node.id.get_or_try_init(|| node.chain_id()).await;
            let id = id.map_err(|e| unavailable(e.message))?;
            if id != chain_id {
                let message = format!("this gateway's chain node is of chain `{id}`");
                return Err(caller(StatusCode::BAD_REQUEST, "sequence", message));
            }
            &node.upstream
        }
        (None, None) => {
            let message = "this gateway has no chain node; name one as `rpc` in `gateway.json`";
            return Err(unavailable(message.to_owned()));
        }
    };
    let next = pending_nonce(upstream, address).await;
    let next = next.map_err(|e| unavailable(e.message))?;
    faces.sequences.heard(sequence);
    Ok(Some(next))
}

impl ChainNode {
    async fn chain_id(&self) -> Result<u64, quoin_api::rpc::RpcError> {
        let id = self.upstream.call("eth_chainId", json!([])).await?;
        super::fees::quantity_u64("eth_chainId", id.as_str().unwrap_or_default())
    }
}

pub(super) fn error(error: &SequenceError) -> ApiError {
    let status = match error {
        SequenceError::NotStarted | SequenceError::NotLeased => StatusCode::NOT_FOUND,
        limit if limit.is_limit() => StatusCode::TOO_MANY_REQUESTS,
        other => StatusCode::from_u16(other.class().http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    ApiError::of_class(status, error.class(), error.field(), error.to_string())
}

fn sequence_of(id: &str) -> Result<SequenceId, ApiError> {
    id.parse().map_err(|e| error(&e))
}

async fn allocate(
    State(faces): State<Numbering>,
    Path(id): Path<String>,
    Strict(body): Strict<AllocateBody>,
) -> Result<Json<AllocatedBody>, ApiError> {
    let sequence = sequence_of(&id)?;
    let ask = Ask {
        request: body.request_id,
        count: body.count,
        chain_next: chain_next(&faces, &sequence).await?,
    };
    let granted = faces.sequences.allocate(&sequence, &ask).await;
    let grant = granted.map_err(|e| error(&e))?;
    Ok(Json(AllocatedBody {
        sequence: sequence.to_string(),
        request_id: body.request_id,
        numbers: runs(grant.runs),
        until_ms: grant.until,
    }))
}

async fn settle(
    State(faces): State<Numbering>,
    Path(id): Path<String>,
    Strict(body): Strict<SettleBody>,
) -> Result<Json<SequenceBody>, ApiError> {
    let sequence = sequence_of(&id)?;
    let settled = Settled {
        request: body.request_id,
        number: body.number,
        how: match body.outcome {
            SettlementBody::Asked => Settlement::Asked,
            SettlementBody::Used => Settlement::Used,
            SettlementBody::Returned => Settlement::Returned,
        },
    };
    let done = faces.sequences.settle(&sequence, settled).await;
    done.map_err(|e| error(&e))?;
    standing(&faces, &sequence)
}

async fn show(
    State(faces): State<Numbering>,
    Path(id): Path<String>,
) -> Result<Json<SequenceBody>, ApiError> {
    standing(&faces, &sequence_of(&id)?)
}

async fn list(State(faces): State<Numbering>) -> Json<SequencesBody> {
    let all = faces.sequences.store.standings(wall_clock()).into_iter();
    let sequences = all.map(|(sequence, standing)| body_of(&sequence, standing));
    Json(SequencesBody {
        sequences: sequences.collect(),
    })
}

fn standing(faces: &Numbering, sequence: &SequenceId) -> Result<Json<SequenceBody>, ApiError> {
    let standing = faces.sequences.standing(sequence);
    let standing = standing.ok_or_else(|| error(&SequenceError::NotStarted))?;
    Ok(Json(body_of(sequence, standing)))
}

fn body_of(sequence: &SequenceId, standing: Standing) -> SequenceBody {
    let open = standing.open.into_iter().map(|open| {
        let (state, until_ms) = match open.state {
            NumberState::Held { until } => (NumberStateBody::Held, Some(until)),
            NumberState::Asked => (NumberStateBody::Asked, None),
            NumberState::Used | NumberState::Taken => (NumberStateBody::Used, None),
        };
        OpenNumberBody {
            number: open.number,
            state,
            request: open
                .request
                .map(|id| id.to_string().chars().take(ID_DIGITS).collect()),
            until_ms,
        }
    });
    SequenceBody {
        sequence: sequence.to_string(),
        next: standing.next,
        chain_next: standing.chain_next,
        gaps: runs(standing.gaps),
        free: runs(standing.free),
        open: open.collect(),
    }
}

fn runs(runs: Vec<Run>) -> Vec<RunBody> {
    let bodies = runs.into_iter().map(|run| RunBody {
        first: run.first,
        count: run.count,
    });
    bodies.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::outcome::{Failure, RefusedRequest};
    use quoin_core::NodeIndex;

    fn sequence() -> SequenceId {
        let address = quoin_core::Address::evm([7; 20]);
        format!("eip155:1:{address}").parse().unwrap()
    }

    fn of(request: u8, number: u64) -> Numbered {
        Numbered {
            sequence: sequence(),
            request: RequestId([request; 16]),
            number,
            not_after: wall_clock().plus(60_000),
            ours: false,
        }
    }

    fn refused(by_all: bool, field: Option<&str>) -> Outcome {
        Outcome::Refused(Box::new(RefusedRequest {
            request_id: RequestId([1; 16]),
            rule: None,
            field: field.map(str::to_owned),
            message: String::new(),
            suggestion: None,
            node: NodeIndex::new(1).unwrap(),
            denial: Vec::new(),
            by_all,
        }))
    }

    /// Numbers of a request, from 5.
    async fn lease(sequences: &Arc<Sequences>, request: u8, count: u64) {
        let ask = Ask {
            request: RequestId([request; 16]),
            count,
            chain_next: Some(5),
        };
        sequences.allocate(&sequence(), &ask).await.unwrap();
    }

    async fn begin(sequences: &Arc<Sequences>, mut numbered: Numbered) -> Numbered {
        let fresh = sequences.claim(&mut numbered).await.unwrap();
        sequences.begin(&numbered, fresh);
        numbered
    }

    fn state(sequences: &Sequences, number: u64) -> Option<NumberState> {
        let open = sequences.standing(&sequence()).unwrap().open;
        let found = open.into_iter().find(|o| o.number == number);
        found.map(|o| o.state)
    }

    #[tokio::test]
    async fn a_nonce_is_given_back_only_when_all_who_were_asked_denied_it() {
        let sequences = Arc::new(Sequences::in_memory());
        for (request, by_all) in [(1, false), (2, true)] {
            lease(&sequences, request, 1).await;
            let number = 4 + u64::from(request);
            let numbered = begin(&sequences, of(request, number)).await;
            sequences.note(&numbered, &refused(by_all, None));
        }
        assert_eq!(state(&sequences, 5), Some(NumberState::Asked));
        let free = |s: &Sequences| s.standing(&sequence()).unwrap().free;
        assert_eq!(free(&sequences), Run::of([6]));
        // Asked again, whoever was asked before may hold its place: nothing that is said now frees it.
        let again = begin(&sequences, of(1, 5)).await;
        sequences.note(&again, &refused(true, None));
        assert_eq!(state(&sequences, 5), Some(NumberState::Asked));
        assert_eq!(free(&sequences), Run::of([6]));
    }

    #[tokio::test]
    async fn a_nonce_that_another_payment_has_is_shown_as_a_gap() {
        let sequences = Arc::new(Sequences::in_memory());
        lease(&sequences, 1, 1).await;
        let numbered = begin(&sequences, of(1, 5)).await;
        sequences.note(&numbered, &refused(false, Some("nonce")));
        let standing = sequences.standing(&sequence()).unwrap();
        assert_eq!((standing.gaps, standing.next), (Run::of([5]), 6));
        sequences.store.signed(&sequence(), 5);
        assert_eq!(sequences.standing(&sequence()).unwrap().gaps, []);
    }

    #[tokio::test]
    async fn a_number_of_a_block_is_asked_for_under_another_id() {
        let sequences = Arc::new(Sequences::in_memory());
        lease(&sequences, 1, 2).await;
        let forged = begin(&sequences, of(8, 5)).await;
        assert_eq!(state(&sequences, 5), Some(NumberState::Asked));
        let genuine = begin(&sequences, of(9, 5)).await;
        let caller = Outcome::Failed(Failure::caller("stamp", "forged"));
        sequences.note(&forged, &caller);
        assert_eq!(
            state(&sequences, 5),
            Some(NumberState::Asked),
            "one is under way"
        );
        sequences.note(&genuine, &Outcome::InProgress);
        assert_eq!(state(&sequences, 5), Some(NumberState::Asked));
        // What nobody took to the nodes is held as before: a forged stamp binds nothing.
        let forged = begin(&sequences, of(8, 6)).await;
        sequences.note(&forged, &caller);
        assert!(matches!(
            state(&sequences, 6),
            Some(NumberState::Held { .. })
        ));
    }
}
