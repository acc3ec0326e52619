//! The core's ports over the real crates: threshold combining, and the chain of charters.

use crate::core::outcome::RawTransaction;
use crate::core::ports::{
    ApprovalHead, Charters, ClusterView, CombineFailure, Combiner, Offer, Subject,
    read_certificate, verify_key_certificate,
};
use quoin_api::statements::{Answer, FinishedSignature};
use quoin_chain::Digest;
use quoin_core::cbor::Version;
use quoin_core::{
    Certificate, CharterNumber, ClusterId, NodeIndex, Payload, Rejection, Scheme, Signed,
    SignerSet, Stamp, TimeMs,
};
use quoin_policy::{Approval, Charter, Constitution, Mode, verify_genesis, verify_successor};
use quoin_protocol::combine::{self, KeyPublic, Opening};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Combines with `quoin_protocol::combine`, and reads payloads with `quoin_chain`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThresholdCombiner;

impl Combiner for ThresholdCombiner {
    fn finish(
        &self,
        key: &KeyPublic,
        subject: &Subject<'_>,
        answers: &[(NodeIndex, Answer)],
    ) -> Result<FinishedSignature, CombineFailure> {
        let decoded = decode(key, subject)?;
        let child = child(key, subject)?;
        let made = if key.threshold == 1 {
            whole(key, answers)?
        } else {
            threshold(key, &child.tweak, decoded.digest(), None, answers)?
        };
        let finished = finished(key, subject, made);
        if key.threshold == 1 {
            // What was combined has been verified on the way; what came whole has not.
            verify(key, &child, decoded.digest(), &finished)?;
        }
        Ok(finished)
    }

    fn opens(
        &self,
        key: &KeyPublic,
        set: &SignerSet,
        subject: &Subject<'_>,
        opening: &Opening,
    ) -> bool {
        let (Ok(decoded), Ok(child)) = (decode(key, subject), child(key, subject)) else {
            return false;
        };
        combine::opens(key, set, &child.tweak, decoded.digest(), opening)
    }

    fn finish_treasury(
        &self,
        key: &KeyPublic,
        subject: &Subject<'_>,
        openings: &BTreeMap<NodeIndex, Opening>,
        answers: &[(NodeIndex, Answer)],
    ) -> Result<FinishedSignature, CombineFailure> {
        let decoded = decode(key, subject)?;
        let tweak = child(key, subject)?.tweak;
        let made = threshold(key, &tweak, decoded.digest(), Some(openings), answers)?;
        Ok(finished(key, subject, made))
    }

    fn verify_finished(
        &self,
        key: &KeyPublic,
        subject: &Subject<'_>,
        finished: &FinishedSignature,
    ) -> Result<(), CombineFailure> {
        verify(
            key,
            &child(key, subject)?,
            decode(key, subject)?.digest(),
            finished,
        )
    }

    fn assemble(&self, payload: &Payload, finished: &FinishedSignature) -> Option<RawTransaction> {
        let Payload::EvmTransaction(unsigned) = payload else {
            return None;
        };
        let (r, s) = scalars(&finished.signature)?;
        let y_parity = finished.recovery_id? & 1 == 1;
        let signed = quoin_chain::assemble_evm_transaction(unsigned, r, s, y_parity).ok()?;
        Some(RawTransaction {
            raw: signed.raw,
            hash: signed.hash,
        })
    }

    fn certificate(&self, bytes: &[u8], view: &ClusterView) -> Result<KeyPublic, Rejection> {
        let public = verify_key_certificate(bytes, view)?;
        let bad = |e: String| Rejection::caller("certificate", e);
        let roster = view.rosters.get(&public.charter);
        let roster = roster.ok_or_else(|| bad("its charter is not known".to_owned()))?;
        combine::verify_certificate(&read_certificate(bytes)?, roster)
            .map_err(|e| bad(e.to_string()))?;
        Ok(public)
    }

    fn succession(&self, next: &KeyPublic, base: &KeyPublic) -> Result<(), Rejection> {
        quoin_protocol::combine::verify_succession(next, base)
            .map_err(|e| Rejection::caller("certificate", e.to_string()))
    }
}

fn failure(message: impl Into<String>) -> CombineFailure {
    CombineFailure {
        culprits: Vec::new(),
        message: message.into(),
    }
}

fn decode(key: &KeyPublic, subject: &Subject<'_>) -> Result<quoin_chain::Decoded, CombineFailure> {
    quoin_chain::decode(subject.payload, subject.account, key.scheme)
        .map_err(|rejection| failure(rejection.to_string()))
}

/// The account's key, from the stamped path. A gateway that took another would only make
/// signatures that do not verify: the signers compute it for themselves.
fn child(key: &KeyPublic, subject: &Subject<'_>) -> Result<combine::ChildKey, CombineFailure> {
    combine::derive(key, &subject.account.path).map_err(|fault| failure(fault.to_string()))
}

fn finished(
    key: &KeyPublic,
    subject: &Subject<'_>,
    (signature, recovery_id): Made,
) -> FinishedSignature {
    FinishedSignature {
        version: Version,
        request_id: subject.request_id,
        key: key.key,
        scheme: key.scheme,
        signature,
        recovery_id,
    }
}

/// A signature, and its recovery id for ECDSA.
type Made = ([u8; 64], Option<u8>);

fn threshold(
    key: &KeyPublic,
    tweak: &[u8; 32],
    digest: &Digest,
    openings: Option<&BTreeMap<NodeIndex, Opening>>,
    answers: &[(NodeIndex, Answer)],
) -> Result<Made, CombineFailure> {
    let set = SignerSet::from_unordered(answers.iter().map(|(node, _)| *node).collect())
        .ok_or_else(|| failure("the answers are not of a set of signers"))?;
    let partials: Vec<(NodeIndex, combine::Answer)> = answers
        .iter()
        .map(|(node, answer)| {
            let partial = combine::Answer {
                view: answer.view,
                body: answer.partial.clone(),
            };
            (*node, partial)
        })
        .collect();
    let made = match openings {
        None => combine::finish(key, &set, tweak, digest, &partials),
        Some(openings) => combine::finish_treasury(key, &set, tweak, digest, openings, &partials),
    };
    let made = made.map_err(|fault| CombineFailure {
        message: fault.to_string(),
        culprits: fault.culprits,
    })?;
    Ok((made.signature, made.recovery_id))
}

/// The single holder of a local key answers with the whole signature: 64 bytes, then the recovery
/// id for ECDSA.
fn whole(key: &KeyPublic, answers: &[(NodeIndex, Answer)]) -> Result<Made, CombineFailure> {
    let [(node, answer)] = answers else {
        return Err(failure("a local key has one answer"));
    };
    let malformed = || CombineFailure {
        culprits: vec![*node],
        message: "the signature is malformed".to_owned(),
    };
    let (signature, rest) = answer.partial.split_at_checked(64).ok_or_else(malformed)?;
    let signature = signature.try_into().map_err(|_| malformed())?;
    match (key.scheme, rest) {
        (Scheme::Ecdsa, [id]) => Ok((signature, Some(*id))),
        (Scheme::Ecdsa, _) => Err(malformed()),
        (_, []) => Ok((signature, None)),
        _ => Err(malformed()),
    }
}

/// Verifies the signature and, for ECDSA, that the recovery id leads to the account's key: a wrong
/// one would make a transaction of another sender.
fn verify(
    key: &KeyPublic,
    child: &combine::ChildKey,
    digest: &Digest,
    finished: &FinishedSignature,
) -> Result<(), CombineFailure> {
    combine::verify(key, &child.tweak, digest, &finished.signature).map_err(|fault| {
        CombineFailure {
            message: fault.to_string(),
            culprits: fault.culprits,
        }
    })?;
    if finished.scheme != key.scheme {
        return Err(failure("the signature names another scheme"));
    }
    match (key.scheme, digest, finished.recovery_id) {
        (Scheme::Ecdsa, Digest::Prehash(prehash), Some(id)) => {
            if recovers(&child.public_key, prehash, &finished.signature, id) {
                Ok(())
            } else {
                Err(failure("the recovery id leads to another key"))
            }
        }
        (Scheme::Ecdsa, _, _) => Err(failure("the recovery id is missing")),
        (_, _, None) => Ok(()),
        _ => Err(failure("the scheme has no recovery id")),
    }
}

fn recovers(public_key: &[u8], prehash: &[u8; 32], signature: &[u8; 64], id: u8) -> bool {
    use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
    let (Ok(signature), Some(id)) = (Signature::from_slice(signature), RecoveryId::from_byte(id))
    else {
        return false;
    };
    VerifyingKey::recover_from_prehash(prehash, &signature, id)
        .is_ok_and(|found| found.to_sec1_bytes().as_ref() == public_key)
}

/// The two scalars of a signature.
pub(crate) fn scalars(signature: &[u8; 64]) -> Option<(&[u8; 32], &[u8; 32])> {
    let (r, s) = signature.split_at_checked(32)?;
    Some((r.try_into().ok()?, s.try_into().ok()?))
}

/// The chain of charters from the genesis, each verified under the one before.
#[derive(Debug)]
pub struct CharterChain {
    constitution: Constitution,
    view: ClusterView,
    bytes: Vec<u8>,
}

impl CharterChain {
    /// Starts from the genesis charter of the cluster that this gateway was told to serve.
    ///
    /// # Errors
    /// When it is malformed, not fully signed, or of another cluster.
    pub fn from_genesis(bytes: &[u8], pinned: ClusterId) -> Result<Self, Rejection> {
        let certificate = read(bytes)?;
        let (constitution, cluster) =
            verify_genesis(&certificate).map_err(|e| refused(e.to_string()))?;
        if cluster != pinned {
            return Err(refused("the genesis is of another cluster"));
        }
        Ok(Self::new(constitution, bytes.to_vec()))
    }

    /// Starts from a constitution that was verified before; `bytes` is its signed charter.
    #[must_use]
    pub fn new(constitution: Constitution, bytes: Vec<u8>) -> Self {
        let view = view_of(&constitution);
        Self {
            constitution,
            view,
            bytes,
        }
    }

    /// The constitution in force.
    #[must_use]
    pub const fn constitution(&self) -> &Constitution {
        &self.constitution
    }
}

impl Charters for CharterChain {
    fn view(&self) -> &ClusterView {
        &self.view
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn number(&self, charter: &[u8]) -> Result<CharterNumber, Rejection> {
        Ok(read(charter)?.unverified().number)
    }

    fn offer(&mut self, now: TimeMs, charter: &[u8]) -> Result<Offer, Rejection> {
        if charter == self.bytes {
            return Ok(Offer::Known);
        }
        let certificate = read(charter)?;
        let offered = certificate.unverified();
        let (number, ours) = (offered.number, self.constitution.number());
        if number == ours {
            // The same charter may carry other signatures; another of one number is an alarm.
            return if offered.hash() == self.constitution.hash() {
                Ok(Offer::Known)
            } else {
                Err(refused("another charter of this number is in force"))
            };
        }
        if number < ours {
            return Ok(Offer::Older(number));
        }
        if number.0 - ours.0 > 1 {
            return Ok(Offer::Gap(number));
        }
        let next = verify_successor(&self.constitution, &certificate, now)
            .map_err(|e| refused(e.to_string()))?;
        *self = Self::new(next, charter.to_vec());
        Ok(Offer::Adopted)
    }

    fn stamp(&self, stamp: &Signed<Stamp>) -> Result<(), Rejection> {
        if stamp.unverified().charter_number_floor > self.constitution.number() {
            return Ok(());
        }
        self.constitution
            .verify_stamp(stamp)
            .map(|_| ())
            .map_err(|denial| {
                let field = denial
                    .field
                    .map_or("stamp".to_owned(), |f| format!("stamp.{f}"));
                Rejection::caller(field, denial.message)
            })
    }

    fn approval(&self, approval: &[u8]) -> Result<ApprovalHead, Rejection> {
        let bad = |message: String| Rejection::caller("approval", message);
        let signed = Signed::<Approval>::from_bytes(approval).map_err(|e| bad(e.to_string()))?;
        let claimed = signed.unverified();
        if claimed.cluster != self.view.cluster {
            return Err(bad("it is for another cluster".to_owned()));
        }
        let known = self.constitution.credential(signed.credential());
        let Some((_, credential)) = known.filter(|(p, _)| p.id == claimed.principal) else {
            let message = format!("`{}` has no such credential", claimed.principal);
            return Err(bad(message));
        };
        signed.verify(credential).map_err(|e| bad(e.to_string()))?;
        Ok(ApprovalHead {
            request_id: claimed.request_id,
            credential: signed.credential(),
        })
    }
}

fn refused(message: impl Into<String>) -> Rejection {
    Rejection::caller("charter", message)
}

fn read(bytes: &[u8]) -> Result<Certificate<Charter>, Rejection> {
    Certificate::from_bytes(bytes).map_err(|e| refused(e.to_string()))
}

fn view_of(constitution: &Constitution) -> ClusterView {
    let charter = constitution.charter();
    let nodes = charter.nodes.iter();
    ClusterView {
        cluster: constitution.cluster(),
        number: constitution.number(),
        hash: constitution.hash(),
        threshold: charter.threshold,
        has_sticky_budgets: charter.budgets.iter().any(|b| b.mode == Mode::Sticky),
        nodes: nodes.map(|n| (n.index, n.credential.clone())).collect(),
        rosters: (0..=constitution.number().0)
            .map(CharterNumber)
            .filter_map(|n| Some((n, Arc::clone(constitution.roster(n)?))))
            .collect(),
    }
}
