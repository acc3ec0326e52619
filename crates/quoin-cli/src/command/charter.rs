//! `quoin charter`: show the charter in force, plan the next one, and bring it into force.
//!
//! The next charter is built on the one that was verified here, checked here before anybody signs
//! it, and handed to the nodes, each of which checks it again. A charter with fewer signatures, or
//! one of which more is demanded, is a proposal ([`super::proposals`]).

use super::proposals::{checked, plan_lines};
use crate::cli::{
    CharterApplyArgs, CharterCommand, CharterPlanArgs, CharterProposeArgs, CharterShowArgs,
    GovernorsArgs, NextCharterArgs, ReadArgs,
};
use crate::client::keys::VerifiedKey;
use crate::client::standing::date;
use crate::client::{CharterReport, Patience, Session};
use crate::failure::Failure;
use crate::folder::{read, read_json, write_file};
use crate::policy::replay::{flip_lines, node_folders, recorded_requests};
use crate::{clock, say};
use quoin_core::{Certificate, PrincipalId};
use quoin_node::run::charters_to_bytes;
use quoin_policy::{Charter, Constitution, NodeEntry, cluster_words, verify_successor};
use serde_json::json;
use std::time::Duration;

/// For how long a charter of which nothing more is demanded is waited for.
const ENACT_LIMIT: Duration = Duration::from_secs(5);

/// Runs the command.
pub async fn run(command: CharterCommand) -> Result<(), Failure> {
    match command {
        CharterCommand::Show(args) => show(args).await,
        CharterCommand::Plan(args) => plan(args).await,
        CharterCommand::Propose(args) => propose(args).await,
        CharterCommand::Proposals(args) => super::proposals::list(args).await,
        CharterCommand::Approve(args) => super::approve::run(args).await,
        CharterCommand::Veto(args) => super::notice::veto(args).await,
        CharterCommand::Apply(args) => apply(args).await,
        CharterCommand::Grants(args) => grants(args).await,
    }
}

async fn show(args: CharterShowArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let constitution = session.constitution();
    let charter = constitution.charter();
    if let Some(out) = &args.chain {
        let chain = session.folder().chain()?;
        write_file(out, &charters_to_bytes(&chain), 0o644)?;
        say::line(format!(
            "charters 1 to {} are in {}",
            chain.len(),
            out.display()
        ));
        return Ok(());
    }
    if args.json {
        return say::json(charter);
    }
    say::line(format!("cluster    {}", constitution.cluster()));
    say::line(format!(
        "words      {}",
        cluster_words(&constitution.cluster())
    ));
    say::line(format!(
        "charter    {} ({})",
        charter.number.0,
        constitution.hash()
    ));
    say::line(format!(
        "nodes      {} of {} sign",
        charter.threshold,
        charter.nodes.len()
    ));
    for principal in &charter.principals {
        let roles: Vec<&str> = principal.roles.iter().map(|r| r.as_str()).collect();
        say::line(format!(
            "principal  {} ({})",
            principal.id,
            roles.join(", ")
        ));
    }
    for budget in &charter.budgets {
        say::line(format!("budget     {}", budget_line(budget)?));
    }
    say::line(format!("\n{}", charter.policies.trim_end()));
    Ok(())
}

async fn plan(args: CharterPlanArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let next = next_charter(&session, &args.next)?;
    let next = checked(next)?;
    let current = session.constitution();
    let plan = quoin_policy::plan(current, &next, clock::now());
    let nodes = match args.node.is_empty() {
        true => node_folders(session.folder()).unwrap_or_default(),
        false => args.node,
    };
    let recorded = recorded_requests(&nodes, None)?;
    let flips = quoin_policy::effect(current, &next, &recorded.samples);
    if args.json {
        return say::json(&json!({
            "plan": plan,
            "recorded": recorded.samples.len(),
            "flips": flips,
        }));
    }
    say::line(plan.to_string().trim_end());
    say::line("");
    if nodes.is_empty() {
        say::line(
            "no node's folder is here, so no recorded request was judged again (`--node DIR`)",
        );
        return Ok(());
    }
    flip_lines(&flips).into_iter().for_each(say::line);
    say::line(recorded.line(flips.len()));
    Ok(())
}

async fn propose(args: CharterProposeArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let next = next_charter(&session, &args.next)?;
    for line in plan_lines(&session, &next) {
        say::progress(line);
    }
    let question = format!("Propose charter {} as `{}`?", next.number.0, args.principal);
    say::confirmed(&question, args.yes)?;
    keys_keep_their_holders(&session.keys().await?, session.constitution(), &next)?;
    let mut certificate = Certificate::unsigned(next);
    certificate.endorse(&session.folder().principal(&args.principal)?);
    session.awaits(&certificate).map_err(|fault| {
        Failure::new("the charter is not acceptable")
            .because(fault)
            .next("nothing was handed in; change it and propose it again")
    })?;
    let report = session.submit_charter(&certificate).await?;
    super::proposals::handed_in(&session, report, args.json).await
}

async fn grants(args: ReadArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let lines = quoin_policy::grants(session.constitution().charter());
    if args.json {
        return say::json(&lines);
    }
    let now = clock::now();
    for grant in lines {
        let roles: Vec<&str> = grant.roles.iter().map(|r| r.as_str()).collect();
        let over = if now >= grant.expires { "  ENDED" } else { "" };
        say::line(format!(
            "{}{}  {}  until {}{over}",
            "  ".repeat(grant.depth),
            grant.principal,
            roles.join(", "),
            date(grant.expires)
        ));
    }
    Ok(())
}

async fn apply(args: CharterApplyArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.data.folder()).await?;
    let next = next_charter(&session, &args.next)?;
    bring(&mut session, next, &args.governors, args.json).await
}

/// Shows what a charter changes, asks, signs it as the governors, and hands it in.
pub async fn bring(
    session: &mut Session,
    next: Charter,
    governors: &GovernorsArgs,
    as_json: bool,
) -> Result<(), Failure> {
    for line in plan_lines(session, &next) {
        say::progress(line);
    }
    let question = format!(
        "Sign charter {} as {}?",
        next.number.0,
        names(&governors.governors)
    );
    say::confirmed(&question, governors.yes)?;
    let wait = Duration::from_secs(governors.wait);
    let report = submit(session, next, &governors.governors, wait).await?;
    if as_json {
        say::json(&json!({
            "number": report.number,
            "hash": report.hash,
            "accepted": report.accepted,
            "pending": report.pending,
            "unmet": report.unmet,
            "refused": report.refused,
            "missing": report.missing,
        }))?;
    } else {
        say::line(report.line());
    }
    report.in_force()
}

/// Signs the next charter with the governors' keys of this folder, and hands it in; a failure when it
/// is not in force soon.
pub async fn sign_and_submit(
    session: &mut Session,
    next: Charter,
    governors: &[PrincipalId],
) -> Result<CharterReport, Failure> {
    let report = submit(session, next, governors, ENACT_LIMIT).await?;
    report.in_force()?;
    Ok(report)
}

async fn submit(
    session: &mut Session,
    next: Charter,
    governors: &[PrincipalId],
    wait: Duration,
) -> Result<CharterReport, Failure> {
    keys_keep_their_holders(&session.keys().await?, session.constitution(), &next)?;
    let mut certificate = Certificate::unsigned(next);
    for governor in governors {
        certificate.endorse(&session.folder().principal(governor)?);
    }
    let unfit = |why: String| {
        Failure::new("the charter is not acceptable")
            .because(why)
            .next("nothing was handed in; change it and apply it again")
    };
    verify_successor(session.constitution(), &certificate, clock::now())
        .map_err(|e| unfit(e.to_string()))?;
    session
        .awaits(&certificate)
        .map_err(|e| unfit(e.to_string()))?;
    let mut report = session.submit_charter(&certificate).await?;
    let mut patience = Patience::of(wait);
    while report.accepted.is_empty() && !report.pending.is_empty() && patience.pause().await {
        // Handing it in again asks how it stands, and changes nothing.
        report = session.submit_charter(&certificate).await?;
    }
    if !report.pending.is_empty()
        && let Ok(proposal) = session.proposal(report.hash).await
    {
        report.unmet = proposal.unmet().into_iter().map(str::to_owned).collect();
    }
    if report.accepted.is_empty() && report.pending.is_empty() {
        let why = report.line();
        return Err(Failure::new("no node accepted the charter").because(why));
    }
    // The gateway hears of it from the nodes, perhaps after they have answered.
    let mut patience = Patience::of(ENACT_LIMIT);
    session.follow_charter().await?;
    while !report.accepted.is_empty()
        && session.constitution().number().0 < report.number
        && patience.pause().await
    {
        session.follow_charter().await?;
    }
    Ok(report)
}

/// Refuses a charter under which a key could neither sign nor be reshared: one that was not moved
/// after the charter before may have other holders than the charter in force has nodes.
fn keys_keep_their_holders(
    keys: &[VerifiedKey],
    constitution: &Constitution,
    next: &Charter,
) -> Result<(), Failure> {
    for key in keys.iter().map(VerifiedKey::public) {
        let Some(dealt) = constitution.roster(key.charter) else {
            continue;
        };
        let stays = |n: &&NodeEntry| dealt.get(&n.index) == Some(&n.credential);
        let staying = next.nodes.iter().filter(stays).count();
        if staying < usize::from(key.threshold) {
            return Err(
                Failure::new(format!("the key `{}` would be lost", key.name))
                    .because(format!(
                        "{} of its holders sign, and only {staying} would stay",
                        key.threshold
                    ))
                    .next(format!(
                        "move it to the nodes of the charter in force first: quoin key reshare {}",
                        key.name
                    )),
            );
        }
    }
    Ok(())
}

/// The charter after the one in force, with the change that the arguments name.
fn next_charter(session: &Session, args: &NextCharterArgs) -> Result<Charter, Failure> {
    let current = session.constitution().charter();
    let text = |path: &std::path::Path| {
        String::from_utf8(read(path)?).map_err(Failure::from_error(format!(
            "`{}` is not text",
            path.display()
        )))
    };
    let changed = match (&args.file, &args.policies, &args.add_rule) {
        (Some(file), _, _) => read_json::<Charter>(file)?,
        (_, Some(policies), _) => Charter {
            policies: text(policies)?,
            ..current.clone()
        },
        (_, _, Some(rule)) => with_rule(current, &text(rule)?),
        (None, None, None) => current.clone(),
    };
    Ok(successor(session, changed))
}

/// The charter with one more rule.
pub fn with_rule(charter: &Charter, rule: &str) -> Charter {
    let policies = format!("{}\n\n{}\n", charter.policies.trim_end(), rule.trim());
    Charter {
        policies,
        ..charter.clone()
    }
}

/// The charter with the number and the predecessor that make it the next one.
pub fn successor(session: &Session, charter: Charter) -> Charter {
    let current = session.constitution();
    Charter {
        number: quoin_core::CharterNumber(current.number().0.saturating_add(1)),
        cluster: Some(current.cluster()),
        previous: Some(current.hash()),
        ..charter
    }
}

fn budget_line(budget: &quoin_policy::Budget) -> Result<String, Failure> {
    serde_json::to_string(budget).map_err(Failure::from_error("a budget cannot be shown"))
}

fn names(principals: &[PrincipalId]) -> String {
    let names: Vec<String> = principals.iter().map(|p| format!("`{p}`")).collect();
    names.join(", ")
}
