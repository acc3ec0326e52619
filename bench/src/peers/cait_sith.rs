//! cait-sith 0.8: ECDSA from triples, with presignatures, refresh and resharing.
//!
//! Its protocols encode and decode their own messages, so that time is in its figures. A
//! presignature takes two triples; it has no way to make many at once.

use crate::book::{Book, Entry};
use crate::meter::{Cost, Meter};
use crate::plan::{Case, Size, signers_of};
use anyhow::{Result, anyhow, bail};
use cait_sith::protocol::{Action, Participant, Protocol};
use cait_sith::triples::{TripleGenerationOutput, generate_triple};
use cait_sith::{KeygenOutput, PresignArguments, PresignOutput};
use k256::Secp256k1;

const SUBJECT: &str = "cait-sith";

/// Everything that is measured of it.
pub fn cases(size: Size) -> Vec<Case> {
    vec![
        Case::new(SUBJECT, 9, move |book| keys(book, size)),
        Case::new(SUBJECT, 5, move |book| signing(book, size)),
    ]
}

type Running<'a, T> = Vec<(Participant, Box<dyn Protocol<Output = T> + 'a>)>;

/// Runs a protocol to its end; results are in the order of the parties.
fn drive<T>(mut parties: Running<'_, T>, meter: &mut Meter) -> Result<Vec<T>> {
    let mut results: Vec<Option<T>> = parties.iter().map(|_| None).collect();
    loop {
        let mut mail = Vec::new();
        for (index, (me, protocol)) in parties.iter_mut().enumerate() {
            while results[index].is_none() {
                match meter.run(index, || protocol.poke())? {
                    Action::Wait => break,
                    Action::SendMany(data) => mail.push((index, *me, None, data)),
                    Action::SendPrivate(to, data) => mail.push((index, *me, Some(to), data)),
                    Action::Return(result) => results[index] = Some(result),
                }
            }
        }
        if results.iter().all(Option::is_some) && mail.is_empty() {
            return Ok(results.into_iter().flatten().collect());
        }
        if mail.is_empty() {
            bail!("the protocol is stuck");
        }
        meter.delivered();
        for (sender, from, to, data) in mail {
            for (index, (me, protocol)) in parties.iter_mut().enumerate() {
                if index == sender || to.is_some_and(|to| to != *me) {
                    continue;
                }
                meter.sent(sender, data.len());
                let data = data.clone();
                meter.run(index, || protocol.message(from, data));
            }
        }
    }
}

fn participants(count: u8) -> Vec<Participant> {
    (0..u32::from(count)).map(Participant::from).collect()
}

fn keygen(size: Size, meter: &mut Meter) -> Result<Vec<KeygenOutput<Secp256k1>>> {
    let all = participants(size.n);
    let mut running: Running<'_, _> = Vec::new();
    for (index, me) in all.iter().enumerate() {
        let made = meter.run(index, || {
            cait_sith::keygen::<Secp256k1>(&all, *me, size.t.into())
        });
        running.push((*me, Box::new(made.map_err(start)?)));
    }
    drive(running, meter)
}

fn start(error: cait_sith::protocol::InitializationError) -> anyhow::Error {
    anyhow!("cannot start: {error:?}")
}

fn entry(what: &str, size: Size, note: &'static str) -> Entry {
    Entry {
        what: what.to_owned(),
        subject: SUBJECT,
        size: (size.t, size.n),
        note,
    }
}

fn keys(book: &mut Book, size: Size) -> Result<()> {
    let mut meter = Meter::new(size.n.into());
    let shares = keygen(size, &mut meter)?;
    book.add(entry("dkg", size, ""), meter.cost());

    let same = reshared(&shares, size, size)?;
    book.add(entry("refresh", size, ""), same);
    let larger = reshared(&shares, size, size.reshared())?;
    book.add(entry("reshare", size, size.reshare_note()), larger);
    Ok(())
}

/// Reshares among `new.n` participants; the same size is its refresh.
fn reshared(shares: &[KeygenOutput<Secp256k1>], old: Size, new: Size) -> Result<Cost> {
    let (before, after) = (participants(old.n), participants(new.n));
    let mut meter = Meter::new(new.n.into());
    let mut running: Running<'_, _> = Vec::new();
    for (index, me) in after.iter().enumerate() {
        let own = shares.get(index).map(|s| s.private_share);
        let made = meter.run(index, || {
            cait_sith::reshare::<Secp256k1>(
                &before,
                old.t.into(),
                &after,
                new.t.into(),
                *me,
                own,
                shares[0].public_key,
            )
        });
        running.push((*me, Box::new(made.map_err(start)?)));
    }
    drive(running, &mut meter)?;
    Ok(meter.cost())
}

fn signing(book: &mut Book, size: Size) -> Result<()> {
    let shares = keygen(size, &mut Meter::new(size.n.into()))?;
    let signers: Vec<_> = signers_of(size)
        .map(|i| Participant::from(u32::from(i)))
        .collect();

    let mut meter = Meter::new(signers.len());
    let presigned = presign(&signers, &shares, size, &mut meter)?;
    let offline = meter.cost();
    book.add(
        entry("presign", size, "two triples and a presignature"),
        offline.clone(),
    );

    let mut meter = Meter::new(signers.len());
    let mut running: Running<'_, _> = Vec::new();
    for (index, (me, presignature)) in signers.iter().zip(presigned).enumerate() {
        let digest = k256::Scalar::from(0x1234_5678_u64);
        let made = meter.run(index, || {
            cait_sith::sign(&signers, *me, shares[0].public_key, presignature, digest)
        });
        running.push((*me, Box::new(made.map_err(start)?)));
    }
    drive(running, &mut meter)?;
    let online = meter.cost();
    let note = "every party signs, combines and verifies";
    book.add(entry("sign-coordinator", size, note), online.clone());
    book.add(entry("sign", size, ""), offline.then(&online));
    Ok(())
}

/// One presignature from nothing.
fn presign(
    signers: &[Participant],
    shares: &[KeygenOutput<Secp256k1>],
    size: Size,
    meter: &mut Meter,
) -> Result<Vec<PresignOutput<Secp256k1>>> {
    let first = triple(signers, size, meter)?;
    // Triples are independent of each other, so the second one takes no rounds of its own.
    let mut aside = Meter::new(signers.len());
    let second = triple(signers, size, &mut aside)?;
    meter.absorb(&aside);
    let mut running: Running<'_, _> = Vec::new();
    for (index, (first, second)) in first.into_iter().zip(second).enumerate() {
        let arguments = PresignArguments {
            triple0: first,
            triple1: second,
            keygen_out: shares[index].clone(),
            threshold: size.t.into(),
        };
        let me = signers[index];
        let made = meter.run(index, || cait_sith::presign(signers, me, arguments));
        running.push((me, Box::new(made.map_err(start)?)));
    }
    drive(running, meter)
}

fn triple(
    signers: &[Participant],
    size: Size,
    meter: &mut Meter,
) -> Result<Vec<TripleGenerationOutput<Secp256k1>>> {
    let mut running: Running<'_, _> = Vec::new();
    for (index, me) in signers.iter().enumerate() {
        let made = meter.run(index, || {
            generate_triple::<Secp256k1>(signers, *me, size.t.into())
        });
        running.push((*me, Box::new(made.map_err(start)?)));
    }
    drive(running, meter)
}
