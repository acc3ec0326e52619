//! Measures the evaluation of policies: how it grows with the number of rules, asked whole and by the
//! index.
//!
//! ```text
//! cargo run --release -p quoin-policy --features measure --example policy_curve -- [--json] [RUNS]
//! ```
//!
//! One evaluation is everything between a decoded request and the policies' answer: facts, context,
//! entities, Cedar. Both ways take turns in one run, in blocks, on one thread. Keys are fixed: nothing here is
//! for real use. Three shapes of charter:
//!
//! - `desk`: every bot has 100 rules of its own, so that 1,000 rules leave a slice of 100;
//! - `book`: every rule is for the whole desk and one recipient, which an equality in front names;
//! - `flat`: every rule could match every request, so that no index can help.

use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::cbor::Version;
use quoin_core::stamp::Account;
use quoin_core::{
    Address, Amount, AssetId, ChainId, CharterNumber, CustodyMethod, DerivationPath, KeyId,
    KeyState, Payload, Purpose, RequestId, Scheme, SecretBytes, SigningIdentity, Stamp, TimeMs,
};
use quoin_policy::{
    Asset, BookEntry, Calm, Charter, Constitution, KeyFacts, Principal, Request, measure,
};
use std::error::Error;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How many rules a charter has.
const SIZES: [usize; 4] = [10, 100, 1_000, 5_000];
/// How many rules a bot of the shape `desk` has.
const RULES_OF_A_BOT: usize = 100;
/// How many evaluations of one way follow each other before it is the other's turn.
const BLOCK: usize = 50;
/// How many of them before that are not counted: the other way has just filled the caches.
const WARM: usize = 3;
/// The chain.
const CHAIN: u64 = 1;
/// The time at which everything happens.
const NOW: TimeMs = TimeMs(1_700_000_000_000);

fn main() -> Result<(), Box<dyn Error>> {
    let mut json = false;
    let mut runs = 2_000;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            number => runs = number.parse()?,
        }
    }
    let mut rows = Vec::new();
    for shape in [Shape::Desk, Shape::Book, Shape::Flat] {
        for rules in SIZES {
            rows.push(Row::measured(shape, rules, runs)?);
        }
    }
    if json {
        let rows: Vec<String> = rows.iter().map(Row::json).collect();
        println!("[\n  {}\n]", rows.join(",\n  "));
        return Ok(());
    }
    println!("one evaluation in microseconds, {runs} of each, both ways in turns\n");
    println!("shape  rules  slice |  whole p50      p99 |  index p50      p99 |  ratio p50    p99");
    for row in &rows {
        println!("{}", row.text());
    }
    Ok(())
}

/// How the rules of a charter are spread.
#[derive(Clone, Copy)]
enum Shape {
    Desk,
    Book,
    Flat,
}

impl Shape {
    const fn name(self) -> &'static str {
        match self {
            Self::Desk => "desk",
            Self::Book => "book",
            Self::Flat => "flat",
        }
    }

    /// The rules; the request pays what the first one of the first bot allows.
    fn policies(self, rules: usize) -> String {
        let mut out = String::from(
            "@id(\"govern\") permit (principal in Role::\"governor\", action == \
             Action::\"change_charter\", resource);\n",
        );
        for i in 0..rules {
            let (who, to) = match self {
                Self::Desk => (
                    format!("principal == Principal::\"bot-{}\"", i / RULES_OF_A_BOT),
                    String::new(),
                ),
                Self::Book => (
                    "principal in Role::\"desk\"".to_owned(),
                    format!("context.to == \"{}\" && ", recipient(i)),
                ),
                Self::Flat => ("principal".to_owned(), String::new()),
            };
            let _ = writeln!(
                out,
                "@id(\"rule-{i}\") permit ({who}, action == Action::\"transfer\", resource) when {{ \
                 {to}context.amount_micro <= {} && context.symbol == \"ETH\" && \
                 context.to_name == \"venue\" }};",
                2_000_000 + i
            );
        }
        out
    }
}

/// One shape and size, measured.
struct Row {
    shape: Shape,
    rules: usize,
    slice: usize,
    whole: Times,
    index: Times,
}

/// The middle and the 99th percentile, in microseconds.
struct Times {
    p50: f64,
    p99: f64,
}

impl Times {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort();
        let at = |percent: usize| {
            let place = (all.len() * percent / 100).min(all.len().saturating_sub(1));
            all.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

impl Row {
    fn measured(shape: Shape, rules: usize, runs: usize) -> Result<Self, Box<dyn Error>> {
        let constitution = measure::constitution(charter(shape.policies(rules), rules)?)?;
        let asked = Asked::new(&constitution)?;
        let calm = Calm::default();
        let request = asked.request(&calm)?;
        // Large charters asked whole take milliseconds each: fewer of them say the same.
        let blocks = (runs.min(500_000 / rules) / BLOCK).max(2);
        let (mut whole, mut index) = (Vec::new(), Vec::new());
        for _ in 0..blocks {
            for (ask_whole, times) in [(true, &mut whole), (false, &mut index)] {
                for round in 0..BLOCK + WARM {
                    let start = now();
                    let permitted = measure::permitted(&constitution, &request, ask_whole)?;
                    let time = start.elapsed();
                    if !permitted {
                        return Err("the request is not permitted".into());
                    }
                    if round >= WARM {
                        times.push(time);
                    }
                }
            }
        }
        Ok(Self {
            shape,
            rules,
            slice: measure::slice(&constitution, &request)?,
            whole: Times::of(whole),
            index: Times::of(index),
        })
    }

    fn text(&self) -> String {
        let Self { whole, index, .. } = self;
        format!(
            "{:5} {:6} {:6} | {:10.1} {:8.1} | {:10.1} {:8.1} | {:10.1} {:6.1}",
            self.shape.name(),
            self.rules,
            self.slice,
            whole.p50,
            whole.p99,
            index.p50,
            index.p99,
            whole.p50 / index.p50,
            whole.p99 / index.p99,
        )
    }

    fn json(&self) -> String {
        let Self { whole, index, .. } = self;
        format!(
            "{{\"shape\": \"{}\", \"rules\": {}, \"slice\": {}, \"whole_p50_us\": {:.1}, \
             \"whole_p99_us\": {:.1}, \"index_p50_us\": {:.1}, \"index_p99_us\": {:.1}}}",
            self.shape.name(),
            self.rules,
            self.slice,
            whole.p50,
            whole.p99,
            index.p50,
            index.p99,
        )
    }
}

/// A transfer of one ether by the first bot.
struct Asked {
    payload: Payload,
    stamp: Stamp,
    key: KeyFacts,
}

impl Asked {
    fn new(constitution: &Constitution) -> Result<Self, Box<dyn Error>> {
        let payload = Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
            chain_id: CHAIN,
            max_priority_fee_per_gas: 1_000_000_000,
            max_fee_per_gas: 10_000_000_000,
            gas_limit: 21_000,
            to: recipient(0).to_evm(),
            value: Amount::from(1_000_000_000_000_000_000u128),
            ..Eip1559Fields::default()
        }));
        let own = Address::evm([0xaa; 20]);
        let stamp = Stamp {
            version: Version,
            cluster: constitution.cluster(),
            charter_number_floor: constitution.number(),
            charter_hash_floor: constitution.hash(),
            principal: "bot-0".parse()?,
            credential: identity(1).id(),
            custody: CustodyMethod::Mpc,
            key: Some(KeyId([9; 16])),
            account: Account {
                chain: ChainId::Evm(CHAIN),
                address: own.clone(),
                path: DerivationPath::ROOT,
            },
            purpose: Purpose::Trading,
            payload_hash: payload.hash(),
            request_id: RequestId([1; 16]),
            not_after: NOW.plus(60_000),
        };
        let key = KeyFacts {
            id: KeyId([9; 16]),
            name: "hot".parse()?,
            purpose: Purpose::Trading,
            scheme: Scheme::Ecdsa,
            addresses: vec![own],
            threshold: 2,
            holders: 3,
            state: KeyState::Active,
        };
        Ok(Self {
            payload,
            stamp,
            key,
        })
    }

    fn request<'a>(&'a self, calm: &'a Calm) -> Result<Request<'a>, Box<dyn Error>> {
        let account = &self.stamp.account;
        let decoded = quoin_chain::decode(&self.payload, account, Scheme::Ecdsa)
            .map_err(|e| e.message.clone())?;
        Ok(Request {
            decoded,
            stamp: &self.stamp,
            key: Some(&self.key),
            approvals: &[],
            first_seen: NOW,
            now: NOW,
            conditions: calm.conditions(),
        })
    }
}

fn charter(policies: String, rules: usize) -> Result<Charter, Box<dyn Error>> {
    let principal = |id: &str, roles: &[&str]| -> Result<Principal, Box<dyn Error>> {
        Ok(Principal {
            id: id.parse()?,
            roles: roles.iter().map(|r| r.parse()).collect::<Result<_, _>>()?,
            credentials: vec![identity(1).public()],
            expires: NOW.plus(1_000_000),
            operator: None,
            granted_by: None,
        })
    };
    let bots = 0..rules.div_ceil(RULES_OF_A_BOT);
    let bots = bots.map(|i| principal(&format!("bot-{i}"), &["desk", "agent"]));
    let mut principals = bots.collect::<Result<Vec<_>, _>>()?;
    principals.push(principal("ann", &["governor"])?);
    let native = AssetId {
        chain: ChainId::Evm(CHAIN),
        token: None,
    };
    Ok(Charter {
        version: Version,
        name: "curve".to_owned(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: Vec::new(),
        threshold: 2,
        f_tol: 0,
        dangerous_disjoint_signers: false,
        gateways: Vec::new(),
        principals,
        governor_quorum: 1,
        budgets: Vec::new(),
        assets: vec![Asset {
            asset: native,
            symbol: "ETH".to_owned(),
            decimals: 18,
        }],
        book: vec![BookEntry {
            name: "venue".parse()?,
            chain: ChainId::Evm(CHAIN),
            address: recipient(0),
            assets: Vec::new(),
            kind: quoin_policy::BookKind::Counterparty,
        }],
        policies,
        backup: None,
        facts: Vec::new(),
        keys: Vec::new(),
        cooling_off_ms: 0,
        recovery: None,
        payload_retention_days: None,
        dangerous_single_failure_domain: false,
    })
}

fn recipient(i: usize) -> Address {
    let mut bytes = [0x77; 20];
    let number = (i as u64).to_be_bytes();
    bytes.iter_mut().zip(number).for_each(|(b, n)| *b = n);
    Address::evm(bytes)
}

fn identity(seed: u8) -> SigningIdentity {
    SigningIdentity::from_seed(&SecretBytes::take(&mut [seed; 32]))
}

#[expect(
    clippy::disallowed_methods,
    reason = "measuring takes a clock; the crate itself has none"
)]
fn now() -> Instant {
    Instant::now()
}
