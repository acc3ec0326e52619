//! Facts: which statements are taken, what is believed of them, and what that makes of budgets in
//! dollars.

use crate::budget::{Budget, Measure, Scope};
use crate::fixtures::*;
use crate::{
    BookEntry, BookKind, Calm, Charter, Conditions, Constitution, DenialReason, FACTS_MAX, Fact,
    FactFault, FactKind, FactRule, FactStatement, FactStore, Judgement, Ledger, PriceView,
};
use proptest::prelude::*;
use quoin_core::cbor::Version;
use quoin_core::intent::AssetAmount;
use quoin_core::{Address, Amount, AssetId, ChainId, TimeMs};
use std::sync::OnceLock;

const WIDE: &str = r#"
@id("all")
permit (principal, action, resource);
@id("ways-out") @corridor
permit (principal == Principal::"bot", action == Action::"transfer", resource);
"#;
const DOLLAR: u64 = 1_000_000;

fn margin() -> Address {
    Address::evm([0x77; 20])
}

/// Five feeds of five operators, but that `f4` and `f5` are of one; two have to agree within 1 %.
fn with_feeds(budgets: Vec<Budget>) -> Charter {
    let mut charter = charter(WIDE);
    for (i, operator) in ["one", "two", "three", "four", "four"].iter().enumerate() {
        let i = u8::try_from(i).unwrap();
        let mut feed = principal(&format!("f{}", i + 1), &["feed"]);
        feed.credentials = vec![identity(60 + i).public()];
        feed.operator = Some((*operator).to_owned());
        charter.principals.push(feed);
    }
    charter.book.push(BookEntry {
        name: "venue".parse().unwrap(),
        chain: account().chain,
        address: margin(),
        assets: Vec::new(),
        kind: BookKind::Margin,
    });
    let chain = account().chain;
    let rule = |kind, age_ms_max| FactRule {
        kind,
        quorum: 2,
        age_ms_max,
        deviation_bp_max: 100,
    };
    charter.facts = vec![
        rule(FactKind::Price(native()), 10_000),
        rule(FactKind::Margin("venue".parse().unwrap()), 10_000),
        rule(FactKind::Height(chain.clone()), 10_000),
        rule(FactKind::Nonce(chain, own_address()), 10_000),
        rule(FactKind::Balance(native(), own_address()), 10_000),
    ];
    charter.budgets = budgets;
    let corridor = budget("out", Scope::Corridor, Measure::Count, 100);
    charter.budgets.push(corridor);
    charter
}

fn constitution() -> &'static Constitution {
    static KNOWN: OnceLock<Constitution> = OnceLock::new();
    KNOWN.get_or_init(|| with_feeds(Vec::new()).check().unwrap())
}

fn states(feed: &str, seq: u64, facts: Vec<Fact>) -> FactStatement {
    FactStatement {
        version: Version,
        cluster: constitution().cluster(),
        feed: feed.parse().unwrap(),
        seq,
        at: NOW,
        facts,
    }
}

fn price(usd_micro: u64) -> Fact {
    Fact::Price {
        asset: native(),
        usd_micro,
    }
}

/// What is stored when each feed states a price.
fn priced(prices: &[(&str, u64)]) -> FactStore {
    let mut store = FactStore::default();
    for (feed, usd_micro) in prices {
        store.restore(states(feed, 1, vec![price(*usd_micro)]));
    }
    store
}

fn believed(store: &FactStore, now: TimeMs) -> Option<u64> {
    let view = store.price(constitution(), &native(), now);
    view.map(|view| view.usd_micro)
}

#[test]
fn a_statement_of_a_feed_in_good_standing_is_taken_once() {
    let mut store = FactStore::default();
    let mut accept = |statement| store.accept(constitution(), statement, NOW);
    let first = states("f1", 5, vec![price(1)]);
    assert_eq!(accept(first.clone()), Ok(()));
    for seq in [5, 4] {
        let known = Err(FactFault::NotNewer {
            known: 5,
            found: seq,
        });
        assert_eq!(accept(states("f1", seq, vec![price(2)])), known);
    }
    assert_eq!(accept(states("f1", 6, vec![price(2)])), Ok(()));
    assert_eq!(store.newest().count(), 1);
}

#[test]
fn refuses_statements_that_are_not_a_feeds() {
    let refused = |change: &dyn Fn(&mut FactStatement), now| {
        let mut statement = states("f1", 1, vec![price(1)]);
        change(&mut statement);
        FactStore::default()
            .accept(constitution(), statement, now)
            .unwrap_err()
    };
    let id = |text: &str| text.parse().unwrap();
    let cluster = quoin_core::ClusterId([1; 32]);
    assert_eq!(
        refused(&|s| s.cluster = cluster, NOW),
        FactFault::WrongCluster
    );
    assert_eq!(
        refused(&|s| s.feed = id("eve"), NOW),
        FactFault::UnknownFeed(id("eve"))
    );
    assert_eq!(
        refused(&|s| s.feed = id("ann"), NOW),
        FactFault::NoFeed(id("ann"))
    );
    assert_eq!(
        refused(&|_| {}, NOW.plus(1000 * HOUR_MS)),
        FactFault::Expired(id("f1"))
    );
    assert_eq!(
        refused(&|s| s.at = NOW.plus(2_001), NOW),
        FactFault::Ahead { ahead_ms: 2_001 }
    );
    assert_eq!(
        refused(&|s| s.facts = vec![price(1), price(2)], NOW),
        FactFault::Twice
    );
    assert_eq!(
        refused(&|s| s.facts = vec![price(1); FACTS_MAX + 1], NOW),
        FactFault::TooMany(65)
    );
    let mut store = FactStore::default();
    let mut ahead = states("f1", 1, vec![price(1)]);
    ahead.at = NOW.plus(2_000);
    assert_eq!(store.accept(constitution(), ahead, NOW), Ok(()));
}

#[test]
fn a_price_needs_a_quorum_of_operators_inside_its_age_and_deviation() {
    let (one, two) = (("f1", 1000), ("f2", 1009));
    let view = priced(&[one, two]).price(constitution(), &native(), NOW.plus(3_000));
    let wanted = PriceView {
        usd_micro: 1009,
        age_ms: 3_000,
        sources: 2,
    };
    assert_eq!(view, Some(wanted), "the highest of those that agree");
    assert_eq!(believed(&priced(&[one]), NOW), None, "one is no quorum");
    let far = priced(&[one, ("f2", 1011)]);
    assert_eq!(believed(&far, NOW), None, "more than 1 % apart");
    assert_eq!(believed(&priced(&[one, ("f2", 1010)]), NOW), Some(1010));
    let same = priced(&[("f4", 1000), ("f5", 1000)]);
    assert_eq!(believed(&same, NOW), None, "two feeds of one operator");
    let both = priced(&[one, two]);
    assert_eq!(believed(&both, NOW.plus(10_000)), Some(1009));
    assert_eq!(believed(&both, NOW.plus(10_001)), None, "too old");
    let expired = NOW.plus(1000 * HOUR_MS);
    let mut late = priced(&[]);
    for (feed, usd_micro) in [one, two] {
        let mut statement = states(feed, 1, vec![price(usd_micro)]);
        statement.at = expired;
        late.restore(statement);
    }
    assert_eq!(believed(&late, expired), None, "grants have ended");
    assert_eq!(believed(&priced(&[("f1", 0), ("f2", 0)]), NOW), None);
    let other: AssetId = "eip155:1/native".parse().unwrap();
    let view = both.price(constitution(), &other, NOW);
    assert_eq!(view, None, "no rule for it");
}

#[test]
fn the_other_kinds_take_the_worst_of_a_quorum_too() {
    let chain: ChainId = account().chain;
    let mut store = FactStore::default();
    for (feed, n) in [("f1", 1000u64), ("f2", 1005), ("f3", 1009)] {
        let facts = vec![
            Fact::Margin {
                account: "venue".parse().unwrap(),
                ratio_bp: u32::try_from(n).unwrap(),
                exposure_usd_micro: n,
            },
            Fact::Height {
                chain: chain.clone(),
                height: n,
            },
            Fact::Nonce {
                chain: chain.clone(),
                account: own_address(),
                next: n,
            },
            Fact::Balance {
                asset: native(),
                account: own_address(),
                amount: Amount::from(n),
            },
        ];
        store.restore(states(feed, 1, facts));
    }
    let margin = store
        .margin(constitution(), &"venue".parse().unwrap(), NOW)
        .unwrap();
    // Two say at least 1005, and two at most that.
    assert_eq!((margin.ratio_bp, margin.exposure_usd_micro), (1005, 1005));
    let height = store.height(constitution(), &chain, NOW).unwrap();
    assert_eq!(height.number, 1005);
    let nonce = store.nonce(constitution(), &chain, &own_address(), NOW);
    assert_eq!(nonce.unwrap().number, 1005);
    let balance = store.balance(constitution(), &native(), &own_address(), NOW);
    assert_eq!(balance.unwrap().amount, Amount::from(1005u64));
}

#[test]
fn worth_is_rounded_up_and_nothing_is_worth_nothing() {
    let store = priced(&[("f1", 3 * DOLLAR), ("f2", 3 * DOLLAR)]);
    let worth = |store: &FactStore, amount: u128| {
        let value = AssetAmount {
            asset: native(),
            amount: Amount::from(amount),
        };
        store.usd_micro(constitution(), &value, NOW)
    };
    assert_eq!(worth(&store, ETHER), Some(Amount::from(3 * DOLLAR)));
    assert_eq!(worth(&store, 1), Some(Amount::from(1u64)));
    assert_eq!(worth(&store, ETHER + 1), Some(Amount::from(3 * DOLLAR + 1)));
    let none = FactStore::default();
    assert_eq!(worth(&none, 0), Some(Amount::ZERO));
    assert_eq!(worth(&none, 1), None);
    let dear = priced(&[("f1", i64::MAX as u64), ("f2", i64::MAX as u64)]);
    let value = AssetAmount {
        asset: native(),
        amount: Amount::MAX,
    };
    assert_eq!(dear.usd_micro(constitution(), &value, NOW), None);
}

#[test]
fn a_request_sees_price_margin_height_and_worth() {
    let mut store = priced(&[]);
    for feed in ["f1", "f2"] {
        let facts = vec![
            price(2 * DOLLAR),
            Fact::Height {
                chain: account().chain,
                height: 7,
            },
            Fact::Margin {
                account: "venue".parse().unwrap(),
                ratio_bp: 11_000,
                exposure_usd_micro: 5,
            },
        ];
        store.restore(states(feed, 1, facts));
    }
    let view = |to: &Address| {
        let ask = Ask::new(constitution(), 1, Tx::pay(1, to, ETHER).payload());
        store.view(constitution(), ask.decoded().intent(), NOW)
    };
    let seen = view(&margin());
    assert_eq!(seen.price.unwrap().usd_micro, 2 * DOLLAR);
    assert_eq!(seen.margin.unwrap().ratio_bp, 11_000);
    assert_eq!(seen.height.unwrap().number, 7);
    // One ether, and 0.00021 for the fee.
    assert_eq!(seen.value_usd_micro, Some(2 * DOLLAR + 420));
    assert_eq!(view(&exchange()).margin, None, "no margin account");
}

fn dollars(cap: u64) -> Budget {
    budget("usd", Scope::Org, Measure::Usd, u128::from(cap * DOLLAR))
}

fn under(
    constitution: &Constitution,
    ledger: &mut Ledger,
    ask: &Ask,
    facts: &FactStore,
    lease: bool,
) -> Result<crate::Warrant, crate::Denial> {
    let calm = Calm::default();
    let conditions = Conditions {
        facts,
        lease,
        ..calm.conditions()
    };
    match constitution.judge(ask.request(conditions), ledger) {
        Judgement::Permitted(warrant) => Ok(warrant),
        Judgement::Denied(denial) => Err(denial),
        Judgement::Pending(pending) => panic!("{pending:?}"),
    }
}

#[test]
fn a_budget_in_dollars_counts_value_and_fee_at_the_believed_price() {
    // This node's part of 20 dollars is 10.
    let constitution = with_feeds(vec![dollars(20)]).check().unwrap();
    let store = priced(&[("f1", 3 * DOLLAR), ("f2", 3 * DOLLAR)]);
    let mut ledger = Ledger::new();
    let first = Ask::pay(&constitution, 1, 3 * ETHER);
    let warrant = under(&constitution, &mut ledger, &first, &store, true).unwrap();
    // 0.00021 ether of fee.
    let worth = Amount::from(9 * DOLLAR + 630);
    assert_eq!(warrant.charges()[0].amount, worth);
    let second = Ask::pay(&constitution, 2, ETHER);
    let full = under(&constitution, &mut ledger, &second, &store, true).unwrap_err();
    assert_eq!(full.reason, DenialReason::OverBudget);
}

#[test]
fn what_cannot_be_priced_does_not_fit_a_budget_in_dollars() {
    let constitution = with_feeds(vec![dollars(20)]).check().unwrap();
    let ask = Ask::pay(&constitution, 1, 1);
    let mut ledger = Ledger::new();
    let store = priced(&[("f1", DOLLAR)]);
    let denial = under(&constitution, &mut ledger, &ask, &store, true).unwrap_err();
    assert_eq!(denial.reason, DenialReason::Unpriced);
    assert_eq!(denial.rule, Some("usd".parse().unwrap()));
    assert!(denial.message.contains(&native().to_string()));
}

#[test]
fn a_cancel_goes_on_without_prices_when_a_budget_in_units_caps_its_fee() {
    let none = FactStore::default();
    let outcome = |budgets: Vec<Budget>, lease| {
        let constitution = with_feeds(budgets).check().unwrap();
        let cancel = Tx::pay(2, &own_address(), 0).payload();
        let cancel = Ask::new(&constitution, 2, cancel);
        let judged = under(&constitution, &mut Ledger::new(), &cancel, &none, lease);
        judged.err().map(|denial| denial.reason)
    };
    let units = |scope, cap| budget("units", scope, Measure::Asset(native()), cap);
    let unpriced = Some(DenialReason::Unpriced);
    assert_eq!(outcome(vec![dollars(20)], true), unpriced);
    assert_eq!(outcome(vec![dollars(20)], false), unpriced);
    let capped = |scope, cap| vec![dollars(20), units(scope, cap)];
    assert_eq!(outcome(capped(Scope::Org, ETHER), true), None);
    assert_eq!(outcome(capped(Scope::Corridor, ETHER), false), None);
    // One that the request is not charged to caps nothing, and one that it is charged to does.
    assert_eq!(outcome(capped(Scope::Corridor, ETHER), true), unpriced);
    let elsewhere = Scope::Counterparty(exchange());
    assert_eq!(outcome(capped(elsewhere, ETHER), true), unpriced);
    let over = Some(DenialReason::OverBudget);
    assert_eq!(outcome(capped(Scope::Org, FEE), true), over);
}

#[test]
fn a_top_up_without_prices_needs_a_fixed_cap_in_the_corridor() {
    let top_up = |c: &Constitution| Ask::new(c, 1, Tx::pay(1, &margin(), 5).payload());
    let none = FactStore::default();
    let outcome = |charter: Charter, lease| {
        let constitution = charter.check().unwrap();
        let ask = top_up(&constitution);
        let judged = under(&constitution, &mut Ledger::new(), &ask, &none, lease);
        judged.err().map(|denial| denial.reason)
    };
    let with_corridor = |measure| {
        let mut charter = with_feeds(vec![dollars(20)]);
        charter.budgets[1].measure = measure;
        // Room for the fee too.
        charter.budgets[1].cap = Amount::from(10 * ETHER);
        charter
    };
    // Counts and what is in another asset cap nothing of it.
    let uncapped = Some(DenialReason::CorridorOnly);
    assert_eq!(outcome(with_corridor(Measure::Count), false), uncapped);
    let units = Measure::Asset(native());
    assert_eq!(outcome(with_corridor(units.clone()), false), None);
    let unpriced = Some(DenialReason::Unpriced);
    assert_eq!(outcome(with_corridor(Measure::Usd), false), unpriced);
    // Outside of the corridor it is a payment like any other.
    assert_eq!(outcome(with_corridor(units.clone()), true), unpriced);
    // Another budget in units is none of the corridor's.
    let mut outside = with_corridor(Measure::Usd);
    let cap = 10 * ETHER;
    outside
        .budgets
        .push(budget("units", Scope::Org, units, cap));
    assert_eq!(outcome(outside, false), unpriced);
}

/// The desk's token, its contract, and a call of it.
fn token() -> (AssetId, Address) {
    let contract = stranger();
    let asset = format!("eip155:{CHAIN}/token:{contract}");
    (asset.parse().unwrap(), contract)
}

fn with_token(budgets: Vec<Budget>) -> Charter {
    let mut charter = with_feeds(budgets);
    charter.assets.push(crate::Asset {
        asset: token().0,
        symbol: "USD".into(),
        decimals: 6,
    });
    charter
}

#[test]
fn a_top_up_is_charged_to_a_budget_of_the_corridor_in_what_moves() {
    let outcome = |measure| {
        let mut charter = with_token(Vec::new());
        charter.budgets[0].measure = measure;
        charter.budgets[0].cap = Amount::from(10 * ETHER);
        let constitution = charter.check().unwrap();
        let ask = Ask::new(&constitution, 1, Tx::pay(1, &margin(), 5).payload());
        let store = priced(&[("f1", DOLLAR), ("f2", DOLLAR)]);
        let judged = under(&constitution, &mut Ledger::new(), &ask, &store, false);
        judged.err().map(|denial| denial.reason)
    };
    let uncapped = Some(DenialReason::CorridorOnly);
    assert_eq!(outcome(Measure::Asset(token().0)), uncapped);
    assert_eq!(outcome(Measure::Count), uncapped);
    assert_eq!(outcome(Measure::Asset(native())), None);
    assert_eq!(outcome(Measure::Usd), None);
}

#[test]
fn only_the_part_without_a_price_is_left_out() {
    // A top-up in the token, of which no price is known, with its fee in ether, of which one is.
    let (asset, contract) = token();
    let mut charter = with_token(vec![dollars(20)]);
    charter.budgets[1] = budget("out", Scope::Corridor, Measure::Asset(asset), 1000);
    let constitution = charter.check().unwrap();
    let mut tx = Tx::pay(1, &contract, 0);
    tx.data = hex::decode("a9059cbb").unwrap();
    tx.data.extend([0; 12]);
    tx.data.extend([0x77; 20]);
    tx.data.extend(Amount::from(5u64).to_be_bytes());
    let ask = Ask::new(&constitution, 1, tx.payload());
    let store = priced(&[("f1", 3 * DOLLAR), ("f2", 3 * DOLLAR)]);
    let judged = under(&constitution, &mut Ledger::new(), &ask, &store, false);
    let fee = Amount::from(630u64);
    let of = |charges: &[crate::Charge]| {
        let usd = charges.iter().find(|c| c.measure == Measure::Usd);
        usd.map(|charge| charge.amount)
    };
    assert_eq!(of(judged.unwrap().charges()), Some(fee));
    let finished = constitution.finished_reservation(
        &ask.decoded(),
        &ask.stamp,
        ask.key.as_ref(),
        NOW,
        &store,
    );
    assert_eq!(of(&finished.unwrap().charges), Some(fee));
    // Nor is a fee without a price left out, when no budget in its units is there for it.
    let none = FactStore::default();
    let denial = under(&constitution, &mut Ledger::new(), &ask, &none, false).unwrap_err();
    assert_eq!(denial.reason, DenialReason::Unpriced);
}

const ORDER_OF_TOKEN: &str = r#"{
    "types": {
        "EIP712Domain": [
            {"name": "chainId", "type": "uint256"},
            {"name": "verifyingContract", "type": "address"}
        ],
        "Order": [{"name": "side", "type": "string"}]
    },
    "primaryType": "Order",
    "domain": {"chainId": 31337, "verifyingContract": "0x5555555555555555555555555555555555555555"},
    "message": {"side": "buy"}
}"#;

#[test]
fn what_nobody_can_explain_about_a_listed_token_does_not_fit_a_budget_that_counts_it() {
    let store = priced(&[("f1", DOLLAR), ("f2", DOLLAR)]);
    let (asset, contract) = token();
    let opaque = |constitution: &Constitution, target: &Address, data: &str| {
        let mut tx = Tx::pay(1, target, 0);
        tx.data = hex::decode(data).unwrap();
        Ask::new(constitution, 1, tx.payload())
    };
    let outcome = |budget: Option<Budget>| {
        let mut charter = with_token(budget.into_iter().collect());
        let named = "@id(\"named\") @unbounded permit (principal, action in \
                     [Action::\"unexplained\", Action::\"typed_data\"], resource);";
        charter.policies.push_str(named);
        let constitution = charter.check().unwrap();
        let order = quoin_core::Payload::EvmTypedData(ORDER_OF_TOKEN.as_bytes().to_vec());
        // `increaseAllowance`, an `approve` that is cut off, and an order.
        [
            opaque(&constitution, &contract, "3950935100"),
            opaque(&constitution, &contract, "095ea7b300"),
            Ask::new(&constitution, 1, order),
            opaque(&constitution, &exchange(), "3950935100"),
        ]
        .map(|ask| {
            let judged = under(&constitution, &mut Ledger::new(), &ask, &store, true);
            judged.err().map(|denial| denial.reason)
        })
    };
    let unpriced = Some(DenialReason::Unpriced);
    let refused = [unpriced, unpriced, unpriced, None];
    assert_eq!(outcome(Some(dollars(20))), refused);
    let of = |asset| budget("units", Scope::Org, Measure::Asset(asset), ETHER);
    assert_eq!(outcome(Some(of(asset.clone()))), refused);
    // Without a budget that counts the token, and under one that the request is not in, they pass.
    assert_eq!(outcome(None), [None; 4]);
    assert_eq!(outcome(Some(of(native()))), [None; 4]);
    let elsewhere = Scope::Key("cold".parse().unwrap());
    let elsewhere = budget("units", elsewhere, Measure::Asset(asset), ETHER);
    assert_eq!(outcome(Some(elsewhere)), [None; 4]);
}

#[test]
fn every_holder_has_a_tally_of_its_own() {
    let each = Scope::EachHolder("treasury".parse().unwrap());
    let budgets = vec![budget("each", each, Measure::Count, 2)];
    let constitution = with_feeds(budgets).check().unwrap();
    let none = FactStore::default();
    let mut ledger = Ledger::new();
    let mut asks = |who: &str, id| {
        let mut ask = Ask::pay(&constitution, id, 1);
        ask.stamp.principal = who.parse().unwrap();
        ask.stamp.credential = identity(seed_of(who)).id();
        let judged = under(&constitution, &mut ledger, &ask, &none, true);
        judged.map(|w| w.charges().len()).map_err(|d| d.reason)
    };
    assert_eq!(asks("ann", 1), Ok(1));
    assert_eq!(asks("ann", 2), Err(DenialReason::OverBudget));
    assert_eq!(asks("ben", 3), Ok(1));
    // Whoever does not hold the role is not counted.
    assert_eq!(asks("bot", 4), Ok(0));
    let budget = &constitution.charter().budgets[0];
    assert_eq!(ledger.spent(budget, NOW), Some(Amount::from(2u64)));
}

fn prices() -> impl Strategy<Value = Vec<(usize, u64, u64)>> {
    let near = prop_oneof![3 => 990u64..1012, 1 => 0u64..3000];
    proptest::collection::vec((0usize..5, near, 0u64..12_000), 0..6)
}

/// The statements of feeds, one of each, of various ages.
fn stored(statements: &[(usize, u64, u64)]) -> FactStore {
    let mut store = FactStore::default();
    for (feed, n, age) in statements {
        let facts = vec![
            price(*n),
            Fact::Height {
                chain: account().chain,
                height: *n,
            },
        ];
        let mut statement = states(&format!("f{}", feed + 1), 1, facts);
        statement.at = TimeMs(NOW.0 - age);
        store.restore(statement);
    }
    store
}

/// The same without the statement of one feed.
fn without(store: &FactStore, feed: &str) -> FactStore {
    let mut less = FactStore::default();
    let others = store.newest().filter(|s| s.feed.as_str() != feed);
    others.for_each(|s| less.restore(s.clone()));
    less
}

/// `low` is worse than or as bad as `high`, where unknown is the worst.
fn no_better(low: Option<u64>, high: Option<u64>) -> bool {
    match (low, high) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(low), Some(high)) => low <= high,
    }
}

proptest! {
    #[test]
    fn losing_a_source_never_makes_anything_cheaper_or_higher(statements in prices()) {
        let store = stored(&statements);
        let height = |s: &FactStore| {
            s.height(constitution(), &account().chain, NOW).map(|h| h.number)
        };
        for feed in ["f1", "f2", "f3", "f4", "f5"] {
            let less = without(&store, feed);
            // A price turned over: the higher, the worse.
            let turned = |s: &FactStore| believed(s, NOW).map(|p| u64::MAX - p);
            prop_assert!(no_better(turned(&less), turned(&store)), "{feed} {statements:?}");
            prop_assert!(no_better(height(&less), height(&store)), "{feed} {statements:?}");
        }
    }

    #[test]
    fn losing_a_source_never_turns_a_denial_into_a_permit(
        statements in prices(),
        micro_ether in 1u128..400,
    ) {
        static KNOWN: OnceLock<Constitution> = OnceLock::new();
        let constitution = KNOWN.get_or_init(|| {
            let mut budget = dollars(1);
            budget.cap = Amount::from(800_000u64);
            with_feeds(vec![budget]).check().unwrap()
        });
        // Prices of about a thousand dollars, and about as much as fits.
        let dear: Vec<_> = statements.iter().map(|(f, p, a)| (*f, p * DOLLAR, *a)).collect();
        let store = stored(&dear);
        let ask = Ask::pay(constitution, 1, micro_ether * 1_000_000_000_000);
        let permits = |s: &FactStore| under(constitution, &mut Ledger::new(), &ask, s, true).is_ok();
        if !permits(&store) {
            for feed in ["f1", "f2", "f3", "f4", "f5"] {
                prop_assert!(!permits(&without(&store, feed)), "{feed}");
            }
        }
    }

    #[test]
    fn one_liar_cannot_make_it_cheaper_than_an_honest_feed_says(
        (honest, other) in (1u64..100_000, 0u64..100_000),
        lie in any::<u64>(),
        liar in 0usize..3,
    ) {
        let feeds = ["f1", "f2", "f3"];
        let mut said = [honest, other, 0];
        said[2] = lie;
        let stated: Vec<_> = (0..3).map(|i| (feeds[(i + liar) % 3], said[i])).collect();
        if let Some(found) = believed(&priced(&stated), NOW) {
            // It may be as dear as the deviation allows over the dearest honest feed.
            prop_assert!(found >= honest.min(other.max(1)), "{found} {said:?}");
            let dearest = u128::from(honest.max(other));
            prop_assert!(u128::from(found) * 10_000 <= dearest * 10_100, "{found} {said:?}");
        }
    }
}

#[test]
fn a_feed_cannot_count_itself_out() {
    let mut store = FactStore::default();
    let jump = 1u64 << 32;
    let mut says = |seq| store.accept(constitution(), states("f1", seq, vec![price(DOLLAR)]), NOW);
    for seq in [u64::MAX, NOW.0 + jump + 1] {
        assert_eq!(says(seq), Err(crate::FactFault::SeqJump { found: seq }));
    }
    assert_eq!(says(1), Ok(()));
    assert_eq!(says(NOW.0 + jump), Ok(()));
    assert_eq!(says(NOW.0 + 2 * jump), Ok(()));
    assert!(says(NOW.0 + 3 * jump + 1).is_err());
}

#[test]
fn a_feeds_delegate_is_no_second_voice() {
    let mut charter = constitution().charter().clone();
    for p in &mut charter.principals {
        if p.id.as_str() == "f2" {
            p.operator = None;
            p.granted_by = Some("f1".parse().unwrap());
        }
    }
    let constitution = charter.check().unwrap();
    let price_of = |feeds: &[&str]| {
        let mut store = FactStore::default();
        for feed in feeds {
            store.restore(states(feed, 1, vec![price(DOLLAR)]));
        }
        store.price(&constitution, &native(), NOW)
    };
    assert_eq!(price_of(&["f1", "f2"]), None);
    assert!(price_of(&["f1", "f3"]).is_some());
}
