//! What a proposed charter changes, in words: for the people who have to sign, approve or veto it.
//!
//! A plan says what differs and, where it is plain, whether that lets more or less through. It proves
//! nothing: whether new policies only tighten is what `quoin policy prove` answers.

mod diff;
mod parts;
mod tree;
mod warnings;

pub use diff::{DiffLine, line_diff};
pub use tree::{GrantLine, grants};

use crate::constitution::Constitution;
use crate::governance::{CharterPart, changed_parts};
use quoin_core::{CharterNumber, TimeMs};
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter, Result as FmtResult};

/// What one charter changes of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The number of the one that is changed.
    pub from: CharterNumber,
    /// The number of the other.
    pub to: CharterNumber,
    /// The parts that differ.
    pub parts: Vec<PartPlan>,
    /// What somebody should look at twice, whether it is new or not.
    pub warnings: Vec<String>,
}

/// What changes in one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartPlan {
    /// The part.
    pub part: CharterPart,
    /// Every change. Empty when only an order changed that means nothing.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Whether it lets more or less through.
    pub direction: Direction,
    /// What changes, in words.
    pub what: String,
    /// For texts: the lines that differ, and those around them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<DiffLine>,
}

/// Whether a change lets more or less through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Less.
    Tightens,
    /// More.
    Loosens,
    /// Neither, both, or not to be seen from here.
    Neutral,
}

impl Change {
    pub(crate) fn new(direction: Direction, what: impl Into<String>) -> Self {
        Self {
            direction,
            what: what.into(),
            lines: Vec::new(),
        }
    }

    pub(crate) fn tightens(what: impl Into<String>) -> Self {
        Self::new(Direction::Tightens, what)
    }

    pub(crate) fn loosens(what: impl Into<String>) -> Self {
        Self::new(Direction::Loosens, what)
    }

    pub(crate) fn neutral(what: impl Into<String>) -> Self {
        Self::new(Direction::Neutral, what)
    }
}

/// What `new` changes of `old`; `now` is for the warnings about grants.
#[must_use]
pub fn plan(old: &Constitution, new: &Constitution, now: TimeMs) -> Plan {
    let parts = changed_parts(old.charter(), new.charter());
    let parts = parts.into_iter().map(|part| PartPlan {
        part,
        changes: parts::changes(part, old.charter(), new.charter()),
    });
    Plan {
        from: old.number(),
        to: new.number(),
        parts: parts.collect(),
        warnings: warnings::warnings(old, new, now),
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        writeln!(f, "charter {} → {}", self.from.0, self.to.0)?;
        if self.parts.is_empty() {
            writeln!(f, "nothing changes")?;
        }
        for part in &self.parts {
            writeln!(f, "\n{}", part.part.name())?;
            if part.changes.is_empty() {
                writeln!(f, "  = only the order changes")?;
            }
            for change in &part.changes {
                write!(f, "{change}")?;
            }
        }
        if !self.warnings.is_empty() {
            writeln!(f, "\nwarnings")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  ! {warning}")?;
        }
        Ok(())
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let sign = match self.direction {
            Direction::Tightens => "- tightens:",
            Direction::Loosens => "+ loosens:",
            Direction::Neutral => "~",
        };
        writeln!(f, "  {sign} {}", self.what)?;
        for line in &self.lines {
            writeln!(f, "      {line}")?;
        }
        Ok(())
    }
}
