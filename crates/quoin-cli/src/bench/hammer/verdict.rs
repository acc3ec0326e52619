//! What a hammered cluster has done, worked out from the requests and answers alone.

use super::{Blow, Hammer, Outcome, Took};
use crate::failure::Failure;
use crate::latency::Quantiles;
use crate::say;
use quoin_api::sequences::RunBody;
use quoin_core::{Amount, BudgetId, Intent};
use quoin_policy::{Budget, Constitution, Measure, Mode, Scope};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Verdict {
    account: String,
    requests: usize,
    threads: u32,
    /// How many got a signature that verifies.
    pub signed: usize,
    /// Budgets and rules that refused, and how often.
    refused: BTreeMap<String, usize>,
    /// Why there was neither a signature nor a refusal, and how often.
    failed: BTreeMap<String, usize>,
    caps: Vec<Cap>,
    nonces: Nonces,
    seconds: f64,
    signatures_per_s: f64,
    /// Of what was signed.
    stages: Vec<Stage>,
}

/// A budget that the transfers are charged to.
#[derive(Debug, Serialize)]
struct Cap {
    budget: BudgetId,
    measure: Measure,
    cap: Amount,
    /// The most that one node co-signs of a strict budget, which is why an honest gateway gets less
    /// than the cap.
    each_node: Option<Amount>,
    /// What this run had signed, in the worst case.
    signed: Amount,
    passed: bool,
}

/// The nonces under signatures.
#[derive(Debug, Serialize)]
struct Nonces {
    signed: usize,
    distinct: usize,
    first: Option<u64>,
    last: Option<u64>,
    /// Nonces that the chain takes first and nobody has signed.
    gaps: Vec<RunBody>,
    /// Whether every signature has a nonce point of its own: two with one would give the key away.
    points_distinct: bool,
}

/// How long a part of a request took.
#[derive(Debug, Serialize)]
struct Stage {
    stage: &'static str,
    p50_us: u64,
    p99_us: u64,
}

/// A part of a request, and how to read off how long it took.
type Part = (&'static str, fn(&Took) -> Duration);

/// The parts of a request in their order.
const PARTS: [Part; 5] = [
    ("sequence", |t| t.sequence),
    ("stamp", |t| t.stamp),
    ("request", |t| t.request),
    ("check", |t| t.check),
    ("total", |t| t.sequence + t.stamp + t.request + t.check),
];

impl Verdict {
    /// Looks at all requests.
    pub fn of(hammer: &Hammer, blows: &[Blow], gaps: Vec<RunBody>) -> Self {
        let (mut refused, mut failed) = (BTreeMap::new(), BTreeMap::new());
        for blow in blows {
            match &blow.outcome {
                Outcome::Signed(_) => {}
                Outcome::Refused(r) => *refused.entry(r.rule.clone()).or_default() += 1,
                Outcome::Failed(why) => *failed.entry(why.clone()).or_default() += 1,
            }
        }
        let signed: Vec<&Blow> = blows.iter().filter(|b| b.is_signed()).collect();
        let last = signed.iter().map(|b| b.at).max().unwrap_or_default();
        let seconds = last.as_secs_f64();
        // Counts of one run fit 52 bits by far.
        let per_s = if seconds > 0.0 {
            signed.len() as f64 / seconds
        } else {
            0.0
        };
        Self {
            account: hammer.sequence.clone(),
            requests: blows.len(),
            threads: hammer.args.threads,
            signed: signed.len(),
            refused,
            failed,
            caps: caps(hammer, &signed),
            nonces: Nonces::of(&signed, gaps),
            seconds: (seconds * 100.0).round() / 100.0,
            signatures_per_s: (per_s * 10.0).round() / 10.0,
            stages: PARTS.iter().map(|part| Stage::of(part, &signed)).collect(),
        }
    }

    /// A refusal when a limit was passed, and an error when requests failed.
    pub fn judged(&self) -> Result<(), Failure> {
        let passed = self.caps.iter().find(|cap| cap.passed);
        if let Some(Cap {
            budget,
            cap,
            signed,
            ..
        }) = passed
        {
            return Err(Failure::refused(format!("budget `{budget}` was passed"))
                .because(format!("its cap is {cap}, and {signed} were signed")));
        }
        let Nonces {
            signed,
            distinct,
            points_distinct,
            ..
        } = &self.nonces;
        if signed != distinct || !points_distinct {
            return Err(Failure::refused("a nonce was used twice"));
        }
        match self.failed.iter().next() {
            Some((why, _)) => {
                let count: usize = self.failed.values().sum();
                let what = format!("{count} of {} requests failed", self.requests);
                Err(Failure::new(what).because(why))
            }
            None => Ok(()),
        }
    }

    /// For people.
    pub fn show(&self, constitution: &Constitution) {
        say::line(format!("account    {}", self.account));
        let (signed, all) = (self.signed, self.requests);
        say::line(match signed {
            0 => format!("signed     none of {all}"),
            _ => format!(
                "signed     {signed} of {all}, each signature verified here: {} per second over {} s",
                self.signatures_per_s, self.seconds
            ),
        });
        for (rule, count) in &self.refused {
            let is_budget = self.caps.iter().any(|cap| cap.budget.as_str() == rule);
            let why = if is_budget {
                "over the cap of budget"
            } else {
                "by rule"
            };
            say::line(format!("refused    {count} {why} `{rule}`"));
        }
        for (why, count) in &self.failed {
            say::line(format!("FAILED     {count} × {why}"));
        }
        for cap in &self.caps {
            cap.show(constitution);
        }
        if signed == 0 {
            return;
        }
        self.nonces.show();
        say::line(format!("{:<10} {:>9} {:>9}", "stage", "p50 us", "p99 us"));
        for Stage {
            stage,
            p50_us,
            p99_us,
        } in &self.stages
        {
            say::line(format!("{stage:<10} {p50_us:>9} {p99_us:>9}"));
        }
    }
}

impl Blow {
    const fn is_signed(&self) -> bool {
        matches!(self.outcome, Outcome::Signed(_))
    }
}

impl Cap {
    /// None for a budget in dollars, of which nothing is known here.
    fn of<'a>(budget: &Budget, mut signed: impl Iterator<Item = &'a Intent>) -> Option<Self> {
        if budget.measure == Measure::Usd {
            return None;
        }
        // More than 256 bits hold is over any cap.
        let sum = signed.try_fold(Amount::ZERO, |sum, intent| {
            sum.checked_add(cost(&budget.measure, intent)?)
        });
        Some(Self {
            budget: budget.id.clone(),
            measure: budget.measure.clone(),
            cap: budget.cap,
            each_node: None,
            signed: sum.unwrap_or(budget.cap),
            passed: sum.is_none_or(|sum| sum > budget.cap),
        })
    }

    fn show(&self, constitution: &Constitution) {
        let say = |amount| in_words(constitution, &self.measure, amount);
        let word = if self.passed { "PASSED" } else { "not passed" };
        let (budget, cap, signed) = (&self.budget, say(self.cap), say(self.signed));
        say::line(format!(
            "cap        {budget}: {cap}; {word}, {signed} signed"
        ));
        if let Some(part) = self.each_node {
            let part = say(part);
            say::line(format!(
                "           each node co-signs at most {part} of it, so that no gateway gets past it"
            ));
        }
    }
}

impl Nonces {
    fn of(signed: &[&Blow], gaps: Vec<RunBody>) -> Self {
        let numbers: BTreeSet<u64> = signed.iter().map(|b| b.nonce).collect();
        // The first half of a signature is the nonce point's coordinate.
        let points: BTreeSet<&[u8]> = signed.iter().filter_map(|b| b.point()).collect();
        Self {
            signed: signed.len(),
            distinct: numbers.len(),
            first: numbers.first().copied(),
            last: numbers.last().copied(),
            gaps,
            points_distinct: points.len() == signed.len(),
        }
    }

    fn show(&self) {
        let twice = self.signed.saturating_sub(self.distinct);
        let none = || "-".to_owned();
        let (first, last) = (
            self.first.map(|n| n.to_string()),
            self.last.map(|n| n.to_string()),
        );
        let (first, last) = (first.unwrap_or_else(none), last.unwrap_or_else(none));
        let word = if twice == 0 {
            "all distinct".to_owned()
        } else {
            format!("{twice} TWICE")
        };
        say::line(format!(
            "nonces     {} signed, {word}, {first} to {last}",
            self.signed
        ));
        let gaps: u64 = self.gaps.iter().map(|run| run.count).sum();
        if gaps > 0 {
            say::line(format!(
                "           {gaps} below were refused and are free again: the next transfers take them first"
            ));
        }
        if !self.points_distinct {
            say::line("           TWO SIGNATURES SHARE A NONCE POINT: the key is no longer secret");
        }
    }
}

impl Blow {
    fn point(&self) -> Option<&[u8]> {
        match &self.outcome {
            Outcome::Signed(signed) => signed.signature.get(..32),
            _ => None,
        }
    }
}

impl Stage {
    fn of((stage, part): &Part, signed: &[&Blow]) -> Self {
        let quantiles = Quantiles::of(signed.iter().map(|b| part(&b.took)).collect());
        Self {
            stage,
            p50_us: quantiles.p50_us,
            p99_us: quantiles.p99_us,
        }
    }
}

/// Every budget that the transfers are charged to and that needs no price, with what was signed.
fn caps(hammer: &Hammer, signed: &[&Blow]) -> Vec<Cap> {
    let charter = hammer.session.constitution().charter();
    let principal = charter
        .principals
        .iter()
        .find(|p| p.id == hammer.args.principal);
    let bound = charter.budgets.iter().filter(|budget| match &budget.scope {
        Scope::Org => true,
        Scope::Principal(id) => *id == hammer.args.principal,
        Scope::Role(role) | Scope::EachHolder(role) => {
            principal.is_some_and(|p| p.roles.contains(role))
        }
        Scope::Account(account) => account.is_same_place(&hammer.subject.account),
        Scope::Counterparty(address) => *address == hammer.args.to,
        Scope::Key(name) => *name == hammer.key.public().name,
        // Nothing is frozen, or nothing of this is signed.
        Scope::Corridor => false,
    });
    let intents = || signed.iter().map(|b| b.request.decoded.intent());
    let (nodes, threshold) = (charter.nodes.len(), hammer.key.public().threshold);
    let of = |budget: &Budget| {
        let strict = budget.mode == Mode::Strict;
        Some(Cap {
            each_node: strict.then(|| budget.node_limit(nodes, threshold)),
            ..Cap::of(budget, intents())?
        })
    };
    bound.filter_map(of).collect()
}

/// What a signature costs in the measure of a budget, in the worst case: value and maximum fee.
fn cost(measure: &Measure, intent: &Intent) -> Option<Amount> {
    let asset = match measure {
        Measure::Count => return Some(Amount::from(1u64)),
        Measure::Asset(asset) => asset,
        Measure::Usd => return None,
    };
    let parts = intent.action.value().into_iter().chain(&intent.fee_max);
    let mut amounts = parts
        .filter(|part| part.asset == *asset)
        .map(|part| part.amount);
    amounts.try_fold(Amount::ZERO, Amount::checked_add)
}

/// An amount as people write it: with the asset's decimal point and symbol.
fn in_words(constitution: &Constitution, measure: &Measure, amount: Amount) -> String {
    let Measure::Asset(asset) = measure else {
        return amount.to_string();
    };
    let Some(known) = constitution.asset(asset) else {
        return format!("{amount} smallest units of {asset}");
    };
    let places = usize::from(known.decimals);
    let digits = format!("{:0>width$}", amount.to_string(), width = places + 1);
    let (whole, rest) = digits.split_at(digits.len() - places);
    let rest = rest.trim_end_matches('0');
    let point = if rest.is_empty() { "" } else { "." };
    format!("{whole}{point}{rest} {}", known.symbol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;
    use quoin_chain::{Eip1559Fields, encode_eip1559};
    use quoin_core::stamp::Account;
    use quoin_core::{AssetId, ChainId, DerivationPath, Payload, Scheme};

    const CHAIN: ChainId = ChainId::Evm(31_337);

    fn native() -> AssetId {
        AssetId {
            chain: CHAIN,
            token: None,
        }
    }

    fn transfer(wei: u64) -> Intent {
        let bytes = encode_eip1559(&Eip1559Fields {
            chain_id: 31_337,
            nonce: 7,
            max_priority_fee_per_gas: 1,
            max_fee_per_gas: 10,
            gas_limit: 21_000,
            to: Some([9; 20]),
            value: Amount::from(wei),
            data: Vec::new(),
        });
        let account = Account {
            chain: CHAIN,
            address: quoin_core::Address::evm([7; 20]),
            path: DerivationPath::ROOT,
        };
        let decoded =
            quoin_chain::decode(&Payload::EvmTransaction(bytes), &account, Scheme::Ecdsa).unwrap();
        decoded.intent().clone()
    }

    fn budget(measure: Measure, cap: u64) -> Budget {
        Budget {
            id: "day".parse().unwrap(),
            scope: Scope::Org,
            measure,
            cap: Amount::from(cap),
            window_ms: 1_000,
            mode: Mode::Strict,
        }
    }

    fn verdict() -> Verdict {
        Verdict {
            account: "eip155:31337:0x07".to_owned(),
            requests: 2,
            threads: 1,
            signed: 2,
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            caps: Vec::new(),
            nonces: Nonces {
                signed: 2,
                distinct: 2,
                first: Some(0),
                last: Some(1),
                gaps: Vec::new(),
                points_distinct: true,
            },
            seconds: 1.0,
            signatures_per_s: 2.0,
            stages: Vec::new(),
        }
    }

    #[test]
    fn a_transfer_costs_its_value_and_its_maximum_fee() {
        let intents = [transfer(1_000), transfer(2_000)];
        let asset = Measure::Asset(native());
        let cap = |measure: &Measure, cap| {
            Cap::of(&budget(measure.clone(), cap), intents.iter()).unwrap()
        };
        let edge = cap(&asset, 423_000);
        assert_eq!(
            (edge.signed, edge.passed),
            (Amount::from(423_000u64), false)
        );
        assert!(cap(&asset, 422_999).passed);
        assert!(!cap(&Measure::Count, 2).passed);
        assert!(cap(&Measure::Count, 1).passed);
        assert!(Cap::of(&budget(Measure::Usd, 1), intents.iter()).is_none());
    }

    #[test]
    fn a_cap_that_is_passed_and_a_nonce_under_two_signatures_exit_with_one() {
        assert!(verdict().judged().is_ok());
        let mut passed = verdict();
        passed
            .caps
            .extend(Cap::of(&budget(Measure::Count, 0), [transfer(1)].iter()));
        let mut twice = verdict();
        twice.nonces.distinct = 1;
        let mut shared = verdict();
        shared.nonces.points_distinct = false;
        for bad in [passed, twice, shared] {
            assert_eq!(bad.judged().unwrap_err().exit(), Exit::Refused, "{bad:?}");
        }
        let mut failed = verdict();
        failed.failed.insert("status 503: late".to_owned(), 1);
        assert_eq!(failed.judged().unwrap_err().exit(), Exit::Error);
    }
}
