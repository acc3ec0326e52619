//! What the core asks of the layers below, as traits, so that a simulator can put its own behind.

use super::outcome::RawTransaction;
use quoin_api::statements::{Answer, FinishedSignature};
use quoin_core::stamp::Account;
use quoin_core::statement::Certificate;
use quoin_core::{
    CharterHash, CharterNumber, ClusterId, CredentialId, NodeIndex, Payload, PublicCredential,
    Rejection, RequestId, Signed, SignerSet, Stamp, TimeMs,
};
use quoin_protocol::combine::{KeyPublic, Opening};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Largest certificate of a key that is decoded: the record and 15 signatures.
const KEY_CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// What the charter in force says about the cluster, as far as a gateway needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// The cluster.
    pub cluster: ClusterId,
    /// The charter's number.
    pub number: CharterNumber,
    /// The charter's hash.
    pub hash: CharterHash,
    /// How many nodes sign.
    pub threshold: u8,
    /// Whether it has budgets that are spent through one signer set at a time.
    pub has_sticky_budgets: bool,
    /// The nodes, with the credential under which each signs its statements.
    pub nodes: BTreeMap<NodeIndex, PublicCredential>,
    /// The nodes of every charter so far: a key is certified by those of the charter that its record
    /// names.
    pub rosters: BTreeMap<CharterNumber, Arc<BTreeMap<NodeIndex, PublicCredential>>>,
}

impl ClusterView {
    /// The holders of a key that are still in the charter in force, each with the identity to which
    /// its share was dealt.
    #[must_use]
    pub fn live_holders(&self, key: &KeyPublic) -> BTreeSet<NodeIndex> {
        let Some(dealt) = self.rosters.get(&key.charter) else {
            return BTreeSet::new();
        };
        let holders = key.public_shares.iter().map(|s| s.node);
        let same = |n: &NodeIndex| {
            self.nodes
                .get(n)
                .is_some_and(|now| dealt.get(n) == Some(now))
        };
        holders.filter(same).collect()
    }
}

/// What became of a charter that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It follows the one in force, and is in force now.
    Adopted,
    /// It is the one in force.
    Known,
    /// It is older than the one in force.
    Older(CharterNumber),
    /// It is further ahead than its immediate predecessor, which is not known here.
    Gap(CharterNumber),
}

/// What the core reads from an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalHead {
    /// The request that is approved.
    pub request_id: RequestId,
    /// Who signed.
    pub credential: CredentialId,
}

/// The charter in force, and what follows from it.
pub trait Charters: Send {
    /// The cluster under the charter in force.
    fn view(&self) -> &ClusterView;

    /// The charter in force, with its signatures.
    fn bytes(&self) -> &[u8];

    /// The number of a charter, whose signatures are not checked.
    ///
    /// # Errors
    /// When it is malformed.
    fn number(&self, charter: &[u8]) -> Result<CharterNumber, Rejection>;

    /// Takes the charter into force when it follows the one that is.
    ///
    /// # Errors
    /// When it is malformed, or its signatures do not satisfy its predecessor.
    fn offer(&mut self, now: TimeMs, charter: &[u8]) -> Result<Offer, Rejection>;

    /// Checks a stamp's signature as far as the charter in force allows: a stamp that asks for a
    /// newer charter may be of somebody who is new in it, and passes.
    ///
    /// # Errors
    /// When the charter does not know the credential, or it did not sign.
    fn stamp(&self, stamp: &Signed<Stamp>) -> Result<(), Rejection>;

    /// Reads an approval, and checks its signature where the charter knows the signer.
    ///
    /// # Errors
    /// When it is malformed or forged.
    fn approval(&self, approval: &[u8]) -> Result<ApprovalHead, Rejection>;
}

/// Why answers do not combine, or a finished signature does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CombineFailure {
    /// Who is to blame, when that can be told.
    pub culprits: Vec<NodeIndex>,
    /// What is wrong, for people.
    pub message: String,
}

/// What a signature is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The request.
    pub request_id: RequestId,
    /// The payload.
    pub payload: &'a Payload,
    /// The account that the stamp names.
    pub account: &'a Account,
}

/// Combines partial signatures and verifies results; holds no secret.
pub trait Combiner: Send {
    /// Combines the answers of all signers, and verifies the result under the public key.
    ///
    /// # Errors
    /// When an answer is wrong, or the result does not verify.
    fn finish(
        &self,
        key: &KeyPublic,
        subject: &Subject<'_>,
        answers: &[(NodeIndex, Answer)],
    ) -> Result<FinishedSignature, CombineFailure>;

    /// Whether an opening of a treasury key binds exactly what `set` was asked to sign. That it is
    /// its signer's is not checked here.
    fn opens(
        &self,
        key: &KeyPublic,
        set: &SignerSet,
        subject: &Subject<'_>,
        opening: &Opening,
    ) -> bool;

    /// Combines the answers of the second round of a treasury key, given the openings of the
    /// first, and verifies the result under the public key.
    ///
    /// # Errors
    /// As [`Combiner::finish`], and when the openings are not those of one binding.
    fn finish_treasury(
        &self,
        key: &KeyPublic,
        subject: &Subject<'_>,
        openings: &BTreeMap<NodeIndex, Opening>,
        answers: &[(NodeIndex, Answer)],
    ) -> Result<FinishedSignature, CombineFailure>;

    /// Verifies a finished signature under the public key.
    ///
    /// # Errors
    /// When it does not verify.
    fn verify_finished(
        &self,
        key: &KeyPublic,
        subject: &Subject<'_>,
        finished: &FinishedSignature,
    ) -> Result<(), CombineFailure>;

    /// The transaction in its chain's wire form; `None` for payloads that are no transaction.
    fn assemble(&self, payload: &Payload, finished: &FinishedSignature) -> Option<RawTransaction>;

    /// Reads a key's certificate, which all nodes of the charter that it names must have signed.
    ///
    /// # Errors
    /// When it is malformed, of another cluster, of a charter that is not known, or a node's
    /// signature is missing or wrong.
    fn certificate(&self, bytes: &[u8], view: &ClusterView) -> Result<KeyPublic, Rejection> {
        verify_key_certificate(bytes, view)
    }

    /// Checks that the record `next` is of the share epoch after that of `base`, of the same key.
    ///
    /// # Errors
    /// When it is of another key, or does not follow.
    fn succession(&self, next: &KeyPublic, base: &KeyPublic) -> Result<(), Rejection>;
}

/// Reads the record of a key's certificate, of which nothing is verified but its length and form.
///
/// # Errors
/// When it is too long or malformed.
pub fn read_certificate(bytes: &[u8]) -> Result<Certificate<KeyPublic>, Rejection> {
    let bad = |message: String| Rejection::caller("certificate", message);
    if bytes.len() > KEY_CERTIFICATE_BYTES_MAX {
        return Err(bad("too long".to_owned()));
    }
    Certificate::from_bytes(bytes).map_err(|e| bad(e.to_string()))
}

/// Verifies that every node of the charter which the record names has signed the certificate in
/// `bytes`.
///
/// # Errors
/// When it is malformed, of another cluster, inconsistent, of a charter that is not known, or a
/// node's signature is missing.
pub fn verify_key_certificate(bytes: &[u8], view: &ClusterView) -> Result<KeyPublic, Rejection> {
    let bad = |message: String| Rejection::caller("certificate", message);
    let certificate = read_certificate(bytes)?;
    let public = certificate.unverified();
    if public.cluster != view.cluster {
        return Err(bad("is of another cluster".to_owned()));
    }
    let Some(roster) = view.rosters.get(&public.charter) else {
        return Err(bad(format!("charter {} is not known", public.charter.0)));
    };
    let ascending = public
        .public_shares
        .iter()
        .zip(public.public_shares.iter().skip(1))
        .all(|(a, b)| a.node < b.node);
    let enough = usize::from(public.threshold) <= public.public_shares.len();
    let theirs = public
        .public_shares
        .iter()
        .all(|s| roster.contains_key(&s.node));
    if public.threshold == 0 || !ascending || !enough || !theirs {
        return Err(bad("its shares are inconsistent".to_owned()));
    }
    for (node, credential) in roster.iter() {
        if !certificate.endorsed_by(credential) {
            return Err(bad(format!("node {node} has not signed it")));
        }
    }
    Ok(public.clone())
}
