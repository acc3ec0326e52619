//! The meaning against the engine: what [`super::case::Case::answer`] says of a request is what a
//! node's own judgement says of it.

use super::case::{Answer, Case};
use super::fixtures::{EXCHANGE, MARGIN, STRANGER, charter_of, credential_id, json};
use super::side::{Demand, Side};
use super::tests::RICH;
use alloy_consensus::{SignableTransaction, TxEip1559};
use quoin_core::cbor::Version;
use quoin_core::intent::{Horizon, RiskEffect};
use quoin_core::stamp::Account;
use quoin_core::{
    Address, CustodyMethod, DerivationPath, KeyId, KeyState, Payload, Purpose, RequestId, Scheme,
    Stamp, TimeMs,
};
use quoin_policy::{Calm, Constitution, Judgement, KeyFacts, Ledger, Request, Unmet};
use serde_json::json;

const NOW: TimeMs = TimeMs(1_700_000_000_000);
const MICRO: u64 = 1_000_000_000_000;

fn transfer(to: &str, micro: u64) -> Payload {
    let transaction = TxEip1559 {
        chain_id: 1,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        to: alloy_primitives::TxKind::Call(to.parse().unwrap()),
        value: alloy_primitives::U256::from(micro * MICRO),
        ..TxEip1559::default()
    };
    let mut bytes = Vec::new();
    transaction.encode_for_signing(&mut bytes);
    Payload::EvmTransaction(bytes)
}

/// What a node says: denied, or what it waits for.
fn judged(
    constitution: &Constitution,
    principal: &str,
    key: &str,
    payload: &Payload,
) -> (Case, Option<Vec<Unmet>>) {
    let address = Address::evm([0xaa; 20]);
    let id = KeyId([9; 16]);
    let account = Account {
        chain: "eip155:1".parse().unwrap(),
        address: address.clone(),
        path: DerivationPath::ROOT,
    };
    let key_facts = KeyFacts {
        id,
        name: key.parse().unwrap(),
        purpose: Purpose::Trading,
        scheme: Scheme::Ecdsa,
        addresses: vec![address.clone()],
        threshold: 2,
        holders: 3,
        state: KeyState::Active,
    };
    let stamp = Stamp {
        version: Version,
        cluster: constitution.cluster(),
        charter_number_floor: constitution.number(),
        charter_hash_floor: constitution.hash(),
        principal: principal.parse().unwrap(),
        credential: credential_id(principal),
        custody: CustodyMethod::Mpc,
        key: Some(id),
        account: account.clone(),
        purpose: Purpose::Trading,
        payload_hash: payload.hash(),
        request_id: RequestId([7; 16]),
        not_after: NOW.plus(3_600_000),
    };
    let decoded = quoin_chain::decode(payload, &account, Scheme::Ecdsa).unwrap();
    let case = seen(principal, key, &decoded, &address);
    let calm = Calm::default();
    let request = Request {
        decoded,
        stamp: &stamp,
        key: Some(&key_facts),
        approvals: &[],
        first_seen: NOW,
        now: NOW,
        conditions: calm.conditions(),
    };
    let said = match constitution.judge(request, &mut Ledger::new()) {
        Judgement::Denied(_) => None,
        Judgement::Pending(pending) => Some(pending.unmet),
        Judgement::Permitted(_) => Some(Vec::new()),
    };
    (case, said)
}

fn seen(principal: &str, key: &str, decoded: &quoin_chain::Decoded, address: &Address) -> Case {
    let intent = decoded.intent();
    let value = intent.action.value().unwrap();
    let to = intent.action.counterparty().unwrap().to_string();
    let name = match to.as_str() {
        EXCHANGE => "exchange",
        MARGIN => "margin",
        _ => "",
    };
    let micro = value.amount.checked_div(MICRO).unwrap().to_i64().unwrap();
    let horizon = match intent.horizon {
        Horizon::Until(_) => "until",
        Horizon::Slot => "slot",
        Horizon::Unbounded => "unbounded",
    };
    let risk = match intent.risk {
        RiskEffect::Reduces => "reduces",
        RiskEffect::Neutral => "neutral",
        RiskEffect::Increases => "increases",
    };
    let context = json!({
        "amount_micro": micro, "asset": value.asset.to_string(), "symbol": "ETH", "to": to,
        "to_name": name, "chain": "eip155:1", "custody": "mpc", "risk": risk, "horizon": horizon,
        "fee_micro": 1,
    });
    let account = json!({
        "chain": "eip155:1", "address": address.to_string(), "path": "m", "key": key,
        "purpose": "trading", "scheme": "ecdsa",
    });
    Case {
        principal: principal.to_owned(),
        action: intent.action.name().to_owned(),
        resource: format!("eip155:1/{address}"),
        account: serde_json::from_value(account).unwrap(),
        context: serde_json::from_value(context).unwrap(),
        corridor: false,
    }
}

#[test]
fn the_meaning_is_what_a_node_judges() {
    let mut json = json(RICH);
    json["keys"] = json!([{ "key": "hot" }, { "key": "vault" }]);
    let charter = charter_of(json);
    let side = Side::read(&charter, "tested").unwrap();
    let constitution = charter.check().unwrap();
    let (mut permitted, mut pending, mut denied) = (0, 0, 0);
    for principal in ["bot", "ann", "cid", "dan"] {
        for key in ["hot", "vault"] {
            for to in [EXCHANGE, MARGIN, STRANGER] {
                for micro in [50, 99, 100, 101] {
                    let payload = transfer(to, micro);
                    let (case, said) = judged(&constitution, principal, key, &payload);
                    match (case.answer(&side).unwrap(), said) {
                        (Answer::Denied { .. }, None) => denied += 1,
                        (Answer::Permitted { demands, .. }, Some(unmet)) => {
                            let mut demanded = 0;
                            for (kind, amount) in demands.iter() {
                                let is = |unmet: &Unmet| match (kind, unmet) {
                                    (
                                        Demand::Approvals(role),
                                        Unmet::Approvals {
                                            role: r, needed, ..
                                        },
                                    ) => r.as_str() == role && u64::from(*needed) == amount,
                                    (Demand::Delay, Unmet::Delay { until }) => {
                                        *until == NOW.plus(amount)
                                    }
                                    // Until somebody has seen the notice, the delay has not begun.
                                    (Demand::Delay, Unmet::Notice { .. }) => true,
                                    (Demand::Notice(role), Unmet::Notice { role: r }) => {
                                        r.as_str() == role
                                    }
                                    (Demand::OthersOnly, _) => true,
                                    _ => false,
                                };
                                assert!(
                                    unmet.iter().any(is),
                                    "{kind:?} {amount} {unmet:?} {case:?}"
                                );
                                demanded += 1;
                            }
                            assert_eq!(demanded == 0, unmet.is_empty(), "{unmet:?} {case:?}");
                            permitted += usize::from(demanded == 0);
                            pending += usize::from(demanded > 0);
                        }
                        (meant, said) => panic!("{meant} but {said:?}\n{case:?}"),
                    }
                }
            }
        }
    }
    assert!(
        permitted > 0 && pending > 20 && denied > 5,
        "{permitted} {pending} {denied}"
    );
}
