//! The frost crates 3.0: Schnorr signatures on Ed25519 and, as BIP-340, on secp256k1.
//!
//! One body for both suites. Quoin signs with the same library over its own key generation and
//! nonce sessions, so what differs is the difference of those.

use crate::book::{Book, Entry};
use crate::meter::{Cost, Meter};
use crate::plan::{BATCH, Case, ONLINE, Size, signers_of};
use anyhow::{Context, Result, anyhow};
use frost_core::keys::{KeyPackage, PublicKeyPackage, dkg, refresh};
use frost_core::round1::{SigningCommitments, SigningNonces};
use frost_core::round2::SignatureShare;
use frost_core::{Ciphersuite, Error, Identifier, SigningPackage, round1, round2};
use rand_core::OsRng;
use std::collections::BTreeMap;

/// A suite, and what its rows are called.
#[derive(Clone, Copy)]
struct Suite {
    subject: &'static str,
    scheme: &'static str,
}

/// Everything that is measured of both suites.
pub fn cases(size: Size) -> Vec<Case> {
    let ed25519 = Suite {
        subject: "frost-ed25519",
        scheme: "ed25519",
    };
    let taproot = Suite {
        subject: "frost-secp256k1-tr",
        scheme: "taproot",
    };
    let mut all = cases_of::<frost_ed25519::Ed25519Sha512>(ed25519, size);
    all.extend(cases_of::<frost_secp256k1_tr::Secp256K1Sha256TR>(
        taproot, size,
    ));
    all
}

fn cases_of<C: Ciphersuite>(suite: Suite, size: Size) -> Vec<Case> {
    vec![
        Case::new(suite.subject, 9, move |book| keys::<C>(book, suite, size)),
        Case::new(suite.subject, 5, move |book| {
            signing::<C>(book, suite, size)
        }),
    ]
}

fn failed<C: Ciphersuite>(error: Error<C>) -> anyhow::Error {
    anyhow!("{error}")
}

impl Suite {
    fn entry(self, what: &str, size: Size, note: &'static str) -> Entry {
        Entry {
            what: format!("{what}-{}", self.scheme),
            subject: self.subject,
            size: (size.t, size.n),
            note,
        }
    }
}

type Key<C> = (KeyPackage<C>, PublicKeyPackage<C>);
type Mail<C, T> = BTreeMap<Identifier<C>, T>;

fn id<C: Ciphersuite>(party: usize) -> Result<Identifier<C>> {
    Identifier::try_from(u16::try_from(party + 1)?).map_err(failed::<C>)
}

/// Key generation, or refresh when there are keys.
fn ceremony<C: Ciphersuite>(
    size: Size,
    old: Option<&[Key<C>]>,
    meter: &mut Meter,
) -> Result<Vec<Key<C>>> {
    let (n, t) = (u16::from(size.n), u16::from(size.t));
    let count = usize::from(n);
    let (mut secrets, mut first) = (Vec::new(), vec![Mail::<C, _>::new(); count]);
    for p in 0..count {
        let me = id::<C>(p)?;
        let made = meter.run(p, || match old {
            None => dkg::part1::<C, _>(me, n, t, OsRng),
            Some(_) => refresh::refresh_dkg_part1::<C, _>(me, n, t, OsRng),
        });
        let (secret, package) = made.map_err(failed::<C>)?;
        let bytes = meter.run(p, || package.serialize()).map_err(failed::<C>)?;
        for (to, mail) in first.iter_mut().enumerate().filter(|(to, _)| *to != p) {
            meter.sent(p, bytes.len());
            let read = meter.run(to, || dkg::round1::Package::deserialize(&bytes));
            mail.insert(me, read.map_err(failed::<C>)?);
        }
        secrets.push(secret);
    }
    meter.delivered();

    let (mut seconds, mut dealt) = (Vec::new(), vec![Mail::<C, _>::new(); count]);
    for (p, secret) in secrets.into_iter().enumerate() {
        let made = meter.run(p, || match old {
            None => dkg::part2(secret, &first[p]),
            Some(_) => refresh::refresh_dkg_part2(secret, &first[p]),
        });
        let (secret, packages) = made.map_err(failed::<C>)?;
        for (to, mail) in dealt.iter_mut().enumerate().filter(|(to, _)| *to != p) {
            let package = packages.get(&id::<C>(to)?).context("no dealing")?;
            let bytes = meter.run(p, || package.serialize()).map_err(failed::<C>)?;
            meter.sent(p, bytes.len());
            let read = meter.run(to, || dkg::round2::Package::deserialize(&bytes));
            mail.insert(id::<C>(p)?, read.map_err(failed::<C>)?);
        }
        seconds.push(secret);
    }
    meter.delivered();

    let mut keys = Vec::new();
    for (p, secret) in seconds.iter().enumerate() {
        let previous = old.map(|keys| keys[p].clone());
        let made = meter.run(p, || match previous {
            None => dkg::part3(secret, &first[p], &dealt[p]),
            Some((key, public)) => {
                refresh::refresh_dkg_shares(secret, &first[p], &dealt[p], public, key)
            }
        });
        keys.push(made.map_err(failed::<C>)?);
    }
    Ok(keys)
}

fn keys<C: Ciphersuite>(book: &mut Book, suite: Suite, size: Size) -> Result<()> {
    let mut meter = Meter::new(size.n.into());
    let keys = ceremony::<C>(size, None, &mut meter)?;
    let note = "no transcript is confirmed";
    book.add(suite.entry("dkg", size, note), meter.cost());
    let mut meter = Meter::new(size.n.into());
    ceremony::<C>(size, Some(&keys), &mut meter)?;
    book.add(suite.entry("refresh", size, note), meter.cost());
    Ok(())
}

/// A signer's nonces, and its commitments as the coordinator gets them.
type Pool<C> = (Vec<SigningNonces<C>>, Vec<Vec<u8>>);

fn signing<C: Ciphersuite>(book: &mut Book, suite: Suite, size: Size) -> Result<()> {
    let keys = ceremony::<C>(size, None, &mut Meter::new(size.n.into()))?;
    let keys = &keys[..signers_of(size).count()];
    let mut meter = Meter::new(keys.len());
    let mut pools: Vec<Pool<C>> = Vec::new();
    for (p, (key, _)) in keys.iter().enumerate() {
        pools.push(preprocess(p, key, &mut meter)?);
    }
    meter.delivered();
    let offline = meter.cost_of_one(BATCH);
    let note = "commitments to the coordinator only, who decodes them when they are used";
    book.add(suite.entry("presign", size, note), offline.clone());

    for turn in 0..usize::try_from(ONLINE)? {
        let (signer, coordinator) = online(keys, &pools, turn)?;
        let whole = offline.then(&signer).coordinated(&coordinator);
        book.add(suite.entry("sign-signer", size, ""), signer);
        let note = "sends the package of all commitments";
        book.add(suite.entry("sign-coordinator", size, note), coordinator);
        book.add(suite.entry("sign", size, ""), whole);
    }
    Ok(())
}

fn preprocess<C: Ciphersuite>(
    party: usize,
    key: &KeyPackage<C>,
    meter: &mut Meter,
) -> Result<Pool<C>> {
    let count = u8::try_from(BATCH / NONCE_CALLS)?;
    let (mut nonces, mut commitments) = (Vec::new(), Vec::new());
    for _ in 0..NONCE_CALLS {
        let share = key.signing_share();
        let made = meter.run(party, || {
            round1::preprocess::<C, _>(count, share, &mut OsRng)
        });
        nonces.extend(made.0);
        for commitment in made.1 {
            let bytes = meter.run(party, || commitment.serialize());
            let bytes = bytes.map_err(failed::<C>)?;
            meter.sent(party, bytes.len());
            commitments.push(bytes);
        }
    }
    Ok((nonces, commitments))
}

/// One signature: the cost of every signer, and of the coordinator.
fn online<C: Ciphersuite>(keys: &[Key<C>], pools: &[Pool<C>], turn: usize) -> Result<(Cost, Cost)> {
    let (mut signer, mut coordinator) = (Meter::new(keys.len()), Meter::new(1));
    let mut of_all = Mail::<C, _>::new();
    for (p, (_, commitments)) in pools.iter().enumerate() {
        let bytes = &commitments[turn];
        let read = coordinator.run(0, || SigningCommitments::deserialize(bytes));
        of_all.insert(id::<C>(p)?, read.map_err(failed::<C>)?);
    }
    let message = u64::try_from(turn)?.to_be_bytes();
    let package = coordinator.run(0, || SigningPackage::new(of_all, &message));
    let sent = coordinator
        .run(0, || package.serialize())
        .map_err(failed::<C>)?;
    coordinator.sent(0, sent.len() * keys.len());

    let mut shares = Mail::<C, _>::new();
    for (p, (key, _)) in keys.iter().enumerate() {
        let made = signer.run(p, || {
            let package = SigningPackage::deserialize(&sent)?;
            let share = round2::sign(&package, &pools[p].0[turn], key)?;
            Ok(share.serialize())
        });
        let bytes = made.map_err(failed::<C>)?;
        signer.sent(p, bytes.len());
        let read = coordinator.run(0, || SignatureShare::deserialize(&bytes));
        shares.insert(id::<C>(p)?, read.map_err(failed::<C>)?);
    }
    signer.delivered();
    coordinator.delivered();
    let public = &keys.first().context("no signers")?.1;
    let made = coordinator.run(0, || frost_core::aggregate(&package, &shares, public));
    made.map_err(failed::<C>)?;
    Ok((signer.cost(), coordinator.cost()))
}

/// The library makes at most 255 nonces in one call.
const NONCE_CALLS: u32 = 2;
