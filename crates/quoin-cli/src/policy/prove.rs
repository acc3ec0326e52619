//! `quoin policy prove`: whether the next charter only tightens, with a counterexample if not.
//!
//! The policies are compared by proof: over all requests, by a solver. Everything else is compared
//! part by part. What exactly is proven, and what is not, is in `docs/policy-prove.md`.

mod case;
mod encode;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod model;
mod plain;
mod rewrite;
mod side;
mod solver;
mod structure;
mod terms;
#[cfg(test)]
mod tests;

use crate::cli::PolicyProveArgs;
use crate::client::Session;
use crate::failure::Failure;
use crate::folder::read_json;
use crate::say;
use case::{Answer, Case};
use encode::{Question, may_fail, questions};
use plain::{answers, plain};
use quoin_policy::Charter;
use serde::Serialize;
use side::Side;
use solver::{Actions, Found, Solver};
use std::path::PathBuf;
use structure::{Difference, Effect, differences};

/// What the comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// Nothing is permitted that was not, and nothing asks for less.
    OnlyTightens,
    /// Something is.
    Loosens,
    /// Something could be, and it cannot be told.
    Unclear,
    /// The policies were not compared.
    Skipped,
}

impl Verdict {
    const fn words(self) -> &'static str {
        match self {
            Self::OnlyTightens => "only tightens",
            Self::Loosens => "loosens",
            Self::Unclear => "not shown to only tighten",
            Self::Skipped => "skipped: the policies were not compared",
        }
    }
}

/// A request on which the new charter is less strict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Counterexample {
    /// The request, as the new charter sees it.
    request: Case,
    /// What the old charter says to it.
    old: Answer,
    /// What the new one says.
    new: Answer,
}

/// Everything there is to say.
#[derive(Debug, Serialize)]
struct Report {
    verdict: Verdict,
    /// How many questions about policies were asked and answered.
    questions: usize,
    differences: Vec<Difference>,
    counterexamples: Vec<Counterexample>,
    /// What could not be told, and why.
    unclear: Vec<String>,
    /// Why the policies were not compared.
    skipped: Option<String>,
}

/// Runs the command.
pub async fn run(args: PolicyProveArgs) -> Result<(), Failure> {
    let new: Charter = read_json(&args.new)?;
    let old: Charter = match &args.old {
        Some(file) => read_json(file)?,
        None => {
            let session = Session::open(&args.data.folder()).await?;
            session.constitution().charter().clone()
        }
    };
    let report = prove_with(&old, &new, solver::program()).await?;
    if args.json {
        say::json(&report)?;
    } else {
        report.lines().into_iter().for_each(say::line);
    }
    report.outcome()
}

/// Compares two charters, with the solver's program if there is one.
async fn prove_with(
    old: &Charter,
    new: &Charter,
    program: Option<PathBuf>,
) -> Result<Report, Failure> {
    let mut report = Report {
        verdict: Verdict::OnlyTightens,
        questions: 0,
        differences: differences(old, new),
        counterexamples: Vec::new(),
        unclear: Vec::new(),
        skipped: None,
    };
    let (old, new) = (Side::read(old, "old")?, Side::read(new, "new")?);
    let actions = Actions::read()?;
    let all: Vec<Question> = actions
        .names()
        .flat_map(|a| questions(&old, &new, a))
        .collect();
    if !all.is_empty() {
        match program {
            Some(program) => {
                let solver = Solver::start(&program, &actions)?;
                report.ask(solver, &old, &new, all).await?;
            }
            None => report.skipped = Some(missing_solver()),
        }
    }
    report.verdict = report.judged();
    Ok(report)
}

fn missing_solver() -> String {
    "there is no solver: set `CVC5` to the program cvc5 1.3.1, or have it on the path; in the \
     repository `cargo xtask testbeds` installs one"
        .to_owned()
}

impl Report {
    async fn ask(
        &mut self,
        mut solver: Solver<'_>,
        old: &Side,
        new: &Side,
        questions: Vec<Question>,
    ) -> Result<(), Failure> {
        let mut broken: Vec<Question> = Vec::new();
        for question in questions {
            let action = &question.action;
            // One counterexample for an action and mode is enough, and the plain one says most.
            let alike = |q: &Question| q.action == *action && q.corridor == question.corridor;
            if broken
                .iter()
                .any(|q| alike(q) && (q.bound.is_none() || q.bound == question.bound))
            {
                continue;
            }
            self.questions += 1;
            match solver.ask(old, new, &question).await? {
                Found::Proven => {}
                Found::Undecided(why) => {
                    self.unclear.push(format!(
                        "the solver decided nothing about `{action}`: {why}"
                    ));
                }
                Found::Broken(case) => {
                    self.check(*case, old, new)?;
                    broken.push(question);
                }
            }
        }
        for action in solver.actions().names() {
            for rule in may_fail(old, new, action) {
                let words = format!(
                    "`{}` of the old charter uses operations that can fail, which denies; what it \
                     would have denied of `{action}` is not compared",
                    rule.id
                );
                self.unclear.push(words);
            }
        }
        Ok(())
    }

    /// Shows a counterexample only when both charters' own policies bear it out.
    fn check(&mut self, case: Case, old: &Side, new: &Side) -> Result<(), Failure> {
        let failed = "a counterexample cannot be checked";
        let (before, after) = answers(&case, old, new).map_err(Failure::from_error(failed))?;
        if after.is_as_strict_as(&before) {
            self.unclear.push(format!(
                "the solver found a request for `{}` that evaluation does not bear out",
                case.action
            ));
            return Ok(());
        }
        let case = plain(&case, old, new).map_err(Failure::from_error(failed))?;
        let found = Counterexample {
            request: case.seen_by(new, old),
            old: before,
            new: after,
        };
        if !self.counterexamples.contains(&found) {
            self.counterexamples.push(found);
        }
        Ok(())
    }

    fn judged(&self) -> Verdict {
        let any = |effect| self.differences.iter().any(|d| d.effect == effect);
        if self.skipped.is_some() {
            Verdict::Skipped
        } else if any(Effect::Loosens) || !self.counterexamples.is_empty() {
            Verdict::Loosens
        } else if any(Effect::Unclear) || !self.unclear.is_empty() {
            Verdict::Unclear
        } else {
            Verdict::OnlyTightens
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for difference in &self.differences {
            let Difference {
                effect,
                part,
                words,
            } = difference;
            lines.push(format!("{:<10} {part}: {words}", effect.name()));
        }
        for found in &self.counterexamples {
            let Case {
                principal,
                action,
                resource,
                corridor,
                ..
            } = &found.request;
            let mode = if *corridor {
                ", while only the corridor is open"
            } else {
                ""
            };
            let words = format!("{principal} asks for `{action}` on account `{resource}`{mode}");
            lines.push(format!("loosens    policies: {words}"));
            lines.push(format!("             old: {}", found.old));
            lines.push(format!("             new: {}", found.new));
            let context = serde_json::to_string(&found.request.context).unwrap_or_default();
            let account = serde_json::to_string(&found.request.account).unwrap_or_default();
            lines.push(format!("             context: {context}"));
            lines.push(format!("             account: {account}"));
        }
        lines.extend(
            self.unclear
                .iter()
                .map(|words| format!("unclear    policies: {words}")),
        );
        lines.extend(
            self.skipped
                .iter()
                .map(|why| format!("skipped    policies: {why}")),
        );
        lines.push(format!("verdict    {}", self.verdict.words()));
        if self.skipped.is_none() {
            lines.push(format!("questions  {}", self.questions));
        }
        lines
    }

    /// 0 only when the change is shown to only tighten.
    fn outcome(&self) -> Result<(), Failure> {
        match (self.verdict, &self.skipped) {
            (Verdict::OnlyTightens, _) => Ok(()),
            (_, Some(why)) => Err(Failure::new("nothing is proven").because(why)),
            (Verdict::Loosens, _) => Err(Failure::refused("the change loosens")),
            (_, None) => Err(Failure::refused("the change is not shown to only tighten")),
        }
    }
}
