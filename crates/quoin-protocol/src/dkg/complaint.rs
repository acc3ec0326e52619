//! Complaints: signed, transferable proof that a dealer, or whoever accuses it, is wrong.
//!
//! Source: the construction's section 19.1, rules (a) to (c), and section 21.8. A complaint opens
//! the one key that its author made for the accused dealer, so that everyone can decrypt the one
//! dealing in question; the author knew that dealing already, and the ceremony ends either way.
//! It is judged only between parties who saw the same first round.

use super::context::{self, round1_hash};
use super::dealer::{Dealer, open_dealing, read_coefficients};
use super::group::Group;
use super::guard::Guard;
use super::plan::{DkgParams, Plan, SuccessionParams};
use super::rounds::key_for;
use super::wire::{BODY_BYTES_MAX, CommitBody, DealBody, SignedBody};
use super::{for_scheme, seal};
use crate::abort::Fault;
use crate::round::{Inbox, RoundMessage};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, CborError, Version};
use quoin_core::hash::tagged;
use quoin_core::{NodeIndex, PublicCredential, SecretBytes, SigningIdentity, tags};
use std::collections::BTreeMap;

/// The longest complaint: two broadcasts of 4,096 bytes and 15 digests.
pub const COMPLAINT_BYTES_MAX: usize = 12_288;

/// A signed accusation of a dealer, with everything that is needed to judge it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Complaint {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    pub(crate) evidence: Evidence,
    /// The secret half of the key that the accuser made for the accused. It is public from the
    /// moment the complaint is sent, but until then it is not, so it is never printed.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(crate) opened: [u8; 32],
    #[cbor(n(3), with = "minicbor::bytes")]
    pub(crate) signature: [u8; 64],
}

/// What a complaint relies on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Evidence {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) sid: [u8; 32],
    #[n(1)]
    pub(crate) accuser: NodeIndex,
    #[n(2)]
    pub(crate) accused: NodeIndex,
    /// The accuser's first broadcast, which holds the key that is opened.
    #[n(3)]
    pub(crate) round1: SignedBody,
    /// The digests of everyone's first broadcast, ascending by sender.
    #[n(4)]
    pub(crate) round1_digests: Vec<ByteArray<32>>,
    /// The accused's second broadcast, which holds the dealing.
    #[n(5)]
    pub(crate) round2: SignedBody,
}

/// What a judge heard itself in the ceremony; empty for an outsider.
#[derive(Clone, Debug, Default)]
pub struct Witnessed {
    /// The messages of round 1, the judge's own included if it has one.
    pub round1: Inbox,
    /// The messages of round 2.
    pub round2: Inbox,
    /// The messages of round 3.
    pub round3: Inbox,
}

/// What a complaint proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The node signed two different broadcasts in one round. This comes before anything else.
    Equivocation(NodeIndex),
    /// The dealing is wrong: a strike on the dealer.
    DealerWrong(Fault),
    /// The complaint is wrong: a strike on its author.
    AccuserWrong(AccuserFault),
    /// The complaint proves nothing against anyone.
    Void(VoidReason),
}

/// How an accuser is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccuserFault {
    /// It signed a complaint whose evidence was not signed by those it names, or names itself.
    ForgedEvidence,
    /// What it opened is not the key that it made for the dealer.
    WrongKey,
    /// The dealing that it opened is right.
    DealingIsRight,
    /// It had signed its echo, after which a node never complains.
    AlreadyEchoed,
    /// The accused does not deal in this ceremony.
    NotADealer,
}

/// Why a complaint proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoidReason {
    /// It is about another ceremony.
    OtherCeremony,
    /// It is about or by somebody who takes no part.
    UnknownNode,
    /// Its author did not sign it.
    NotSigned,
    /// The accused, the accuser and the judge did not see the same first round.
    ViewsDiffer,
    /// The scheme is not one of this build.
    UnknownScheme,
}

impl Complaint {
    pub(crate) fn sign(
        evidence: Evidence,
        opened: &SecretBytes<32>,
        identity: &SigningIdentity,
    ) -> Self {
        let opened = *opened.expose();
        let signature = identity.sign(&Self::message(&evidence, &opened));
        Self {
            version: Version,
            evidence,
            opened,
            signature,
        }
    }

    fn message(evidence: &Evidence, opened: &[u8; 32]) -> [u8; 32] {
        tagged(tags::DKG_COMPLAINT, &[&cbor::encode(evidence), opened])
    }

    /// Who complains.
    #[must_use]
    pub fn accuser(&self) -> NodeIndex {
        self.evidence.accuser
    }

    /// The dealer.
    #[must_use]
    pub fn accused(&self) -> NodeIndex {
        self.evidence.accused
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a complaint, without judging it.
    ///
    /// # Errors
    /// When the bytes are too long, malformed or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, COMPLAINT_BYTES_MAX)
    }

    /// Says who is wrong in the ceremony of a key's birth. Every judge with the same view of
    /// round 1 comes to the same verdict.
    #[must_use]
    pub fn judge(
        &self,
        params: &DkgParams,
        nodes: &BTreeMap<NodeIndex, PublicCredential>,
        witnessed: &Witnessed,
    ) -> Verdict {
        self.judge_plan(&Plan::from(params.clone()), nodes, witnessed)
    }

    /// Says who is wrong in a refresh or a reshare, as [`Complaint::judge`] does for a birth.
    ///
    /// The parameters hold the certified record of the old epoch, without which nobody can say
    /// whether a dealing belongs to the dealer's old share.
    #[must_use]
    pub fn judge_succession(
        &self,
        params: &SuccessionParams,
        nodes: &BTreeMap<NodeIndex, PublicCredential>,
        witnessed: &Witnessed,
    ) -> Verdict {
        self.judge_plan(&Plan::from(params.clone()), nodes, witnessed)
    }

    fn judge_plan(
        &self,
        plan: &Plan,
        nodes: &BTreeMap<NodeIndex, PublicCredential>,
        witnessed: &Witnessed,
    ) -> Verdict {
        let case = match Case::open(self, plan, nodes) {
            Ok(case) => case,
            Err(verdict) => return verdict,
        };
        let judged = case
            .equivocation(witnessed)
            .and_then(|()| case.same_view(witnessed))
            .and_then(|()| case.before_echo(witnessed))
            .and_then(|()| case.opened_key());
        match judged {
            Ok(key) => for_scheme!(
                plan.params.scheme,
                G => case.dealing::<G>(plan, &key),
                Verdict::Void(VoidReason::UnknownScheme)
            ),
            Err(verdict) => verdict,
        }
    }
}

impl std::fmt::Debug for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Complaint")
            .field("accuser", &self.evidence.accuser)
            .field("accused", &self.evidence.accused)
            .field("opened", &"<redacted>")
            .finish_non_exhaustive()
    }
}

/// A complaint of this ceremony that its author signed over genuine evidence.
struct Case<'a> {
    complaint: &'a Complaint,
    evidence: &'a Evidence,
    nodes: &'a BTreeMap<NodeIndex, PublicCredential>,
}

impl<'a> Case<'a> {
    fn open(
        complaint: &'a Complaint,
        plan: &Plan,
        nodes: &'a BTreeMap<NodeIndex, PublicCredential>,
    ) -> Result<Self, Verdict> {
        let evidence = &complaint.evidence;
        if plan.check(nodes).is_err() || evidence.sid != plan.sid(nodes) {
            return Err(Verdict::Void(VoidReason::OtherCeremony));
        }
        let Some(accuser) = nodes.get(&evidence.accuser) else {
            return Err(Verdict::Void(VoidReason::UnknownNode));
        };
        if !nodes.contains_key(&evidence.accused) {
            return Err(Verdict::Void(VoidReason::UnknownNode));
        }
        let message = Complaint::message(evidence, &complaint.opened);
        if !accuser.verifies(&message, &complaint.signature) {
            return Err(Verdict::Void(VoidReason::NotSigned));
        }
        let case = Self {
            complaint,
            evidence,
            nodes,
        };
        if !Guard::AccusedDeals.holds(plan.deals(evidence.accused)) {
            return Err(Verdict::AccuserWrong(AccuserFault::NotADealer));
        }
        let genuine = evidence.accuser != evidence.accused
            && case.signed(1, evidence.accuser, &evidence.round1)
            && case.signed(2, evidence.accused, &evidence.round2);
        if genuine {
            Ok(case)
        } else {
            Err(Verdict::AccuserWrong(AccuserFault::ForgedEvidence))
        }
    }

    fn digest(&self, round: u8, sender: NodeIndex, body: &[u8]) -> [u8; 32] {
        context::digest(&self.evidence.sid, round, sender, body)
    }

    /// Whether the sender signed this broadcast.
    fn signed(&self, round: u8, sender: NodeIndex, signed: &SignedBody) -> bool {
        let digest = self.digest(round, sender, &signed.body);
        let by = self.nodes.get(&sender);
        by.is_some_and(|by| by.verifies(&digest, &signed.signature))
    }

    /// The broadcast that the judge heard from `sender`, if the sender signed it.
    fn heard(&self, round: u8, sender: NodeIndex, inbox: &Inbox) -> Option<SignedBody> {
        let message: &RoundMessage = inbox.get(&sender)?;
        let signed = SignedBody {
            body: message.broadcast.clone(),
            signature: message.signature,
        };
        self.signed(round, sender, &signed).then_some(signed)
    }

    fn equivocation(&self, witnessed: &Witnessed) -> Result<(), Verdict> {
        let (accuser, accused) = (self.evidence.accuser, self.evidence.accused);
        for (round, sender, inbox, shown) in [
            (1, accuser, &witnessed.round1, &self.evidence.round1),
            (2, accused, &witnessed.round2, &self.evidence.round2),
        ] {
            let heard = self.heard(round, sender, inbox);
            if heard.is_some_and(|heard| heard.body != shown.body) {
                return Err(Verdict::Equivocation(sender));
            }
        }
        Ok(())
    }

    /// Checks that accuser, accused and judge saw the same first round. Of what the judge heard,
    /// only what its sender signed counts: anybody could have said the rest.
    fn same_view(&self, witnessed: &Witnessed) -> Result<(), Verdict> {
        let differs = Err(Verdict::Void(VoidReason::ViewsDiffer));
        let digests: BTreeMap<NodeIndex, &[u8; 32]> = self
            .nodes
            .keys()
            .copied()
            .zip(self.evidence.round1_digests.iter().map(|d| &**d))
            .collect();
        let accuser = self.evidence.accuser;
        let shown = self.digest(1, accuser, &self.evidence.round1.body);
        if self.evidence.round1_digests.len() != self.nodes.len()
            || digests.get(&accuser) != Some(&&shown)
        {
            return differs;
        }
        for sender in witnessed.round1.keys() {
            let Some(heard) = self.heard(1, *sender, &witnessed.round1) else {
                continue;
            };
            let heard = self.digest(1, *sender, &heard.body);
            if digests.get(sender).is_some_and(|digest| **digest != heard) {
                return differs;
            }
        }
        let body = self.deal_body()?;
        if body.round1 == round1_hash(&self.evidence.sid, digests.into_values()) {
            Ok(())
        } else {
            differs
        }
    }

    fn before_echo(&self, witnessed: &Witnessed) -> Result<(), Verdict> {
        match self.heard(3, self.evidence.accuser, &witnessed.round3) {
            Some(_) => Err(Verdict::AccuserWrong(AccuserFault::AlreadyEchoed)),
            None => Ok(()),
        }
    }

    /// The opened key, if it is the one that the accuser made for the accused.
    fn opened_key(&self) -> Result<SecretBytes<32>, Verdict> {
        let forged = Verdict::AccuserWrong(AccuserFault::ForgedEvidence);
        let round1: CommitBody =
            cbor::decode(&self.evidence.round1.body, BODY_BYTES_MAX).map_err(|_| forged)?;
        let mut opened = self.complaint.opened;
        let opened = SecretBytes::take(&mut opened);
        let public = seal::public_key(&opened);
        if public.as_ref() == key_for(&round1, self.evidence.accused) && public.is_some() {
            Ok(opened)
        } else {
            Err(Verdict::AccuserWrong(AccuserFault::WrongKey))
        }
    }

    fn deal_body(&self) -> Result<DealBody, Verdict> {
        cbor::decode(&self.evidence.round2.body, BODY_BYTES_MAX)
            .map_err(|_| Verdict::DealerWrong(Fault::MalformedBroadcast))
    }

    /// Decrypts and checks the dealing exactly as its receiver did.
    fn dealing<G: Group>(&self, plan: &Plan, key: &SecretBytes<32>) -> Verdict {
        let body = match self.deal_body() {
            Ok(body) => body,
            Err(verdict) => return verdict,
        };
        let dealer = Dealer {
            sid: &self.evidence.sid,
            node: self.evidence.accused,
        };
        // Without an opening nothing that the dealer sent can be right.
        let opening = body.opening.as_ref().ok_or(Fault::WrongRole);
        let checked = opening
            .and_then(|opening| read_coefficients::<G>(plan, dealer.node, opening))
            .and_then(|p| open_dealing::<G>(dealer, self.evidence.accuser, key, &body, &p));
        match checked {
            Ok(_) => Verdict::AccuserWrong(AccuserFault::DealingIsRight),
            Err(fault) => Verdict::DealerWrong(fault),
        }
    }
}
