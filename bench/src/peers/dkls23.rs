//! dkls23-secp256k1 0.6: ECDSA after DKLs23, as Quoin's, over base transfers made with the key.
//!
//! The message is bound from the first phase on, so there are no presignatures: signing is
//! measured whole, and its last two phases also by themselves.

use crate::book::{Book, Entry};
use crate::meter::{Cost, Meter};
use crate::plan::{Case, Size, signers_of};
use crate::wire;
use anyhow::{Result, anyhow};
use dkls23_secp256k1::protocols::signing::SignData;
use dkls23_secp256k1::protocols::{Abort, Parameters, PartyIndex};
use dkls23_secp256k1::{DkgSession, Party, SignSession};
use k256_14::{Scalar, Secp256k1};
use rand_core::{OsRng, RngCore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

const SUBJECT: &str = "dkls23-secp256k1";

/// Everything that is measured of it.
pub fn cases(size: Size) -> Vec<Case> {
    let mut parties: Vec<Party> = Vec::new();
    let keys = Case::new(SUBJECT, 3, move |book| keys(book, size).map(drop));
    let signing = Case::new(SUBJECT, 15, move |book| {
        if parties.is_empty() {
            parties = keys_quietly(size)?;
        }
        signing(book, size, &parties)
    });
    vec![keys, signing]
}

fn aborted(abort: Abort) -> anyhow::Error {
    anyhow!("party {} aborted: {}", abort.index, abort.description())
}

fn index(party: usize) -> Result<PartyIndex> {
    PartyIndex::new(u8::try_from(party + 1)?).map_err(|e| anyhow!("{e}"))
}

fn entry(what: &str, size: Size, note: &'static str) -> Entry {
    Entry {
        what: what.to_owned(),
        subject: SUBJECT,
        size: (size.t, size.n),
        note,
    }
}

/// Delivers messages that each have one receiver; for each receiver what it gets, in order.
fn deliver<T: Serialize + DeserializeOwned>(
    meter: &mut Meter,
    sent: &[Vec<T>],
    receiver: impl Fn(&T) -> PartyIndex,
) -> Result<Vec<Vec<T>>> {
    let mut received: Vec<Vec<T>> = sent.iter().map(|_| Vec::new()).collect();
    for (from, messages) in sent.iter().enumerate() {
        for message in messages {
            let to = usize::from(receiver(message).as_u8()) - 1;
            received[to].push(wire::post(meter, from, to, message)?);
        }
    }
    Ok(received)
}

/// Deals one row of scalars each, as phase 1 of key generation and of refresh does.
fn fragments(rows: &[Vec<Scalar>], meter: &mut Meter) -> Result<Vec<Vec<Scalar>>> {
    let mut columns = vec![Vec::new(); rows.len()];
    for (from, row) in rows.iter().enumerate() {
        for (to, fragment) in row.iter().enumerate() {
            let own = from == to;
            columns[to].push(if own {
                *fragment
            } else {
                wire::post(meter, from, to, fragment)?
            });
        }
    }
    meter.delivered();
    Ok(columns)
}

/// Everyone's broadcasts, by sender.
fn by_sender<T>(messages: Vec<T>) -> Result<BTreeMap<PartyIndex, T>> {
    let named = messages.into_iter().enumerate();
    named.map(|(p, m)| Ok((index(p)?, m))).collect()
}

fn keys_quietly(size: Size) -> Result<Vec<Party>> {
    keygen(size, &mut Meter::new(size.n.into()))
}

fn keys(book: &mut Book, size: Size) -> Result<()> {
    let mut meter = Meter::new(size.n.into());
    let parties = keygen(size, &mut meter)?;
    let note = "base oblivious transfers for signing included";
    book.add(entry("dkg", size, note), meter.cost());
    let note = "keeps its base oblivious transfers";
    book.add(entry("refresh", size, note), refresh(size, &parties)?);
    Ok(())
}

fn keygen(size: Size, meter: &mut Meter) -> Result<Vec<Party>> {
    let n = usize::from(size.n);
    let parameters = Parameters::new(size.t, size.n).map_err(|e| anyhow!("{e}"))?;
    let mut session_id = [0; 32];
    OsRng.fill_bytes(&mut session_id);
    let new = |p| {
        Ok(DkgSession::<Secp256k1>::new(
            parameters.clone(),
            index(p)?,
            session_id.to_vec(),
        ))
    };
    let mut sessions: Vec<_> = (0..n).map(new).collect::<Result<_>>()?;

    let rows = (0..n).map(|p| meter.run(p, || sessions[p].phase1()));
    let rows: Vec<_> = rows.collect();
    let fragments = fragments(&rows, meter)?;

    let (mut proofs, mut zero2, mut chain2) = (Vec::new(), Vec::new(), Vec::new());
    for (p, session) in sessions.iter_mut().enumerate() {
        let made = meter.run(p, || session.phase2(&fragments[p]));
        let (proof, zero, chain) = made.map_err(aborted)?;
        proofs.push(proof);
        zero2.push(zero);
        chain2.push(chain);
    }
    let proofs = wire::publish(meter, &proofs)?;
    let chain2 = wire::publish(meter, &chain2)?;
    let zero2 = deliver(meter, &zero2, |m| m.parties.receiver)?;
    meter.delivered();

    let (mut zero3, mut mul3, mut chain3) = (Vec::new(), Vec::new(), Vec::new());
    for (p, session) in sessions.iter_mut().enumerate() {
        let (zero, mul, chain) = meter.run(p, || session.phase3()).map_err(aborted)?;
        zero3.push(zero);
        mul3.push(mul);
        chain3.push(chain);
    }
    let chain3 = wire::publish(meter, &chain3)?;
    let zero3 = deliver(meter, &zero3, |m| m.parties.receiver)?;
    let mul3 = deliver(meter, &mul3, |m| m.parties.receiver)?;
    meter.delivered();

    let chains = chain2.into_iter().zip(chain3);
    let mut parties = Vec::new();
    for (p, (session, (chain2, chain3))) in sessions.into_iter().zip(chains).enumerate() {
        let (chain2, chain3) = (by_sender(chain2)?, by_sender(chain3)?);
        let made = meter.run(p, || {
            session.phase4(
                &proofs[p],
                &zero2[p],
                &zero3[p],
                &mul3[p],
                &chain2,
                &chain3,
                |_| String::new(),
            )
        });
        parties.push(made.map_err(aborted)?.0);
    }
    Ok(parties)
}

/// The refresh that keeps the state of oblivious transfer.
fn refresh(size: Size, parties: &[Party]) -> Result<Cost> {
    let mut meter = Meter::new(size.n.into());
    let sid = [7; 32];
    let rows = parties.iter().enumerate();
    let rows = rows.map(|(p, party)| meter.run(p, || party.refresh_phase1()));
    let rows: Vec<_> = rows.collect();
    let fragments = fragments(&rows, &mut meter)?;

    let (mut own, mut proofs, mut kept, mut sent) = (vec![], vec![], vec![], vec![]);
    for (p, party) in parties.iter().enumerate() {
        let (correction, proof, keep, transmit) =
            meter.run(p, || party.refresh_phase2(&sid, &fragments[p]));
        own.push(correction);
        proofs.push(proof);
        kept.push(keep);
        sent.push(transmit);
    }
    let proofs = wire::publish(&mut meter, &proofs)?;
    let second = deliver(&mut meter, &sent, |m| m.parties.receiver)?;
    meter.delivered();

    let (mut keep3, mut sent) = (vec![], vec![]);
    for (p, party) in parties.iter().enumerate() {
        let (keep, transmit) = meter.run(p, || party.refresh_phase3(&kept[p]));
        keep3.push(keep);
        sent.push(transmit);
    }
    let third = deliver(&mut meter, &sent, |m| m.parties.receiver)?;
    meter.delivered();

    for (p, party) in parties.iter().enumerate() {
        let made = meter.run(p, || {
            party.refresh_phase4(&sid, &own[p], &proofs[p], &keep3[p], &second[p], &third[p])
        });
        made.map_err(aborted)?;
    }
    Ok(meter.cost())
}

fn signing(book: &mut Book, size: Size, parties: &[Party]) -> Result<()> {
    let (offline, online) = sign(size, parties)?;
    let whole = offline.then(&online);
    let note = "whole signing: it has no presignatures";
    book.add(entry("presign", size, note), whole.clone());
    let note = "phases 3 and 4; every party combines and verifies";
    book.add(entry("sign-coordinator", size, note), online);
    book.add(entry("sign", size, ""), whole);
    Ok(())
}

/// Signs once; the cost of phases 1 and 2, and of phases 3 and 4.
fn sign(size: Size, parties: &[Party]) -> Result<(Cost, Cost)> {
    let signers: Vec<usize> = signers_of(size).map(usize::from).collect();
    let (mut offline, mut online) = (Meter::new(signers.len()), Meter::new(signers.len()));
    let (mut sign_id, mut message_hash) = ([0; 32], [0; 32]);
    OsRng.fill_bytes(&mut sign_id);
    OsRng.fill_bytes(&mut message_hash);

    let (mut sessions, mut sent) = (Vec::new(), Vec::new());
    for p in &signers {
        let others = signers.iter().filter(|o| *o != p);
        let data = SignData {
            sign_id: sign_id.to_vec(),
            counterparties: others.map(|o| index(*o)).collect::<Result<_>>()?,
            message_hash,
        };
        let started = offline.run(*p, || SignSession::new(&parties[*p], data));
        let (session, transmit) = started.map_err(aborted)?;
        sessions.push(session);
        sent.push(transmit);
    }
    let first = deliver(&mut offline, &sent, |m| m.parties.receiver)?;
    offline.delivered();

    let mut sent = Vec::new();
    for (p, session) in sessions.iter_mut().enumerate() {
        let transmit = offline.run(p, || session.phase2(&first[p]));
        sent.push(transmit.map_err(aborted)?);
    }
    let second = deliver(&mut offline, &sent, |m| m.parties.receiver)?;
    offline.delivered();

    let mut broadcasts = Vec::new();
    for (p, session) in sessions.iter_mut().enumerate() {
        let made = online.run(p, || session.phase3(&second[p]));
        broadcasts.push(made.map_err(aborted)?);
    }
    let broadcasts = wire::publish(&mut online, &broadcasts)?;
    online.delivered();
    for (p, session) in sessions.into_iter().enumerate() {
        let made = online.run(p, || session.phase4(&broadcasts[p], true));
        made.map_err(aborted)?;
    }
    Ok((offline.cost(), online.cost()))
}
