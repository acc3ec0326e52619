//! `quoin policy test`: whether a charter says of requests what somebody wrote down that it should.

use super::cases::{Case, Decision, Expected, Found, read_cases};
use super::trial::Trial;
use crate::cli::PolicyTestArgs;
use crate::failure::Failure;
use crate::folder::{read, read_json};
use crate::say;
use quoin_policy::{Charter, Ledger};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Cases longer than this are no cases: a thousand of them fit.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What came of one case.
#[derive(Debug, Serialize)]
struct Ran {
    file: String,
    name: String,
    as_expected: bool,
    expected: Expected,
    found: Found,
}

/// What came of all.
#[derive(Debug, Serialize)]
struct Report {
    cases: Vec<Ran>,
    differ: usize,
}

/// Runs the command.
pub fn run(args: &PolicyTestArgs) -> Result<(), Failure> {
    let charter: Charter = match &args.charter {
        Some(file) => read_json(file)?,
        None => args.data.folder().constitution()?.charter().clone(),
    };
    let trial = Trial::of(&charter)?;
    let mut cases = Vec::new();
    for path in files(&args.cases)? {
        let name = path.display().to_string();
        let all = read_cases(&name, &read(&path)?)?;
        cases.extend(run_all(&trial, &name, &all)?);
    }
    let differ = cases.iter().filter(|c| !c.as_expected).count();
    let report = Report { cases, differ };
    if args.json {
        say::json(&report)?;
    } else {
        report.lines().into_iter().for_each(say::line);
    }
    match (differ, report.cases.len()) {
        (0, _) => Ok(()),
        (differ, all) => Err(Failure::refused(format!("{differ} of {all} cases differ"))),
    }
}

/// The file, or every JSON file of the folder in order of its name.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let what = || format!("cannot read `{}`", path.display());
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(Failure::from_error(what()))? {
            let file = entry.map_err(Failure::from_error(what()))?.path();
            if file.extension().is_some_and(|e| e == "json") {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(Failure::new(what()).because("it has no `.json` file"));
        }
    } else {
        files.push(path.to_owned());
    }
    for file in &files {
        let size = std::fs::metadata(file)
            .map_err(Failure::from_error(what()))?
            .len();
        if size > FILE_BYTES_MAX {
            let why = format!(
                "`{}` is over the limit of {FILE_BYTES_MAX} bytes",
                file.display()
            );
            return Err(Failure::new(what()).because(why));
        }
    }
    Ok(files)
}

fn run_all(trial: &Trial, file: &str, all: &[Case]) -> Result<Vec<Ran>, Failure> {
    let run = |case: &Case| {
        let mut ledger = Ledger::new();
        for name in &case.after {
            signed_before(trial, case, all, name, &mut ledger)?;
        }
        let found = trial.judge(&trial.prepare(case)?, &mut ledger)?;
        Ok(Ran {
            file: file.to_owned(),
            name: case.name.clone(),
            as_expected: found.is(&case.expected),
            expected: case.expected.clone(),
            found,
        })
    };
    all.iter().map(run).collect()
}

/// Charges what was signed before a case.
fn signed_before(
    trial: &Trial,
    case: &Case,
    all: &[Case],
    name: &str,
    ledger: &mut Ledger,
) -> Result<(), Failure> {
    let earlier = all.iter().find(|c| c.name == name && c.name != case.name);
    let earlier = earlier.ok_or_else(|| {
        case.place
            .fault("after", format!("the file has no other case `{name}`"))
    })?;
    let found = trial.judge(&trial.prepare(earlier)?, ledger)?;
    if found.decision == Decision::Permit {
        return Ok(());
    }
    let why = format!("`{name}` is not signed: {}", found.message);
    Err(case.place.fault("after", why))
}

impl Report {
    fn lines(&self) -> Vec<String> {
        let names = self.cases.iter().map(|c| c.name.chars().count());
        let width = names.max().unwrap_or(0);
        let mut lines = Vec::new();
        for case in &self.cases {
            let verdict = if case.as_expected { "ok  " } else { "DIFF" };
            let (name, found) = (&case.name, words(&case.found));
            lines.push(format!("{verdict}  {name:<width$}  {found}"));
            if !case.as_expected {
                lines.push(format!("      expected {}", expected(&case.expected)));
                if !case.found.message.is_empty() {
                    lines.push(format!("      {}", case.found.message));
                }
            }
        }
        let all = self.cases.len();
        let fine = all.saturating_sub(self.differ);
        lines.push(format!("{fine} of {all} cases as expected"));
        lines
    }
}

fn words(found: &Found) -> String {
    let mut text = found.decision.name().to_owned();
    if let Some(reason) = found.reason {
        text.push_str(&format!(", {}", reason_name(reason)));
    }
    text + &by(&found.rules)
}

fn expected(expected: &Expected) -> String {
    let mut text = expected.decision.name().to_owned();
    if let Some(reason) = expected.reason {
        text.push_str(&format!(", {}", reason_name(reason)));
    }
    text + &expected.rules.as_ref().map(by).unwrap_or_default()
}

fn by<'a>(rules: impl IntoIterator<Item = &'a String>) -> String {
    let rules: Vec<String> = rules.into_iter().map(|r| format!("`{r}`")).collect();
    match rules.is_empty() {
        true => String::new(),
        false => format!(", by {}", rules.join(", ")),
    }
}

/// A reason as cases write it.
pub fn reason_name(reason: quoin_policy::DenialReason) -> String {
    let value = serde_json::to_value(reason).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
