//! What callers do in a run, and what an honest cluster may sign of it.

use crate::faults::below;
use crate::setup::{CHAIN, Cluster, FRIEND, STRANGER};
use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::cbor::{self, Version};
use quoin_core::{
    Amount, CharterNumber, CustodyMethod, Payload, Purpose, RequestId, Signed, Stamp, TimeMs,
};
use rand_core::RngCore;

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
    /// The nonce that it fills.
    pub nonce: u64,
    /// Whether the policy lets it pass, budget and slots aside.
    pub allowed: bool,
}

/// Draws a workload. Some requests are sent twice, some ids are used for two payloads, and some
/// payments ask for a nonce that another has.
pub fn draw(cluster: &Cluster, count: usize, until: TimeMs, rng: &mut dyn RngCore) -> Vec<Work> {
    let mut work: Vec<Work> = Vec::with_capacity(count);
    let mut nonce = 0;
    for _ in 0..count {
        let kind = below(rng, 10);
        if kind == 0 && !work.is_empty() {
            let again = below(rng, work.len() as u64) as usize;
            work.extend(work.get(again).cloned());
            continue;
        }
        let allowed = kind != 1;
        let mut request_id = [0u8; 16];
        rng.fill_bytes(&mut request_id);
        let mut slot = nonce;
        let older = (kind == 2 || kind == 3).then(|| below(rng, work.len() as u64) as usize);
        match older.and_then(|i| work.get(i)) {
            Some(earlier) if kind == 2 => request_id = earlier.request_id.0,
            Some(earlier) => slot = earlier.nonce,
            None => nonce += 1,
        }
        let value = 1 + below(rng, 1_000_000);
        work.push(request(
            cluster,
            RequestId(request_id),
            slot,
            value,
            allowed,
            until,
        ));
    }
    work
}

/// A stamped transfer.
#[must_use]
pub fn request(
    cluster: &Cluster,
    request_id: RequestId,
    nonce: u64,
    value: u64,
    allowed: bool,
    not_after: TimeMs,
) -> Work {
    let payload = Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
        chain_id: CHAIN,
        nonce,
        max_priority_fee_per_gas: 1,
        max_fee_per_gas: 100,
        gas_limit: 21_000,
        to: Some(if allowed { FRIEND } else { STRANGER }),
        value: Amount::from(value),
        data: Vec::new(),
    }));
    let stamp = Stamp {
        version: Version,
        cluster: cluster.cluster,
        charter_number_floor: CharterNumber(0),
        charter_hash_floor: cluster.genesis.unverified().hash(),
        principal: cluster
            .genesis
            .unverified()
            .principals
            .first()
            .map(|p| p.id.clone())
            .unwrap_or_else(|| unreachable!("the simulation's charter has one principal")),
        credential: cluster.trader.id(),
        custody: CustodyMethod::Mpc,
        key: Some(cluster.key.key),
        account: cluster.account.clone(),
        purpose: Purpose::Trading,
        payload_hash: payload.hash(),
        request_id,
        not_after,
    };
    Work {
        request_id,
        stamp: Signed::sign(stamp, &cluster.trader).to_bytes(),
        payload_bytes: cbor::encode(&payload),
        payload,
        nonce,
        allowed,
    }
}
