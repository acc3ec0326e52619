//! What callers do in a run, and what an honest cluster may sign of it.

use crate::faults::below;
use crate::setup::{CHAIN, Cluster, FRIEND, STRANGER, TRADER, VAULT, account_of};
use quoin_chain::{Digest, Eip1559Fields, encode_eip1559};
use quoin_core::cbor::{self, Version};
use quoin_core::intent::ChainId;
use quoin_core::payload::{ChangeKey, CreateKey, KeyChange, Unfreeze};
use quoin_core::stamp::Account;
use quoin_core::{
    Amount, CustodyMethod, FreezeId, KeyId, Payload, Purpose, RequestId, Scheme, Signed, Stamp,
    TimeMs,
};
use quoin_node::core::CLUSTER_ACCOUNT;
use quoin_protocol::KeyPublic;
use rand_core::RngCore;

/// Whom a payment is for, which is all that the simulation's policies look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payee {
    /// Paid under every charter.
    Friend,
    /// Paid with an approval.
    Vault,
    /// Paid under the second charter only.
    Stranger,
    /// Nothing is paid: what was to be in the slot is cancelled.
    Oneself,
}

/// What a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A payment.
    Pay {
        /// For whom.
        to: Payee,
        /// How much.
        value: u64,
        /// The slot: the key and the nonce.
        slot: (KeyId, u64),
        /// What is signed.
        digest: Vec<u8>,
    },
    /// A new key.
    MakeKey,
    /// New shares of a key, or another state.
    Change(KeyChange),
    /// That freezes hold no longer.
    Lift(Vec<FreezeId>),
}

/// One request of the workload.
#[derive(Clone, Debug)]
pub struct Work {
    /// The caller's id of it.
    pub request_id: RequestId,
    /// The stamp's bytes.
    pub stamp: Vec<u8>,
    /// The payload.
    pub payload: Payload,
    /// The payload's bytes.
    pub payload_bytes: Vec<u8>,
    /// What it is for.
    pub what: What,
    /// The number of the charter that it asks for at least.
    pub floor: u64,
}

/// A payment to be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Payment {
    /// The request's id.
    pub id: RequestId,
    /// The nonce.
    pub nonce: u64,
    /// The amount.
    pub value: u64,
    /// The recipient.
    pub to: Payee,
    /// The number of the charter that it asks for at least.
    pub floor: u64,
    /// The highest fee for each unit of gas.
    pub fee: u64,
}

/// The fee of a payment that replaces none.
pub const FEE: u64 = 100;

/// A fresh request id.
pub fn fresh_id(rng: &mut dyn RngCore) -> RequestId {
    let mut id = [0u8; 16];
    rng.fill_bytes(&mut id);
    RequestId(id)
}

/// Draws a workload. Some requests are sent twice, some ids are used for two payloads, some
/// payments ask for a nonce that another has, some are forbidden, some need
/// an approval, some replace another one by a higher fee, and some cancel one.
pub fn draw(cluster: &Cluster, count: usize, until: TimeMs, rng: &mut dyn RngCore) -> Vec<Work> {
    let mut work: Vec<Work> = Vec::with_capacity(count);
    let mut payments: Vec<Payment> = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = below(rng, 24);
        if kind < 2 && !work.is_empty() {
            let again = below(rng, work.len() as u64) as usize;
            work.extend(work.get(again).cloned());
            continue;
        }
        let mut payment = Payment {
            id: fresh_id(rng),
            nonce: payments.len() as u64,
            value: 1 + below(rng, 1_000_000),
            to: match kind {
                2 | 3 => Payee::Stranger,
                4..=6 => Payee::Vault,
                _ => Payee::Friend,
            },
            floor: 0,
            fee: FEE,
        };
        let place = below(rng, payments.len() as u64) as usize;
        if let Some(earlier) = payments.get(place) {
            match kind {
                7 | 8 => payment.id = earlier.id,
                9..=11 => payment.nonce = earlier.nonce,
                20 | 21 => {
                    payment = Payment {
                        id: payment.id,
                        fee: earlier.fee + 1 + below(rng, 50),
                        ..*earlier
                    };
                }
                22 | 23 => {
                    (payment.nonce, payment.value) = (earlier.nonce, 0);
                    payment.to = Payee::Oneself;
                }
                _ => {}
            }
        }
        payments.push(payment);
        work.extend(pay(cluster, &cluster.key, payment, until));
    }
    work
}

/// A stamped transfer; `None` for a key that has no account on the chain.
#[must_use]
pub fn pay(cluster: &Cluster, key: &KeyPublic, payment: Payment, until: TimeMs) -> Option<Work> {
    let account = account_of(key)?;
    let payload = Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
        chain_id: CHAIN,
        nonce: payment.nonce,
        max_priority_fee_per_gas: 1,
        max_fee_per_gas: payment.fee.into(),
        gas_limit: 21_000,
        to: Some(match payment.to {
            Payee::Friend => FRIEND,
            Payee::Vault => VAULT,
            Payee::Stranger => STRANGER,
            Payee::Oneself => account.address.to_evm()?,
        }),
        value: Amount::from(payment.value),
        data: Vec::new(),
    }));
    let decoded = quoin_chain::decode(&payload, &account, key.scheme).ok()?;
    let digest = match decoded.digest() {
        Digest::Prehash(prehash) => prehash.to_vec(),
        _ => return None,
    };
    let what = What::Pay {
        to: payment.to,
        value: payment.value,
        slot: (key.key, payment.nonce),
        digest,
    };
    let order = Order {
        id: payment.id,
        floor: payment.floor,
        key: Some(key.key),
        account,
        until,
    };
    stamped(cluster, order, payload, what)
}

/// A stamped request for a new key.
#[must_use]
pub fn make_key(cluster: &Cluster, id: RequestId, name: &str, until: TimeMs) -> Option<Work> {
    let payload = Payload::CreateKey(CreateKey {
        name: name.parse().ok()?,
        scheme: Scheme::Model,
        purpose: Purpose::Trading,
    });
    let order = Order {
        id,
        floor: 0,
        key: None,
        account: cluster_account()?,
        until,
    };
    stamped(cluster, order, payload, What::MakeKey)
}

/// A stamped request for new shares of the dealt key, or for another state.
#[must_use]
pub fn change_key(
    cluster: &Cluster,
    id: RequestId,
    change: KeyChange,
    floor: u64,
    until: TimeMs,
) -> Option<Work> {
    let key = cluster.key.key;
    let what = What::Change(change.clone());
    let payload = Payload::ChangeKey(ChangeKey { key, change });
    let order = Order {
        id,
        floor,
        key: Some(key),
        account: Account {
            chain: ChainId::Quoin,
            address: key.to_string().parse().ok()?,
            path: quoin_core::DerivationPath::ROOT,
        },
        until,
    };
    stamped(cluster, order, payload, what)
}

/// A stamped request to lift freezes.
#[must_use]
pub fn lift(cluster: &Cluster, id: RequestId, lifts: Vec<FreezeId>, until: TimeMs) -> Option<Work> {
    let what = What::Lift(lifts.clone());
    let payload = Payload::Unfreeze(Unfreeze {
        lifts,
        suspends: Vec::new(),
    });
    let order = Order {
        id,
        floor: 0,
        key: None,
        account: cluster_account()?,
        until,
    };
    stamped(cluster, order, payload, what)
}

/// The account of what is about the cluster as a whole.
fn cluster_account() -> Option<Account> {
    Some(Account {
        chain: ChainId::Quoin,
        address: CLUSTER_ACCOUNT.parse().ok()?,
        path: quoin_core::DerivationPath::ROOT,
    })
}

struct Order {
    id: RequestId,
    floor: u64,
    key: Option<KeyId>,
    account: Account,
    until: TimeMs,
}

fn stamped(cluster: &Cluster, order: Order, payload: Payload, what: What) -> Option<Work> {
    let charter = match order.floor {
        0 => cluster.genesis.unverified(),
        _ => cluster.amendment.unverified(),
    };
    let stamp = Stamp {
        version: Version,
        cluster: cluster.cluster,
        charter_number_floor: charter.number,
        charter_hash_floor: charter.hash(),
        principal: TRADER.parse().ok()?,
        credential: cluster.trader.id(),
        custody: CustodyMethod::Mpc,
        key: order.key,
        account: order.account,
        purpose: Purpose::Trading,
        payload_hash: payload.hash(),
        request_id: order.id,
        not_after: order.until,
    };
    Some(Work {
        request_id: order.id,
        stamp: Signed::sign(stamp, &cluster.trader).to_bytes(),
        payload_bytes: cbor::encode(&payload),
        payload,
        what,
        floor: order.floor,
    })
}
