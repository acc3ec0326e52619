//! Proposed charters, by the nodes' own words where they can be asked directly.
//!
//! A certificate carries its own proof: its hash and its signatures are computed and verified here.
//! What it waits for is each node's word; what it waits for by the charter in force alone is judged
//! here too.

use super::{CharterReport, Session};
use crate::clock;
use crate::failure::Failure;
use quoin_api::Frame;
use quoin_api::decision::{NodeProposalsBody, ProposedCharterBody};
use quoin_api::frame::ProposalBody;
use quoin_core::{Certificate, CharterHash, NodeIndex, PrincipalId, TimeMs};
use quoin_policy::{
    Charter, Constitution, Notices, ProposalEvidence, ProposalFault, ProposalPending, ProposalState,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The proposed charters that somebody knows.
#[derive(Debug, Default)]
pub struct Proposals {
    /// Each with what the nodes say of it, by its hash.
    pub all: BTreeMap<CharterHash, Proposal>,
    /// Who said nothing, and why.
    pub unreached: BTreeMap<NodeIndex, String>,
}

/// A proposed charter.
#[derive(Debug)]
pub struct Proposal {
    /// The charter with all signatures that any node has.
    pub certificate: Certificate<Charter>,
    /// What each node says of it.
    pub said: Vec<NodeSaid>,
}

/// What a node says of a proposed charter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeSaid {
    /// The node.
    pub node: NodeIndex,
    /// When it saw the charter first.
    pub first_seen: TimeMs,
    /// What is missing.
    pub unmet: Vec<String>,
    /// Who has vetoed it.
    pub vetoed_by: Vec<String>,
    /// How many requests were judged under it as well.
    pub judged: u64,
    /// How many of those it would have decided otherwise.
    pub flipped: u64,
    /// The newest of those.
    pub flips: Vec<String>,
}

impl Proposal {
    /// Its hash.
    pub fn hash(&self) -> CharterHash {
        self.certificate.unverified().hash()
    }

    /// The governors who have signed it, as verified here.
    pub fn signed_by(&self, session: &Session) -> Vec<PrincipalId> {
        let seats = session.constitution().charter_seats();
        let signed = seats.filter(|p| {
            let mut own = p.credentials.iter();
            own.any(|credential| self.certificate.endorsed_by(credential))
        });
        signed.map(|p| p.id.clone()).collect()
    }

    /// Who has vetoed it, by what any node says.
    pub fn vetoed_by(&self) -> BTreeSet<&str> {
        let all = self.said.iter().flat_map(|said| &said.vetoed_by);
        all.map(String::as_str).collect()
    }

    /// Everything that some node says is missing.
    pub fn unmet(&self) -> BTreeSet<&str> {
        let all = self.said.iter().flat_map(|said| &said.unmet);
        all.map(String::as_str).collect()
    }
}

impl Session {
    /// The proposed charters.
    pub async fn proposals(&self) -> Result<Proposals, Failure> {
        let read = |frame: Frame| match frame {
            Frame::Proposals(frame) => Some(frame.proposals),
            _ => None,
        };
        let (words, mut unreached) = self.ask_each(Frame::ProposalsRequest, read).await;
        let mut said: Vec<NodeProposalsBody> = words
            .into_iter()
            .map(|(node, all)| NodeProposalsBody {
                node,
                proposals: all.into_iter().map(body).collect(),
            })
            .collect();
        if !unreached.is_empty() {
            match self.gateway().proposals().await {
                Ok(body) => {
                    let missing = |n: &NodeProposalsBody| unreached.contains_key(&n.node);
                    said.extend(body.nodes.into_iter().filter(missing));
                    unreached.retain(|node, _| !said.iter().any(|n| n.node == *node));
                }
                Err(failure) if said.is_empty() => return Err(failure),
                Err(_) => {}
            }
        }
        let mut proposals = Proposals {
            unreached,
            ..Proposals::default()
        };
        for of_node in said {
            for proposed in of_node.proposals {
                proposals.add(self.constitution(), of_node.node, proposed);
            }
        }
        Ok(proposals)
    }

    /// Hands a charter to every node directly, and through the gateway to those that are not reached:
    /// a gateway must not choose who hears of it.
    pub async fn submit_charter(
        &self,
        certificate: &Certificate<Charter>,
    ) -> Result<CharterReport, Failure> {
        let read = |frame: Frame| match frame {
            Frame::CharterReply(reply) => Some(reply),
            _ => None,
        };
        let frame = Frame::Charter(certificate.to_bytes());
        let (words, unreached) = self.ask_each(frame, read).await;
        let mut report = CharterReport::of(certificate.unverified(), unreached.keys().copied());
        for (node, reply) in words {
            let refused = reply.refused;
            let refused = refused.map(|r| format!("{} (field `{}`)", r.message, r.field));
            report.said(node, reply.number, refused);
            report.waits_for(reply.pending);
        }
        if unreached.is_empty() {
            return Ok(report);
        }
        match self.gateway().submit_charter(certificate).await {
            Ok(theirs) => report.take_over(theirs),
            Err(failure) if report.is_silent() => return Err(failure),
            Err(_) => {}
        }
        Ok(report)
    }

    /// The proposed charter with this hash.
    pub async fn proposal(&self, hash: CharterHash) -> Result<Proposal, Failure> {
        let mut proposals = self.proposals().await?;
        proposals.all.remove(&hash).ok_or_else(|| {
            let known: Vec<String> = proposals.all.keys().map(ToString::to_string).collect();
            let in_force = self.constitution().hash() == hash;
            let why = match (in_force, known.is_empty()) {
                (true, _) => "it is in force".to_owned(),
                (_, true) => "nothing is proposed".to_owned(),
                (_, false) => format!("proposed are {}", known.join(", ")),
            };
            Failure::new(format!("there is no proposed charter `{hash}`"))
                .because(why)
                .next("`quoin charter proposals` lists them")
        })
    }

    /// What a proposed charter waits for by the charter in force, delays aside: judged here, with no
    /// approval at hand, so that what approvals have to sign is nobody's word.
    pub fn awaits(
        &self,
        certificate: &Certificate<Charter>,
    ) -> Result<Option<ProposalPending>, ProposalFault> {
        let (notices, now) = (Notices::default(), clock::now());
        let evidence = ProposalEvidence {
            first_seen: now,
            now,
            notices: &notices,
            approvals: &[],
        };
        match self.constitution().consider_proposal(certificate, evidence) {
            ProposalState::Refused(fault) => Err(fault),
            ProposalState::Pending(pending) => Ok(Some(pending)),
            ProposalState::Ready(_) => Ok(None),
        }
    }
}

impl Proposals {
    /// What does not read as a charter is left out.
    fn add(&mut self, constitution: &Constitution, node: NodeIndex, body: ProposedCharterBody) {
        let bytes = hex::decode(&body.certificate);
        let read = bytes.ok().map(|b| Certificate::<Charter>::from_bytes(&b));
        let Some(Ok(certificate)) = read else {
            return;
        };
        let said = NodeSaid {
            node,
            first_seen: body.first_seen,
            unmet: body.unmet,
            vetoed_by: body.vetoed_by,
            judged: body.judged,
            flipped: body.flipped,
            flips: body.flips,
        };
        let hash = certificate.unverified().hash();
        let proposal = self.all.entry(hash).or_insert_with(|| Proposal {
            certificate: Certificate::unsigned(certificate.unverified().clone()),
            said: Vec::new(),
        });
        // Only what is genuine, or one node could spoil what the others have.
        let seats = constitution.charter_seats();
        for credential in seats.flat_map(|p| &p.credentials) {
            let mut all = certificate.endorsements().iter();
            let own = all.find(|e| e.credential == credential.id());
            if certificate.endorsed_by(credential)
                && let Some(endorsement) = own
            {
                proposal.certificate.add(endorsement.clone());
            }
        }
        proposal.said.push(said);
    }
}

fn body(proposal: ProposalBody) -> ProposedCharterBody {
    ProposedCharterBody {
        certificate: hex::encode(proposal.certificate.0),
        first_seen: proposal.first_seen,
        unmet: proposal.unmet,
        intent_hash: proposal.intent_hash,
        vetoed_by: proposal.vetoed_by,
        judged: proposal.judged,
        flipped: proposal.flipped,
        flips: proposal.flips,
    }
}
