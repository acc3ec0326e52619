//! What comes out of a ceremony in public: the key's record for the new epoch.
//!
//! Source: the construction's sections 19.1 to 19.3 and 21.7. It is computed from the base record
//! and the dealers' commitments alone, so that everyone comes to the same.

use super::certificate::check_points;
use super::context::{Context, View};
use super::group::Group;
use super::guard::Guard;
use super::plan::{Lineage, Plan};
use super::polynomial::evaluate;
use crate::abort::Fault;
use crate::share::{KeyPublic, PublicShare};
use quoin_core::cbor::Version;
use quoin_core::hash::{TaggedHasher, tagged};
use quoin_core::{KeyOrigin, NodeIndex, ShareEpoch, tags};
use std::collections::BTreeMap;

/// The record of the new epoch, but for the transcript and what hangs on it.
///
/// # Errors
/// `DegenerateKey` when the key or a public share is the identity, of which no share but zero is
/// the share; `WrongKeySum` when a succession would change the key.
pub(crate) fn public_record<G: Group>(
    plan: &Plan,
    nodes: &[NodeIndex],
    dealt: BTreeMap<NodeIndex, Vec<G::Point>>,
) -> Result<KeyPublic, Fault> {
    let sum = sum_of::<G>(plan, dealt.into_values());
    let constant = sum.first().copied().unwrap_or_else(G::identity);
    let public_key = match &plan.lineage {
        Lineage::Birth => encode::<G>(constant)?,
        // The constants are zero, so the key is what it was.
        Lineage::Refresh(base) => base.public_key.clone(),
        Lineage::Reshare(base, _) => {
            // It follows from each dealer's constant and the certified record; checked anyway.
            let kept = G::decode_point(&base.public_key) == Some(constant);
            if !Guard::KeySum.holds(kept) {
                return Err(Fault::WrongKeySum);
            }
            base.public_key.clone()
        }
    };
    let mut public_shares = Vec::with_capacity(nodes.len());
    for node in nodes.iter().copied() {
        let mut point = evaluate::<G>(&sum, node);
        if let Lineage::Refresh(base) = &plan.lineage {
            let old = base.public_share(node).and_then(G::decode_point);
            point = point + old.ok_or(Fault::WrongSuccession)?;
        }
        let point = encode::<G>(point)?;
        public_shares.push(PublicShare { node, point });
    }
    let record = record(plan, public_key, public_shares);
    // Interpolation through every t-set at once. In a birth and in a reshare the points are values
    // of one polynomial by construction; a refresh adds to points that come from elsewhere.
    if matches!(plan.lineage, Lineage::Refresh(_)) {
        let low = check_points::<G>(&record).is_ok();
        if !Guard::LowDegree.holds(low) {
            return Err(Fault::WrongKeySum);
        }
    }
    Ok(record)
}

/// The sum of all commitments, coefficient by coefficient.
fn sum_of<G: Group>(plan: &Plan, dealt: impl Iterator<Item = Vec<G::Point>>) -> Vec<G::Point> {
    let zero = vec![G::identity(); usize::from(plan.params.threshold)];
    dealt.fold(zero, |sum, points| {
        let pairs = sum.into_iter().zip(points);
        pairs.map(|(a, b)| a + b).collect()
    })
}

fn encode<G: Group>(point: G::Point) -> Result<Vec<u8>, Fault> {
    if Guard::NotDegenerate.holds(point != G::identity()) {
        Ok(G::encode_point(&point))
    } else {
        Err(Fault::DegenerateKey)
    }
}

fn record(plan: &Plan, public_key: Vec<u8>, public_shares: Vec<PublicShare>) -> KeyPublic {
    let (params, base) = (&plan.params, plan.base());
    KeyPublic {
        version: Version,
        cluster: params.cluster,
        charter: params.charter,
        ceremony: params.ceremony,
        key: params.key,
        name: params.name.clone(),
        scheme: params.scheme,
        purpose: params.purpose,
        threshold: params.threshold,
        // The plan refuses a base whose epoch is the last one.
        epoch: base.map_or(ShareEpoch::default(), |base| {
            ShareEpoch(base.epoch.0.saturating_add(1))
        }),
        public_key,
        public_shares,
        transcript: [0; 32],
        chain_code: base.map_or([0; 32], |base| base.chain_code),
        origin: base.map_or(KeyOrigin::Born, |base| base.origin),
        previous: base.map(KeyPublic::shares_hash),
    }
}

/// Writes the transcript into a record: the hash of all broadcasts of rounds 1 and 2 in order, and
/// of the key and all public shares that came out of them (section 21.7).
pub(crate) fn transcript(record: &mut KeyPublic, context: &Context, rounds: [&View; 2]) {
    let mut hasher = TaggedHasher::new(tags::DKG_TRANSCRIPT);
    hasher.part(&context.sid);
    for heard in rounds.into_iter().flat_map(BTreeMap::values) {
        hasher.part(&heard.digest);
    }
    hasher.part(&record.public_key);
    for share in &record.public_shares {
        hasher.part(&[share.node.get()]).part(&share.point);
    }
    record.transcript = hasher.finish();
    if record.previous.is_none() {
        record.chain_code = birth_chain_code(&record.transcript);
    }
}

/// The chain code of a key that is born here: from its whole transcript, so that no single dealer
/// chooses it, and without another message.
pub(crate) fn birth_chain_code(transcript: &[u8; 32]) -> [u8; 32] {
    tagged(tags::CHAIN_CODE, &[transcript])
}
