//! Proposed charters: listed, shown in words, and given a governor's signature or an approval.
//!
//! What is signed is decoded here from the certificate itself: its hash, what it changes, and what
//! approvals of it sign. Nodes and gateway supply bytes.

use crate::cli::{ApproveArgs, ReadArgs};
use crate::client::proposals::{NodeSaid, Proposal};
use crate::client::standing::date;
use crate::client::{CharterReport, Patience, Session, Statement};
use crate::failure::Failure;
use crate::{clock, say};
use quoin_core::cbor::Version;
use quoin_core::{Certificate, CharterHash, NodeIndex, Signed, SigningIdentity};
use quoin_policy::{
    Approval, CHARTER_APPROVAL_NOT_AFTER, Charter, Constitution, Principal, ProposalPending,
    ProposalUnmet, Unmet, charter_request_id, plan,
};
use serde_json::{Value, json};
use std::time::Duration;

/// For how long a charter of which nothing more seems to be missing is waited for.
const ENACT_LIMIT: Duration = Duration::from_secs(5);

/// A charter that holds together.
pub fn checked(charter: Charter) -> Result<Constitution, Failure> {
    charter.check().map_err(|e| {
        Failure::new("the charter does not hold together")
            .because(e)
            .next("change it at the place that is named")
    })
}

/// What a charter changes, in words.
pub fn plan_lines(session: &Session, next: &Charter) -> Vec<String> {
    match checked(next.clone()) {
        Ok(next) => {
            let plan = plan(session.constitution(), &next, clock::now()).to_string();
            plan.trim_end().lines().map(str::to_owned).collect()
        }
        Err(failure) => vec![failure.to_string()],
    }
}

/// `quoin charter proposals`.
pub async fn list(args: ReadArgs) -> Result<(), Failure> {
    let session = Session::open_if_asked(&args.data.folder()).await?;
    let proposals = session.proposals().await?;
    if args.json {
        let all = proposals.all.values();
        let all: Vec<Value> = all.map(|p| as_json(&session, p)).collect();
        return say::json(&json!({ "proposals": all, "unreached": proposals.unreached }));
    }
    if proposals.all.is_empty() {
        say::line("nothing is proposed");
    }
    for proposal in proposals.all.values() {
        for line in lines(&session, proposal) {
            say::line(line);
        }
    }
    for (node, why) in &proposals.unreached {
        say::line(format!("node {node}     NOT REACHED: {why}"));
    }
    Ok(())
}

fn as_json(session: &Session, proposal: &Proposal) -> Value {
    let charter = proposal.certificate.unverified();
    json!({
        "hash": proposal.hash(),
        "number": charter.number,
        "signed_by": proposal.signed_by(session),
        "unmet": proposal.unmet(),
        "vetoed_by": proposal.vetoed_by(),
        "nodes": proposal.said,
        "plan": checked(charter.clone())
            .ok()
            .map(|next| plan(session.constitution(), &next, clock::now())),
    })
}

fn lines(session: &Session, proposal: &Proposal) -> Vec<String> {
    let signed = proposal.signed_by(session);
    let signed: Vec<&str> = signed.iter().map(|id| id.as_str()).collect();
    let mut lines = vec![
        format!("proposal   {}", proposal.hash()),
        format!("signed by  {}", signed.join(", ")),
    ];
    let vetoed: Vec<&str> = proposal.vetoed_by().into_iter().collect();
    if !vetoed.is_empty() {
        lines.push(format!("VETOED by  {}, for ever", vetoed.join(", ")));
    }
    lines.extend(proposal.unmet().iter().map(|u| format!("missing    {u}")));
    lines.extend(proposal.said.iter().map(seen));
    let newest = proposal.said.iter().max_by_key(|said| said.judged);
    let flips = newest.into_iter().flat_map(|said| &said.flips);
    lines.extend(flips.map(|flip| format!("  flip     {flip}")));
    let plan = plan_lines(session, proposal.certificate.unverified());
    lines.extend(plan.into_iter().map(|line| format!("  {line}")));
    lines
}

fn seen(said: &NodeSaid) -> String {
    format!(
        "node {}     first seen {}; of {} requests since then {} would be decided otherwise",
        said.node,
        date(said.first_seen),
        said.judged,
        said.flipped
    )
}

/// Says what the nodes make of a charter that was handed in as a proposal.
pub async fn handed_in(
    session: &Session,
    report: CharterReport,
    as_json: bool,
) -> Result<(), Failure> {
    let hash = report.hash;
    if report.accepted.is_empty() && report.pending.is_empty() {
        return Err(Failure::new("no node took the proposal").because(report.line()));
    }
    let unmet: Vec<String> = match session.proposal(hash).await {
        Ok(proposal) => proposal.unmet().into_iter().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    };
    let in_force = !report.accepted.is_empty();
    if in_force {
        shown_by_gateway(session, report.number).await?;
    }
    if as_json {
        return say::json(&json!({
            "hash": hash,
            "number": report.number,
            "in_force": in_force,
            "accepted": report.accepted,
            "pending": report.pending,
            "unmet": unmet,
            "refused": report.refused,
            "missing": report.missing,
        }));
    }
    say::line(report.line());
    for missing in &unmet {
        say::line(format!("missing    {missing}"));
    }
    say::line(format!("charter    {hash}"));
    if !in_force {
        say::line(format!(
            "others read and sign it: quoin charter approve {hash} --as GOVERNOR"
        ));
    }
    Ok(())
}

/// Waits until the gateway has heard from the nodes what is in force, perhaps after they have
/// answered: whoever asks next is to find it.
async fn shown_by_gateway(session: &Session, number: u64) -> Result<(), Failure> {
    let mut patience = Patience::of(ENACT_LIMIT);
    loop {
        let shown = session.gateway().charter().await?;
        if shown.unverified().number.0 >= number || !patience.pause().await {
            return Ok(());
        }
    }
}

/// What a person can add to a proposed charter.
enum Part {
    Signature,
    Approval,
}

/// Reads a proposed charter, and adds what this principal can add.
pub async fn approve(
    session: &Session,
    args: &ApproveArgs,
    hash: CharterHash,
    identity: &SigningIdentity,
) -> Result<(), Failure> {
    let proposal = session.proposal(hash).await?;
    let charter = proposal.certificate.unverified();
    for line in plan_lines(session, charter) {
        say::progress(line);
    }
    say::progress(format!(
        "signed by  {}",
        names(&proposal.signed_by(session))
    ));
    let vetoed: Vec<&str> = proposal.vetoed_by().into_iter().collect();
    if !vetoed.is_empty() {
        return Err(Failure::refused(format!("charter `{hash}` has ended"))
            .because(format!(
                "vetoed by {}, which is for ever",
                vetoed.join(", ")
            ))
            .next("propose another one"));
    }
    let awaited = session.awaits(&proposal.certificate).map_err(|fault| {
        Failure::new("the charter is not acceptable")
            .because(fault)
            .next("do not sign it")
    })?;
    let (part, pending) = part(session, args, &proposal, awaited)?;
    let doing = match part {
        Part::Signature => "Sign",
        Part::Approval => "Approve",
    };
    let question = format!(
        "{doing} charter {} as `{}`?",
        charter.number.0, args.principal
    );
    say::confirmed(&question, args.yes)?;
    match part {
        Part::Signature => {
            let mut certificate = proposal.certificate.clone();
            certificate.endorse(identity);
            let report = session.submit_charter(&certificate).await?;
            handed_in(session, report, args.json).await
        }
        Part::Approval => {
            let approval = Approval {
                version: Version,
                cluster: session.constitution().cluster(),
                intent_hash: pending.intent_hash,
                principal: args.principal.clone(),
                request_id: charter_request_id(&hash),
                not_after: CHARTER_APPROVAL_NOT_AFTER,
            };
            let signed = Signed::sign(approval, identity).to_bytes();
            let statement = Statement::CharterApproval(hash, signed);
            let delivery = session.deliver(&statement).await;
            let taken = delivery.at_least_one("the approval")?.taken();
            told(session, &proposal.certificate, &taken, args.json).await
        }
    }
}

/// What the principal can add, and what the charter waits for by the charter in force.
fn part(
    session: &Session,
    args: &ApproveArgs,
    proposal: &Proposal,
    awaited: Option<ProposalPending>,
) -> Result<(Part, ProposalPending), Failure> {
    let nothing = |why: String| {
        Failure::new(format!("`{}` has nothing to add", args.principal))
            .because(why)
            .next("`quoin charter proposals` shows what is missing")
    };
    let pending = awaited.ok_or_else(|| nothing("nothing is missing".to_owned()))?;
    let constitution = session.constitution();
    let principal = constitution.principal(&args.principal);
    let principal =
        principal.ok_or_else(|| nothing("the charter does not know this principal".to_owned()))?;
    let signs = constitution
        .charter_seats()
        .any(|seat| seat.id == principal.id)
        && !proposal.signed_by(session).contains(&principal.id);
    if signs && pending.unmet.iter().any(is_signature) {
        return Ok((Part::Signature, pending));
    }
    if pending
        .unmet
        .iter()
        .any(|unmet| is_approval(unmet, principal))
    {
        return Ok((Part::Approval, pending));
    }
    let unmet: Vec<String> = pending.unmet.iter().map(ToString::to_string).collect();
    let why = match proposal.signed_by(session).contains(&principal.id) {
        true => "this principal has signed it already",
        false => "none of what is missing is of a role that this principal holds",
    };
    Err(nothing(format!("{why}; missing: {}", unmet.join("; "))))
}

const fn is_signature(unmet: &ProposalUnmet) -> bool {
    matches!(unmet, ProposalUnmet::Signatures { .. })
}

fn is_approval(unmet: &ProposalUnmet, principal: &Principal) -> bool {
    match unmet {
        ProposalUnmet::Obligation {
            unmet: Unmet::Approvals { role, .. },
        } => principal.roles.contains(role),
        _ => false,
    }
}

/// How a charter stands after an approval.
async fn told(
    session: &Session,
    certificate: &Certificate<Charter>,
    taken: &[NodeIndex],
    as_json: bool,
) -> Result<(), Failure> {
    let charter = certificate.unverified();
    let hash = charter.hash();
    // An approval that completes it brings it into force on each node; a proposal that nobody lists
    // any more is in force or has been overtaken, and the gateway's charter tells which.
    let mut patience = Patience::of(ENACT_LIMIT);
    let (mut unmet, mut in_force);
    loop {
        let shown = session.gateway().charter().await?;
        in_force = shown.unverified().hash() == hash;
        unmet = match session.proposal(hash).await {
            Ok(proposal) => proposal.unmet().into_iter().map(str::to_owned).collect(),
            Err(_) => Vec::<String>::new(),
        };
        if in_force || !unmet.is_empty() || !patience.pause().await {
            break;
        }
    }
    if as_json {
        return say::json(&json!({
            "hash": hash,
            "number": charter.number,
            "in_force": in_force,
            "taken": taken,
            "unmet": unmet,
        }));
    }
    let nodes: Vec<String> = taken.iter().map(ToString::to_string).collect();
    say::line(format!("approved; taken by nodes {}", nodes.join(", ")));
    for missing in &unmet {
        say::line(format!("missing    {missing}"));
    }
    if in_force {
        say::line(format!("charter {} is in force", charter.number.0));
    }
    Ok(())
}

fn names(ids: &[quoin_core::PrincipalId]) -> String {
    let all: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    if all.is_empty() {
        "nobody".to_owned()
    } else {
        all.join(", ")
    }
}
