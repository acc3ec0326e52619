//! Presigning a batch, and signing with some of it.

use super::cluster::{Cluster, boot, drive, node};
use super::entry;
use super::judge::Judge;
use crate::book::Book;
use crate::meter::{Cost, Meter};
use crate::plan::{BATCH, ONLINE, Size, signers_of};
use anyhow::{Context, Result, anyhow};
use quoin_core::cbor::Version;
use quoin_core::{BatchId, Scheme, SignerSet};
use quoin_protocol::batch::{BatchHeader, Profile};
use quoin_protocol::combine::ROOT_TWEAK;
use quoin_protocol::presign::start_batch;
use quoin_protocol::share::KeyPublic;
use quoin_protocol::{KeyShare, Presignature, combine, sign};
use rand_core::OsRng;
use std::collections::BTreeMap;

/// One batch of [`BATCH`] and [`ONLINE`] signatures.
pub fn run(book: &mut Book, scheme: Scheme, size: Size) -> Result<()> {
    let cluster = Cluster::new(size)?;
    let shares = cluster.generate(scheme, &mut Meter::new(size.n.into()))?;
    let signers = signers_of(size).map(node).collect::<Result<_>>()?;
    let set = SignerSet::from_ascending(signers).context("no signer set")?;

    let mut meter = Meter::new(set.size());
    let mut pools = presign(&cluster, &shares, &set, &mut meter)?;
    let offline = meter.cost_of_one(BATCH);
    let note = "batch of 256";
    book.add(entry("presign", scheme, size, note), offline.clone());

    let judge = Judge::new(&cluster, size)?;
    for turn in 0..ONLINE {
        let text = format!("text {turn}");
        let presigned = pools.iter_mut().map(|p| p.pop().context("pool is empty"));
        let presigned = presigned.collect::<Result<_>>()?;
        let (signer, coordinator) = online(&judge, &shares, &set, presigned, &text)?;
        let whole = offline.then(&signer).coordinated(&coordinator);
        book.add(entry("sign-signer", scheme, size, ""), signer);
        let note = "combines and verifies; sends nothing but the request";
        book.add(entry("sign-coordinator", scheme, size, note), coordinator);
        let note = "presignature, signer's and coordinator's work";
        book.add(entry("sign", scheme, size, note), whole);
    }
    Ok(())
}

fn header(cluster: &Cluster, public: &KeyPublic, set: &SignerSet) -> Result<BatchHeader> {
    let credential = |n| Some(cluster.nodes.get(&n)?.id());
    Ok(BatchHeader {
        version: Version,
        cluster: public.cluster,
        charter: public.charter,
        key: public.key,
        scheme: public.scheme,
        public_key: public.public_key.clone(),
        epoch: public.epoch,
        set: set.clone(),
        credentials: set.iter().filter_map(credential).collect(),
        boots: set.iter().map(boot).collect(),
        batch: BatchId {
            proposer: boot(set.lowest()),
            counter: 1,
        },
        size: u16::try_from(BATCH)?,
        profile: Profile::Normal,
        shares_hash: public.shares_hash(),
    })
}

/// Each signer's pool.
fn presign(
    cluster: &Cluster,
    shares: &[KeyShare],
    set: &SignerSet,
    meter: &mut Meter,
) -> Result<Vec<Vec<Presignature>>> {
    let mut started = BTreeMap::new();
    for (party, (me, share)) in set.iter().zip(shares).enumerate() {
        let header = header(cluster, &share.public, set)?;
        let roster = cluster.roster(me)?;
        let first = meter.run(party, || start_batch(header, share, roster, &mut OsRng));
        started.insert(me, first.map_err(|e| anyhow!("{e:?}"))?);
    }
    Ok(drive(started, meter)?.into_values().collect())
}

/// One signature: the cost of every signer, and of the coordinator.
fn online(
    judge: &Judge,
    shares: &[KeyShare],
    set: &SignerSet,
    presigned: Vec<Presignature>,
    text: &str,
) -> Result<(Cost, Cost)> {
    let (mut signer, mut coordinator) = (Meter::new(set.size()), Meter::new(1));
    let (mut answers, mut digest) = (Vec::new(), None);
    for (party, (presignature, share)) in presigned.into_iter().zip(shares).enumerate() {
        let warrant = judge.warrant(share, text.to_owned())?;
        digest = Some(warrant.decoded().digest().clone());
        let made = signer.run(party, || sign(warrant, presignature, share))?;
        signer.sent(party, made.partial.view.len() + made.partial.body.len());
        answers.push((share.node, made.partial));
    }
    signer.delivered();
    coordinator.delivered();
    let digest = digest.context("no signers")?;
    let key = &shares.first().context("no shares")?.public;
    coordinator.run(0, || {
        combine::finish(key, set, &ROOT_TWEAK, &digest, &answers)
    })?;
    Ok((signer.cost(), coordinator.cost()))
}
