//! `cargo xtask tidy`: rules for the text of every file that git tracks or would track.
//!
//! Rules that need no compiler. Each is a pure function over the files, with a test that feeds it
//! a bad sample. There is no way to switch a rule off for one line: change the file or the rule.

mod controls;
mod rules;

use crate::failure::Failure;
use crate::report;
use crate::workspace::Workspace;
use rules::RULES;
use std::fmt;

/// The help text.
pub const HELP: &str = "\
Check the text of all files against the rules of the house.

Usage: cargo xtask tidy [--list]

Looks at files that git tracks and at new ones it does not ignore.

Options:
  --list   print the rules and their reasons

Examples:
  cargo xtask tidy
  cargo xtask tidy --list";

/// Runs the command.
pub fn main(args: &[String]) -> Result<(), Failure> {
    if crate::wants_help(args) {
        report::say(HELP);
        return Ok(());
    }
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => step(&Workspace::load()?),
        ["--list"] => {
            for rule in RULES {
                report::say(format_args!("{:<20} {}", rule.name, rule.reason));
            }
            Ok(())
        }
        _ => {
            let message = format!("unknown arguments `{}`", args.join(" "));
            Err(Failure::usage(message, HELP))
        }
    }
}

/// The step of `ci`.
pub fn step(workspace: &Workspace) -> Result<(), Failure> {
    let files = read_files(workspace)?;
    report::note(format_args!("tidy: {} files", files.len()));
    for warning in rules::tags_used(&files) {
        report::note(format_args!("warning: {warning}"));
    }
    let mut count = 0;
    for rule in RULES {
        for finding in (rule.check)(&files) {
            count += 1;
            report::say(format_args!("{}: {finding}", rule.name));
        }
    }
    match count {
        0 => Ok(()),
        count => Err(Failure::Findings {
            check: "tidy",
            count,
        }),
    }
}

/// A text file of the repository.
pub struct SourceFile {
    /// The path from the root, with forward slashes.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// The lines and their numbers, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.split('\n'))
    }

    /// A finding in this file.
    pub fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            message: message.into(),
        }
    }
}

/// A rule of the house.
pub struct Rule {
    /// The name that findings carry.
    pub name: &'static str,
    /// What the rule says and why it exists.
    pub reason: &'static str,
    /// Finds violations.
    pub check: fn(&[SourceFile]) -> Vec<Finding>,
}

/// One violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// All text files that git tracks or would track; binary files are left out.
fn read_files(workspace: &Workspace) -> Result<Vec<SourceFile>, Failure> {
    let list = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let names = workspace.program("git", &list).stdout(None)?;
    let mut files = Vec::new();
    for path in names.split('\0').filter(|name| !name.is_empty()) {
        let full = workspace.root.join(path);
        if !full.is_file() {
            // Deleted but not yet committed, or a link to a folder.
            continue;
        }
        let bytes = std::fs::read(&full).map_err(|source| Failure::File {
            path: path.to_owned(),
            source,
        })?;
        if let Ok(text) = String::from_utf8(bytes)
            && !text.contains('\0')
        {
            let path = path.to_owned();
            files.push(SourceFile { path, text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_this_repository_are_found_once_and_without_build_results() {
        let files = read_files(&Workspace::load().unwrap()).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        let this = paths.iter().filter(|path| **path == "xtask/src/tidy.rs");
        assert_eq!(this.count(), 1);
        assert!(!paths.iter().any(|path| path.starts_with("target/")));
        assert!(!paths.iter().any(|path| path.starts_with(".testbeds/")));
    }

    #[test]
    fn the_architecture_page_names_every_crate_of_this_workspace() {
        let files = read_files(&Workspace::load().unwrap()).unwrap();
        assert_eq!(rules::crates_are_named(&files), []);
    }
}
