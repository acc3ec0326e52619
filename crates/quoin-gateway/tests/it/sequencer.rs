//! The sequencer: no number twice, no silent gap, whatever order things happen in and wherever a
//! crash cuts the file off.

use crate::live::{STRANGER, address, start};
use crate::world::{KEY, caller};
use axum::extract::State;
use axum::{Json, Router, routing::post};
use proptest::prelude::*;
use quoin_core::{Address, RequestId, TimeMs};
use quoin_gateway::faces::{Agent, SignTransactionShape, token_hash};
use quoin_gateway::sequencer::{
    Ask, BLOCK_MAX, LEASE_MS, MARK_AHEAD, NONCES_MAX, NumberState, OPEN_MAX, Record, Run,
    SequenceError, SequenceId, Sequencer, Settled, Settlement, Standing, Store, StoreError,
    UNSEEN_MAX,
};
use reqwest::Client;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const NOW: TimeMs = TimeMs(1_700_000_000_000);
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn evm() -> SequenceId {
    format!("eip155:1:{}", Address::evm([7; 20]))
        .parse()
        .unwrap()
}

fn venue() -> SequenceId {
    format!("hyperliquid:{}", Address::evm([7; 20]))
        .parse()
        .unwrap()
}

fn id(n: u64) -> RequestId {
    RequestId(u128::from(n).to_be_bytes())
}

fn ask(n: u64, count: u64, chain: u64) -> Ask {
    Ask {
        request: id(n),
        count,
        chain_next: Some(chain),
    }
}

fn settled(n: u64, how: Settlement) -> Settled {
    Settled {
        request: id(n),
        number: None,
        how,
    }
}

/// The core with what it wrote down.
#[derive(Default)]
struct Kept {
    sequencer: Sequencer,
    records: Vec<Record>,
}

impl Kept {
    fn take(&mut self, n: u64, count: u64) -> Vec<u64> {
        let ask = ask(n, count, 5);
        let grant = self
            .sequencer
            .allocate(NOW, &evm(), &ask, &mut self.records);
        grant
            .unwrap()
            .runs
            .into_iter()
            .flat_map(Run::numbers)
            .collect()
    }

    fn settle(&mut self, n: u64, how: Settlement) -> Result<bool, SequenceError> {
        self.sequencer
            .settle(&evm(), &settled(n, how), &mut self.records)
    }

    fn standing(&self) -> Standing {
        self.sequencer.standing(NOW, &evm()).unwrap()
    }
}

#[test]
fn a_returned_number_is_a_gap_below_used_ones_and_is_handed_out_next() {
    let mut kept = Kept::default();
    assert_eq!(
        (kept.take(1, 1), kept.take(2, 1), kept.take(3, 1)),
        (vec![5], vec![6], vec![7])
    );
    assert_eq!(kept.take(2, 1), [6], "the same request has the same number");
    kept.settle(1, Settlement::Returned).unwrap();
    assert_eq!(kept.standing().gaps, [], "nothing above it is signed yet");
    kept.settle(3, Settlement::Asked).unwrap();
    assert_eq!(kept.standing().gaps, Run::of([5]));
    kept.settle(3, Settlement::Used).unwrap();
    kept.settle(2, Settlement::Refused).unwrap();
    assert_eq!(kept.standing().gaps, Run::of([5, 6]));
    assert_eq!((kept.take(4, 1), kept.take(5, 2)), (vec![5], vec![6, 8]));
    assert_eq!(kept.standing().gaps, []);
}

#[test]
fn what_may_be_signed_is_never_given_back() {
    let mut kept = Kept::default();
    kept.take(1, 1);
    kept.settle(1, Settlement::Asked).unwrap();
    assert_eq!(
        kept.settle(1, Settlement::Returned),
        Err(SequenceError::MayBeSigned { number: 5 })
    );
    let late = NOW.plus(100 * LEASE_MS);
    let next = kept
        .sequencer
        .allocate(late, &evm(), &ask(2, 1, 5), &mut kept.records);
    assert_eq!(next.unwrap().runs, Run::of([6]));
    // A refusal by the nodes is certain; a slot that another payment has is never free again.
    kept.settle(1, Settlement::Refused).unwrap();
    assert_eq!(kept.take(3, 1), [5]);
    kept.settle(3, Settlement::Taken).unwrap();
    assert_eq!(kept.take(4, 1), [7]);
    assert_eq!(
        kept.settle(9, Settlement::Used),
        Err(SequenceError::NotLeased)
    );
}

#[test]
fn a_lease_ends_but_that_of_a_block_whose_holder_is_at_work_is_kept() {
    let mut kept = Kept::default();
    assert_eq!((kept.take(1, 1), kept.take(2, 2)), (vec![5], vec![6, 7]));
    let seen = Settled {
        number: Some(7),
        ..settled(2, Settlement::Asked)
    };
    let records = &mut kept.records;
    kept.sequencer.settle(&evm(), &seen, records).unwrap();
    let at = |kept: &mut Kept, ms, n| {
        let now = NOW.plus(ms);
        let grant = kept
            .sequencer
            .allocate(now, &evm(), &ask(n, 1, 5), &mut kept.records);
        grant.unwrap().runs
    };
    assert_eq!(at(&mut kept, LEASE_MS - 1, 3), Run::of([8]));
    assert_eq!(at(&mut kept, LEASE_MS, 4), Run::of([5]));
    let open = kept.standing().open;
    let asked = open.iter().filter(|o| o.state == NumberState::Asked);
    assert_eq!(asked.map(|o| o.number).collect::<Vec<_>>(), [6, 7]);
    assert_eq!(at(&mut kept, 3 * LEASE_MS, 1), Run::of([5]), "not 6 or 7");
}

#[test]
fn the_chain_fills_numbers_and_callers_may_choose_their_own() {
    let mut kept = Kept::default();
    kept.take(1, 1);
    kept.settle(1, Settlement::Returned).unwrap();
    let grant = kept
        .sequencer
        .allocate(NOW, &evm(), &ask(2, 1, 9), &mut kept.records);
    assert_eq!(
        grant.unwrap().runs,
        Run::of([9]),
        "5 is filled by somebody else"
    );
    kept.sequencer.signed(&evm(), 12, &mut kept.records);
    let standing = kept.standing();
    assert_eq!((standing.next, standing.gaps), (10, Run::of([10, 11])));
    assert_eq!((kept.take(3, 2), kept.take(4, 1)), (vec![10, 11], vec![13]));
    let back = kept
        .sequencer
        .allocate(NOW, &evm(), &ask(5, 1, 2), &mut kept.records);
    assert_eq!(
        back.unwrap().runs,
        Run::of([14]),
        "a chain node that lags changes nothing"
    );
}

#[test]
fn bad_input_is_the_callers_fault_and_names_the_field() {
    let mut sequencer = Sequencer::default();
    let mut allocate = |sequence: &SequenceId, now, ask: Ask| {
        let done = sequencer.allocate(now, sequence, &ask, &mut Vec::new());
        done.map(|grant| grant.runs)
            .map_err(|e| (e.class().http_status(), e.field(), e))
    };
    for (sequence, max) in [(evm(), NONCES_MAX), (venue(), BLOCK_MAX)] {
        for count in [0, max + 1, u64::MAX] {
            let bad = (400, "count", SequenceError::Count { max });
            assert_eq!(allocate(&sequence, NOW, ask(1, count, 0)), Err(bad));
        }
    }
    let end = |field| (400, field, SequenceError::Exhausted);
    assert_eq!(
        allocate(&venue(), TimeMs(u64::MAX), ask(2, 2, 0)),
        Err(end("sequence"))
    );
    assert!(allocate(&evm(), NOW, ask(3, 1, u64::MAX - 1)).is_ok());
    assert_eq!(allocate(&evm(), NOW, ask(4, 1, 0)), Err(end("sequence")));
    let other = allocate(&evm(), NOW, ask(3, 2, 0)).unwrap_err();
    assert_eq!((other.0, other.1), (409, "count"));
    let unknown = Sequencer::default().allocate(
        NOW,
        &evm(),
        &Ask {
            chain_next: None,
            ..ask(1, 1, 0)
        },
        &mut Vec::new(),
    );
    assert_eq!(unknown, Err(SequenceError::ChainUnknown));
}

#[test]
fn an_account_has_a_limit_of_numbers_that_nobody_settles() {
    let mut kept = Kept::default();
    for n in 10..10 + OPEN_MAX / NONCES_MAX {
        kept.take(n, NONCES_MAX);
    }
    let full = |kept: &mut Kept, chain| {
        let ask = ask(2, 1, chain);
        kept.sequencer
            .allocate(NOW, &evm(), &ask, &mut kept.records)
    };
    let limit = full(&mut kept, 5).unwrap_err();
    assert!(limit.is_limit(), "{limit}");
    assert!(full(&mut kept, 6).is_ok(), "the chain has filled one");
    // Whoever takes all that there are and signs none of them has them for the time of a lease.
    let ask_later = ask(3, NONCES_MAX, 6);
    let later = NOW.plus(LEASE_MS);
    let freed = kept
        .sequencer
        .allocate(later, &evm(), &ask_later, &mut kept.records);
    // Number 5 is on the chain, so the block that it is of is kept.
    let first = 5 + NONCES_MAX;
    assert_eq!(freed.unwrap().runs.first().map(|r| r.first), Some(first));
    let mut kept = Kept::default();
    for n in 0..UNSEEN_MAX {
        kept.take(n, 1);
        kept.settle(n, Settlement::Used).unwrap();
    }
    let ask = ask(UNSEEN_MAX, 1, 5);
    let unseen = kept
        .sequencer
        .allocate(NOW, &evm(), &ask, &mut kept.records);
    assert_eq!(
        unseen,
        Err(SequenceError::TooManyUnseen { max: UNSEEN_MAX })
    );
}

#[test]
fn increasing_numbers_follow_the_clock_and_stay_near_it() {
    let mut sequencer = Sequencer::default();
    let mut take = |now, n, count| {
        let done = sequencer.allocate(now, &venue(), &ask(n, count, 0), &mut Vec::new());
        done.map(|grant| grant.runs[0])
    };
    let run = |first, count| Ok(Run { first, count });
    assert_eq!(take(NOW, 1, 1), run(NOW.0, 1));
    assert_eq!(take(NOW, 2, 10), run(NOW.0 + 1, 10));
    assert_eq!(
        take(NOW, 1, 1),
        run(NOW.0, 1),
        "the same request has the same number"
    );
    assert_eq!(
        take(TimeMs(NOW.0 - 999), 3, 1),
        run(NOW.0 + 11, 1),
        "the clock runs back"
    );
    assert_eq!(take(NOW.plus(1_000), 4, 1), run(NOW.0 + 1_000, 1));
    let behind = take(TimeMs(NOW.0 - DAY_MS), 5, 1).unwrap_err();
    assert!(matches!(behind, SequenceError::TooFarAhead { .. }) && behind.is_limit());
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Take(u64),
    Settle(usize, Settlement),
    Sign(u64),
    Mine,
    Wait,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..4).prop_map(Step::Take),
        5 => (0usize..40, prop_oneof![
            Just(Settlement::Asked), Just(Settlement::Used), Just(Settlement::Returned),
            Just(Settlement::Refused), Just(Settlement::Taken),
        ]).prop_map(|(who, how)| Step::Settle(who, how)),
        1 => (0u64..60).prop_map(Step::Sign),
        1 => Just(Step::Mine),
        1 => Just(Step::Wait),
        1 => Just(Step::Crash),
    ]
}

/// What must hold of an account, by a model that only knows who may have signed what.
#[derive(Default)]
struct Model {
    /// Numbers that may be signed, and by which request.
    signed: BTreeMap<u64, u64>,
    /// Whose every number is at the moment.
    holder: BTreeMap<u64, u64>,
    handed_out: BTreeSet<u64>,
    chain: u64,
}

impl Model {
    fn took(&mut self, request: u64, numbers: Vec<u64>) {
        for number in numbers {
            assert!(
                !self.signed.contains_key(&number),
                "{number} may be signed already"
            );
            assert!(number >= self.chain, "{number} is filled");
            self.holder.insert(number, request);
            self.handed_out.insert(number);
        }
    }

    fn check(&self, standing: &Standing) {
        let top = self.signed.keys().next_back().copied().unwrap_or(0);
        let list = |runs: &[Run]| -> BTreeSet<u64> {
            runs.iter().copied().flat_map(Run::numbers).collect()
        };
        let open: BTreeSet<u64> = standing.open.iter().map(|o| o.number).collect();
        let (gaps, free) = (list(&standing.gaps), list(&standing.free));
        for number in self.chain..top {
            let told = gaps.contains(&number) || open.contains(&number);
            assert!(told, "{number} is a silent gap below {top}: {standing:?}");
        }
        assert!(gaps.is_disjoint(&open) && free.is_disjoint(&open));
        assert!(
            self.handed_out
                .iter()
                .all(|n| *n < standing.next.max(self.chain))
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_history_hands_out_what_may_be_signed_or_hides_a_gap(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let (mut kept, mut model, mut now) = (Kept::default(), Model::default(), NOW);
        let mut requests = Vec::new();
        for (n, step) in (1u64..).zip(steps) {
            match step {
                Step::Take(count) => {
                    let ask = ask(n, count, model.chain);
                    let records = &mut kept.records;
                    let Ok(grant) = kept.sequencer.allocate(now, &evm(), &ask, records) else {
                        continue;
                    };
                    let again = kept.sequencer.allocate(now, &evm(), &ask, &mut Vec::new());
                    prop_assert_eq!(again.as_ref(), Ok(&grant));
                    model.took(n, grant.runs.into_iter().flat_map(Run::numbers).collect());
                    requests.push(n);
                }
                Step::Settle(who, how) => {
                    let Some(request) = requests.get(who % requests.len().max(1)).copied() else {
                        continue;
                    };
                    // Whom the nodes refuse has asked them, and what is used was asked for.
                    if kept.settle(request, how).is_ok() {
                        let own: Vec<u64> = model.holder.iter()
                            .filter(|(_, r)| **r == request).map(|(n, _)| *n).collect();
                        for number in own {
                            match how {
                                Settlement::Asked | Settlement::Used | Settlement::Taken => {
                                    model.signed.insert(number, request);
                                }
                                Settlement::Refused => {
                                    let open = kept.standing().open;
                                    if !open.iter().any(|o| o.number == number) {
                                        model.signed.remove(&number);
                                        model.holder.remove(&number);
                                    }
                                }
                                _ => { model.holder.remove(&number); }
                            }
                        }
                    }
                }
                Step::Sign(number) => {
                    if kept.sequencer.standing(now, &evm()).is_some() && number >= model.chain {
                        kept.sequencer.signed(&evm(), number, &mut kept.records);
                        model.signed.insert(number, model.holder.get(&number).copied().unwrap_or(0));
                    }
                }
                Step::Mine => {
                    while model.signed.contains_key(&model.chain) { model.chain += 1; }
                }
                Step::Wait => {
                    now = now.plus(LEASE_MS + 1);
                    // Whoever has not said by now that it asked will not; a block of whose numbers
                    // one may be signed is kept.
                    let signed = &model.signed;
                    let at_work: BTreeSet<u64> = model.holder.iter()
                        .filter(|(n, _)| signed.contains_key(n)).map(|(_, r)| *r).collect();
                    model.holder.retain(|_, r| at_work.contains(r));
                }
                Step::Crash => kept.sequencer = Sequencer::replay(kept.records.clone()),
            }
            if let Some(standing) = kept.sequencer.standing(now, &evm()) {
                model.check(&standing);
                let again = Sequencer::replay(kept.records.clone());
                prop_assert_eq!(again.standing(now, &evm()).unwrap(), standing.clone());
                let short = Sequencer::replay(kept.sequencer.snapshot());
                prop_assert_eq!(short.standing(now, &evm()).unwrap(), standing);
            }
        }
    }
}

#[test]
fn many_threads_get_increasing_blocks_without_duplicates_or_holes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let taken = Mutex::new(BTreeSet::new());
    let used = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let (store, taken, used) = (&store, &taken, &used);
            scope.spawn(move || {
                let mut last = 0;
                for i in 0..400 {
                    let request = thread * 1_000 + i;
                    let count = 1 + request % 5;
                    let grant = store
                        .allocate(NOW, &venue(), &ask(request, count, 0))
                        .unwrap();
                    assert_eq!((grant.runs.len(), grant.runs[0].count), (1, count));
                    assert!(grant.runs[0].first > last, "strictly increasing");
                    last = grant.runs[0].first + count - 1;
                    for number in grant.runs[0].numbers() {
                        assert!(taken.lock().unwrap().insert(number), "{number} came twice");
                    }
                    if i < 25 {
                        let grant = store.allocate(NOW, &evm(), &ask(request, 1, 0)).unwrap();
                        store
                            .settle(&evm(), &settled(request, Settlement::Used))
                            .unwrap();
                        used.lock().unwrap().push(grant.runs[0].first);
                    }
                }
            });
        }
    });
    let taken = taken.into_inner().unwrap();
    let (first, last) = (*taken.first().unwrap(), *taken.last().unwrap());
    assert_eq!(taken.len() as u64, last - first + 1, "no hole");
    let mut used = used.into_inner().unwrap();
    used.sort_unstable();
    assert_eq!(used, (0..400).collect::<Vec<u64>>());
}

#[test]
fn a_file_that_is_cut_off_anywhere_never_hands_out_a_number_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("sequences.log");
    let store = Store::open(folder.path()).unwrap();
    // What was told to callers, and how long the file was before they were told.
    let mut told: Vec<(u64, u64, u64)> = Vec::new();
    for n in 0..4 {
        let nonce = store.allocate(NOW, &evm(), &ask(n, 1, 0)).unwrap().runs[0].first;
        store
            .settle(&evm(), &settled(n, Settlement::Asked))
            .unwrap();
        let ahead = NOW.plus(n * MARK_AHEAD * 2);
        let number = store.allocate(ahead, &venue(), &ask(n, 1, 0)).unwrap().runs[0].first;
        told.push((std::fs::metadata(&log).unwrap().len(), nonce, number));
    }
    drop(store);
    let whole = std::fs::read(&log).unwrap();
    let header = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    for length in header..=whole.len() {
        std::fs::write(&log, &whole[..length]).unwrap();
        let store = Store::open(folder.path()).unwrap();
        let known = told.iter().filter(|(at, _, _)| *at <= length as u64);
        let (nonces, numbers): (BTreeSet<u64>, Vec<u64>) = known.map(|t| (t.1, t.2)).unzip();
        let nonce = store.allocate(NOW, &evm(), &ask(99, 1, 0)).unwrap().runs[0].first;
        assert!(
            !nonces.contains(&nonce),
            "nonce {nonce} again after {length} bytes"
        );
        let number = store.allocate(NOW.plus(2 * DAY_MS / 10), &venue(), &ask(99, 1, 0));
        let number = number.unwrap().runs[0].first;
        assert!(
            numbers.iter().all(|n| number > *n),
            "{number} after {length} bytes"
        );
    }
}

#[test]
fn a_damaged_file_and_a_second_process_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("sequences.log");
    let store = Store::open(folder.path()).unwrap();
    store.allocate(NOW, &evm(), &ask(1, 1, 0)).unwrap();
    let second = Store::open(folder.path()).unwrap_err();
    assert!(matches!(&second, StoreError::Locked(_)), "{second}");
    assert!(second.to_string().contains("has one sequencer"), "{second}");
    drop(store);
    let whole = std::fs::read(&log).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 3] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        std::fs::write(&log, &bad).unwrap();
        let refused = Store::open(folder.path()).unwrap_err();
        assert!(
            matches!(refused, StoreError::Damaged { .. }),
            "{at}: {refused}"
        );
    }
    // A line that is missing in the middle is seen too: each covers all before it.
    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    std::fs::write(&log, [lines[0], &lines[2..].concat()].concat()).unwrap();
    assert!(matches!(
        Store::open(folder.path()),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn a_restart_remembers_leases_and_their_requests() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.allocate(NOW, &evm(), &ask(1, 1, 3)).unwrap();
    store.allocate(NOW, &evm(), &ask(2, 2, 3)).unwrap();
    store.settle(&evm(), &settled(2, Settlement::Used)).unwrap();
    store
        .settle(&evm(), &settled(1, Settlement::Returned))
        .unwrap();
    let before = store.standing(NOW, &evm()).unwrap();
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    let after = store.standing(NOW, &evm()).unwrap();
    assert_eq!(after, before);
    assert_eq!(after.gaps, Run::of([3]));
    let same = store.allocate(NOW, &evm(), &ask(2, 2, 3)).unwrap();
    assert_eq!(same.runs, Run::of([4, 5]));
}

const TOKEN: &str = "a-token-of-an-agent";

/// A chain's node that counts what it was handed, and may refuse it.
#[derive(Clone, Default)]
struct Chain(Arc<Mutex<(Vec<String>, bool)>>);

async fn chain_node(State(chain): State<Chain>, Json(call): Json<Value>) -> Json<Value> {
    let result = match call["method"].as_str().unwrap() {
        "eth_getTransactionCount" => json!("0x4"),
        "eth_estimateGas" => json!("0x5208"),
        "eth_gasPrice" | "eth_maxPriorityFeePerGas" => json!("0x77"),
        "eth_feeHistory" => json!({"baseFeePerGas": ["0x10", "0x20"]}),
        "eth_sendRawTransaction" => {
            let mut chain = chain.0.lock().unwrap();
            if chain.1 {
                let error = json!({"code": -32000, "message": "insufficient funds"});
                return Json(json!({"jsonrpc": "2.0", "id": call["id"], "error": error}));
            }
            chain.0.push(call["params"][0].as_str().unwrap().to_owned());
            json!("0x00")
        }
        other => panic!("{other}"),
    };
    Json(json!({"jsonrpc": "2.0", "id": call["id"], "result": result}))
}

struct Gateway {
    base: String,
    chain: Chain,
    client: Client,
}

/// A gateway with two agents of one key.
async fn gateway() -> Gateway {
    let chain = Chain::default();
    let app = Router::new()
        .route("/", post(chain_node))
        .with_state(chain.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let agent = |token: &str| {
        let (bot, shape) = ("bot".parse().unwrap(), SignTransactionShape::Object);
        Agent::new(
            token_hash(token),
            bot,
            caller(),
            KEY,
            31_337,
            upstream.clone(),
            shape,
        )
    };
    let base = start(vec![agent(TOKEN), agent("another")]).await;
    let client = Client::new();
    Gateway {
        base,
        chain,
        client,
    }
}

impl Gateway {
    async fn rpc(&self, token: &str, method: &str, to: [u8; 20], value: &str) -> Value {
        let transaction = json!({"to": Address::evm(to).as_str(), "value": value});
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": [transaction]});
        let url = format!("http://{}/rpc/{token}", self.base);
        let sent = self.client.post(url).json(&call).send().await.unwrap();
        sent.json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("http://{}/v1/sequences/{path}", self.base);
        let sent = self.client.post(url).json(&body).send().await.unwrap();
        (sent.status().as_u16(), sent.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("http://{}/v1/sequences{path}", self.base);
        let sent = self.client.get(url).send().await.unwrap();
        (sent.status().as_u16(), sent.json().await.unwrap())
    }
}

fn account() -> String {
    format!("eip155:31337:{}", address())
}

fn nonce(raw: &str) -> u64 {
    let raw = hex::decode(&raw[2..]).unwrap();
    // Type, list of over 55 bytes, chain id in 3 bytes, then the nonce in one.
    let start = raw.iter().position(|b| *b == 0x82).unwrap() + 3;
    u64::from(raw[start])
}

#[tokio::test]
async fn two_agents_of_one_account_never_share_a_nonce() {
    let gateway = gateway().await;
    let send = |token| gateway.rpc(token, "eth_sendTransaction", [1; 20], "0x1");
    let sign = |token| gateway.rpc(token, "eth_signTransaction", [1; 20], "0x1");
    let (a, b, c, d) = tokio::join!(send(TOKEN), send("another"), sign(TOKEN), sign("another"));
    let raws = gateway.chain.0.lock().unwrap().0.clone();
    let mut nonces: Vec<u64> = raws.iter().map(|raw| nonce(raw)).collect();
    for signed in [&c, &d] {
        nonces.push(nonce(signed["result"]["raw"].as_str().unwrap()));
    }
    nonces.sort_unstable();
    assert_eq!(nonces, [4, 5, 6, 7], "{a} {b} {c} {d}");
    let (_, standing) = gateway.get(&format!("/{}", account())).await;
    assert_eq!(
        (&standing["next"], &standing["gaps"]),
        (&json!(8), &json!([]))
    );
}

#[tokio::test]
async fn a_refused_transaction_returns_its_nonce_and_an_unsent_one_keeps_it() {
    let gateway = gateway().await;
    let send = |to, value| gateway.rpc(TOKEN, "eth_sendTransaction", to, value);
    let refused = send(STRANGER, "0x1").await;
    assert_eq!(refused["error"]["code"], 4001, "{refused}");
    let (_, standing) = gateway.get(&format!("/{}", account())).await;
    assert_eq!(standing["free"], json!([{"first": 4, "count": 1}]));
    gateway.chain.0.lock().unwrap().1 = true;
    let unsent = send([1; 20], "0x1").await;
    assert_eq!(unsent["error"]["message"], "insufficient funds");
    gateway.chain.0.lock().unwrap().1 = false;
    // Signed and not on the chain: the same payment goes on with its number, and is paid once.
    send([1; 20], "0x1").await;
    send([1; 20], "0x2").await;
    let raws = gateway.chain.0.lock().unwrap().0.clone();
    assert_eq!(
        raws.iter().map(|raw| nonce(raw)).collect::<Vec<_>>(),
        [4, 5]
    );
}

#[tokio::test]
async fn a_transaction_that_cannot_be_filled_in_returns_its_nonce() {
    let gateway = gateway().await;
    let bad = gateway
        .rpc(TOKEN, "eth_sendTransaction", [1; 20], "ten")
        .await;
    assert_eq!(bad["error"]["code"], -32602);
    let (_, standing) = gateway.get(&format!("/{}", account())).await;
    assert_eq!(standing["free"], json!([{"first": 4, "count": 1}]));
}

#[tokio::test]
async fn numbers_are_handed_out_and_settled_over_http() {
    let gateway = gateway().await;
    let of = |what: &str| format!("{}/{what}", account());
    let first = json!({"request_id": "01".repeat(16)});
    let (status, granted) = gateway.post(&of("allocate"), first.clone()).await;
    assert_eq!(
        (status, &granted["numbers"]),
        (200, &json!([{"first": 4, "count": 1}]))
    );
    assert_eq!(
        gateway.post(&of("allocate"), first.clone()).await.1["numbers"],
        granted["numbers"]
    );
    let block = json!({"request_id": "02".repeat(16), "count": 3});
    let (_, granted) = gateway.post(&of("allocate"), block).await;
    assert_eq!(granted["numbers"], json!([{"first": 5, "count": 3}]));
    let settle = |id: &str, more: Value| {
        let mut body = json!({"request_id": id.repeat(16)});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let used = settle("02", json!({"number": 6, "outcome": "used"}));
    let (status, standing) = gateway.post(&of("settle"), used).await;
    assert_eq!(
        (status, standing["gaps"].as_array().unwrap().len()),
        (200, 0)
    );
    let back = settle("01", json!({"outcome": "returned"}));
    let (_, standing) = gateway.post(&of("settle"), back.clone()).await;
    assert_eq!(standing["gaps"], json!([{"first": 4, "count": 1}]));
    assert_eq!(
        standing["open"][0]["request"], "02020202",
        "an id is never shown whole"
    );
    let (status, error) = gateway.post(&of("settle"), back).await;
    assert_eq!(
        (status, &error["error"]["field"]),
        (404, &json!("request_id"))
    );
    let asked = settle("02", json!({"number": 5, "outcome": "asked"}));
    assert_eq!(gateway.post(&of("settle"), asked).await.0, 200);
    let back = settle("02", json!({"outcome": "returned"}));
    assert_eq!(gateway.post(&of("settle"), back).await.0, 409);
    let (_, all) = gateway.get("").await;
    assert_eq!(all["sequences"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn bad_requests_for_numbers_name_the_field() {
    let gateway = gateway().await;
    let own = address();
    let id = json!("01".repeat(16));
    for (path, body, status, field) in [
        (
            format!("kraken:{own}"),
            json!({"request_id": id}),
            400,
            "sequence",
        ),
        (
            account(),
            json!({"request_id": id, "count": 0}),
            400,
            "count",
        ),
        (
            account(),
            json!({"request_id": id, "count": u64::MAX}),
            400,
            "count",
        ),
        (
            format!("hyperliquid:{own}"),
            json!({"request_id": id, "count": 1001}),
            400,
            "count",
        ),
        (account(), json!({"count": 1}), 400, "body"),
        (account(), json!({"request_id": "1"}), 400, "body"),
        (
            account(),
            json!({"request_id": id, "number": 7}),
            400,
            "body",
        ),
        (
            format!("eip155:1:{own}"),
            json!({"request_id": id}),
            503,
            "gateway",
        ),
    ] {
        let (found, error) = gateway.post(&format!("{path}/allocate"), body).await;
        assert_eq!(
            (found, error["error"]["field"].as_str().unwrap()),
            (status, field),
            "{error}"
        );
    }
    assert_eq!(gateway.get("/x").await.0, 400);
    assert_eq!(gateway.get(&format!("/hyperliquid:{own}")).await.0, 404);
    let block = json!({"request_id": id, "count": 1000});
    let (status, _) = gateway
        .post(&format!("hyperliquid:{own}/allocate"), block)
        .await;
    assert_eq!(status, 200);
}
