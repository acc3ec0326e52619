//! cggmp24 0.7: ECDSA over Paillier encryption, with presignatures.
//!
//! Each party needs four safe primes and auxiliary data first: minutes of work, once for a
//! committee. Both come from a fixture and a dealer here and are in no figure. It runs on its
//! `num-bigint` back end, its default and the one with a permissive licence; over GMP it is faster.

use crate::book::{Book, Entry};
use crate::meter::{Cost, Meter};
use crate::plan::{Case, Size, signers_of};
use crate::wire;
use anyhow::{Context, Result, anyhow, bail};
use cggmp24::backend::Integer;
use cggmp24::key_share::AuxInfo;
use cggmp24::round_based::state_machine::{ProceedResult, StateMachine};
use cggmp24::round_based::{Incoming, MessageDestination, MessageType};
use cggmp24::security_level::SecurityLevel128;
use cggmp24::supported_curves::Secp256k1;
use cggmp24::{
    DataToSign, ExecutionId, IncompleteKeyShare, KeyShare, PartialSignature, PregeneratedPrimes,
};
use rand_core::{OsRng, RngCore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;

const SUBJECT: &str = "cggmp24";

/// Safe primes, four to a line; lines that begin with `#` say what they are.
const PRIMES: &str = include_str!("../../fixtures/safe_primes.txt");

/// Everything that is measured of it.
pub fn cases(size: Size) -> Vec<Case> {
    let mut shares = Vec::new();
    vec![
        Case::new(SUBJECT, 9, move |book| keys(book, size)),
        Case::new(SUBJECT, 3, move |book| {
            if shares.is_empty() {
                shares = complete(size)?;
            }
            signing(book, size, &shares)
        }),
    ]
}

fn entry(what: &str, size: Size, note: &'static str) -> Entry {
    Entry {
        what: what.to_owned(),
        subject: SUBJECT,
        size: (size.t, size.n),
        note,
    }
}

fn execution() -> [u8; 32] {
    let mut id = [0; 32];
    OsRng.fill_bytes(&mut id);
    id
}

/// Runs state machines to their ends; outputs are in the order of the parties.
fn drive<M: StateMachine>(mut machines: Vec<M>, meter: &mut Meter) -> Result<Vec<M::Output>>
where
    M::Msg: Serialize + DeserializeOwned,
{
    let count = machines.len();
    let mut outputs: Vec<Option<M::Output>> = machines.iter().map(|_| None).collect();
    let mut boxes: Vec<VecDeque<Incoming<M::Msg>>> = (0..count).map(|_| VecDeque::new()).collect();
    let mut next_id = 0;
    loop {
        let mut mail = Vec::new();
        for (p, machine) in machines.iter_mut().enumerate() {
            while outputs[p].is_none() {
                match meter.run(p, || machine.proceed()) {
                    ProceedResult::SendMsg(message) => mail.push((p, message)),
                    ProceedResult::NeedsOneMoreMessage => {
                        let Some(message) = boxes[p].pop_front() else {
                            break;
                        };
                        let taken = meter.run(p, || machine.received_msg(message));
                        taken.map_err(|_| anyhow!("a message was refused"))?;
                    }
                    ProceedResult::Yielded => {}
                    ProceedResult::Output(output) => outputs[p] = Some(output),
                    ProceedResult::Error(error) => return Err(error.into()),
                }
            }
        }
        if outputs.iter().all(Option::is_some) && mail.is_empty() {
            return Ok(outputs.into_iter().flatten().collect());
        }
        if mail.is_empty() {
            bail!("the protocol is stuck");
        }
        meter.delivered();
        for (from, message) in mail {
            let bytes = wire::encode(meter, from, &message.msg)?;
            let (to, msg_type) = match message.recipient {
                MessageDestination::AllParties => (None, MessageType::Broadcast),
                MessageDestination::OneParty(to) => (Some(usize::from(to)), MessageType::P2P),
            };
            let receivers = (0..count).filter(|p| *p != from && to.is_none_or(|to| to == *p));
            for receiver in receivers {
                meter.sent(from, bytes.len());
                next_id += 1;
                boxes[receiver].push_back(Incoming {
                    id: next_id,
                    sender: u16::try_from(from)?,
                    msg_type,
                    msg: wire::decode(meter, receiver, &bytes)?,
                });
            }
        }
    }
}

fn keygen(size: Size, meter: &mut Meter) -> Result<Vec<IncompleteKeyShare<Secp256k1>>> {
    let id = execution();
    let mut rngs = vec![OsRng; size.n.into()];
    let mut machines = Vec::new();
    for (p, rng) in (0u16..).zip(&mut rngs) {
        let eid = ExecutionId::new(&id);
        machines.push(meter.run(p.into(), || {
            cggmp24::keygen::<Secp256k1>(eid, p, size.n.into())
                .set_threshold(size.t.into())
                .into_state_machine(rng)
        }));
    }
    let made = drive(machines, meter)?;
    made.into_iter().map(|m| Ok(m?)).collect()
}

fn keys(book: &mut Book, size: Size) -> Result<()> {
    let mut meter = Meter::new(size.n.into());
    keygen(size, &mut meter)?;
    let note = "without auxiliary data and safe primes";
    book.add(entry("dkg", size, note), meter.cost());
    Ok(())
}

/// Auxiliary data from the primes of the fixture, which the parties take in turn.
fn auxiliary(size: Size) -> Result<Vec<AuxInfo<SecurityLevel128>>> {
    let mut sets = Vec::new();
    for line in PRIMES.lines().filter(|l| !l.starts_with('#')) {
        let prime = |text| Integer::from_str_radix(text, 16).context("no number");
        let four: Vec<Integer> = line.split(' ').map(prime).collect::<Result<_>>()?;
        let four: [Integer; 4] = four.try_into().map_err(|_| anyhow!("not four primes"))?;
        let set = PregeneratedPrimes::<SecurityLevel128>::try_from(four);
        sets.push(set.map_err(|_| anyhow!("a prime is too small"))?);
    }
    let primes = sets.iter().cycle().take(size.n.into()).cloned().collect();
    Ok(cggmp24::trusted_dealer::generate_aux_data_with_primes(
        &mut OsRng, primes, false,
    )?)
}

fn complete(size: Size) -> Result<Vec<KeyShare<Secp256k1>>> {
    let core = keygen(size, &mut Meter::new(size.n.into()))?;
    let parts = core.into_iter().zip(auxiliary(size)?);
    let join = |parts| KeyShare::from_parts(parts).map_err(|e| anyhow!("{}", e.into_error()));
    parts.map(join).collect()
}

fn signing(book: &mut Book, size: Size, shares: &[KeyShare<Secp256k1>]) -> Result<()> {
    let signers: Vec<u16> = signers_of(size).map(u16::from).collect();
    let mut meter = Meter::new(signers.len());
    let id = execution();
    let mut rngs = vec![OsRng; signers.len()];
    let mut machines = Vec::new();
    for (p, rng) in (0u16..).zip(&mut rngs) {
        let share = &shares[usize::from(p)];
        machines.push(meter.run(p.into(), || {
            cggmp24::signing(ExecutionId::new(&id), p, &signers, share)
                .generate_presignature_sync(rng)
        }));
    }
    let mut presigned = Vec::new();
    for made in drive(machines, &mut meter)? {
        presigned.push(made?);
    }
    let offline = meter.cost();
    let note = "num-bigint back end; primes and auxiliary data from a fixture";
    book.add(entry("presign", size, note), offline.clone());

    let message = DataToSign::digest::<sha2::Sha256>(&id);
    let (mut signer, mut coordinator) = (Meter::new(signers.len()), Meter::new(1));
    let (mut partials, mut public) = (Vec::new(), None);
    for (p, (presignature, data)) in presigned.into_iter().enumerate() {
        let partial = signer.run(p, || presignature.issue_partial_signature(message));
        let bytes = wire::encode(&mut signer, p, &partial)?;
        signer.sent(p, bytes.len());
        partials.push(wire::decode(&mut coordinator, 0, &bytes)?);
        public.get_or_insert(data);
    }
    signer.delivered();
    coordinator.delivered();
    let data = public.context("no signers")?;
    let key = &shares[0].core.shared_public_key;
    let verified = coordinator.run(0, || {
        let signature = PartialSignature::combine(&partials, &data, message);
        signature.map(|s| s.verify(key, &message))
    });
    verified.context("partial signatures do not combine")??;
    note_online(book, size, &offline, &signer.cost(), &coordinator.cost());
    Ok(())
}

fn note_online(book: &mut Book, size: Size, offline: &Cost, signer: &Cost, coordinator: &Cost) {
    let whole = offline.then(signer).coordinated(coordinator);
    book.add(entry("sign-signer", size, ""), signer.clone());
    book.add(entry("sign-coordinator", size, ""), coordinator.clone());
    book.add(entry("sign", size, ""), whole);
}
