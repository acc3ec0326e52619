//! `quoin charter`: show the charter in force, and bring the next one into force.
//!
//! The next charter is built on the one that was verified here, checked here before anybody signs
//! it, and handed to the nodes, each of which checks it again.

use crate::cli::{CharterApplyArgs, CharterCommand, CharterShowArgs};
use crate::client::keys::VerifiedKey;
use crate::client::{CharterReport, Session};
use crate::failure::Failure;
use crate::folder::{read, read_json, write_file};
use crate::{clock, say};
use quoin_core::{Certificate, PrincipalId};
use quoin_node::run::charters_to_bytes;
use quoin_policy::{Charter, Constitution, NodeEntry, cluster_words, verify_successor};
use serde_json::json;
use std::collections::BTreeSet;

/// Runs the command.
pub async fn run(command: CharterCommand) -> Result<(), Failure> {
    match command {
        CharterCommand::Show(args) => show(args).await,
        CharterCommand::Apply(args) => apply(args).await,
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

async fn apply(args: CharterApplyArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.data.folder()).await?;
    let next = next_charter(&session, &args)?;
    for line in difference(session.constitution().charter(), &next)? {
        say::progress(line);
    }
    let question = format!(
        "Sign charter {} as {}?",
        next.number.0,
        names(&args.governors)
    );
    say::confirmed(&question, args.yes)?;
    let report = sign_and_submit(&mut session, next, &args.governors).await?;
    if args.json {
        return say::json(&json!({
            "number": report.number,
            "accepted": report.accepted,
            "refused": report.refused,
            "missing": report.missing,
        }));
    }
    say::line(report.line());
    Ok(())
}

/// Signs the next charter with the governors' keys of this folder, hands it in, and follows it.
pub async fn sign_and_submit(
    session: &mut Session,
    next: Charter,
    governors: &[PrincipalId],
) -> Result<CharterReport, Failure> {
    keys_keep_their_holders(&session.keys().await?, session.constitution(), &next)?;
    let mut certificate = Certificate::unsigned(next);
    for governor in governors {
        certificate.endorse(&session.folder().principal(governor)?);
    }
    verify_successor(session.constitution(), &certificate, clock::now()).map_err(|e| {
        Failure::new("the charter is not acceptable")
            .because(e)
            .next("nothing was handed in; change it and apply it again")
    })?;
    let report = session.gateway().submit_charter(&certificate).await?;
    if report.accepted.is_empty() {
        let why = report.line();
        return Err(Failure::new("no node accepted the charter").because(why));
    }
    session.follow_charter().await?;
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
fn next_charter(session: &Session, args: &CharterApplyArgs) -> Result<Charter, Failure> {
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

/// What changes, for people: policies line by line, budgets and everything else by name.
fn difference(old: &Charter, new: &Charter) -> Result<Vec<String>, Failure> {
    let mut lines = vec![format!("charter {} → {}", old.number.0, new.number.0)];
    let policies = |c: &Charter| -> Vec<String> {
        c.policies
            .lines()
            .map(|l| l.trim_end().to_owned())
            .filter(|l| !l.is_empty())
            .collect()
    };
    lines.extend(sides("", &policies(old), &policies(new)));
    let budgets = |c: &Charter| {
        c.budgets
            .iter()
            .map(budget_line)
            .collect::<Result<Vec<_>, Failure>>()
    };
    lines.extend(sides("budget ", &budgets(old)?, &budgets(new)?));
    let rest = [
        ("nodes", old.nodes != new.nodes),
        ("gateways", old.gateways != new.gateways),
        ("principals", old.principals != new.principals),
        ("backup", old.backup != new.backup),
        ("assets", old.assets != new.assets),
        ("address book", old.book != new.book),
        (
            "threshold",
            (old.threshold, old.f_tol) != (new.threshold, new.f_tol),
        ),
        (
            "governor quorum",
            old.governor_quorum != new.governor_quorum,
        ),
    ];
    lines.extend(
        rest.iter()
            .filter(|(_, changed)| *changed)
            .map(|(what, _)| format!("~ {what}")),
    );
    if lines.len() == 1 {
        lines.push("  nothing changes but the number".to_owned());
    }
    Ok(lines)
}

fn sides(label: &str, old: &[String], new: &[String]) -> Vec<String> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (old.iter().collect(), new.iter().collect());
    let gone = old
        .iter()
        .filter(|l| !after.contains(l))
        .map(|l| format!("- {label}{l}"));
    let come = new
        .iter()
        .filter(|l| !before.contains(l))
        .map(|l| format!("+ {label}{l}"));
    gone.chain(come).collect()
}

fn budget_line(budget: &quoin_policy::Budget) -> Result<String, Failure> {
    serde_json::to_string(budget).map_err(Failure::from_error("a budget cannot be shown"))
}

fn names(principals: &[PrincipalId]) -> String {
    let names: Vec<String> = principals.iter().map(|p| format!("`{p}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_shows_lines_that_come_and_go() {
        let text = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        let shown = sides("", &text(&["a", "b"]), &text(&["b", "c"]));
        assert_eq!(shown, ["- a", "+ c"]);
    }
}
