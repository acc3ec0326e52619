//! The lines in which two texts differ.

use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter, Result as FmtResult};

/// Texts whose lines multiply to more are shown whole, old and new: comparing them takes that long.
const CELLS_MAX: usize = 4_000_000;

/// A line of a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "text", rename_all = "kebab-case")]
pub enum DiffLine {
    /// In both.
    Same(String),
    /// Only in the old text.
    Removed(String),
    /// Only in the new text.
    Added(String),
}

impl Display for DiffLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        match self {
            Self::Same(line) => write!(f, "  {line}"),
            Self::Removed(line) => write!(f, "- {line}"),
            Self::Added(line) => write!(f, "+ {line}"),
        }
    }
}

/// The lines of both texts, as few of them changed as possible.
#[must_use]
pub fn line_diff(old: &str, new: &str) -> Vec<DiffLine> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let lengths = common(&old, &new);
    let at = |i: usize, j: usize| lengths.get(i).and_then(|row| row.get(j)).copied();
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::with_capacity(old.len() + new.len());
    loop {
        match (old.get(i), new.get(j)) {
            (None, None) => return out,
            (Some(a), Some(b)) if a == b && !lengths.is_empty() => {
                out.push(DiffLine::Same((*a).to_owned()));
                (i, j) = (i + 1, j + 1);
            }
            // What leaves stands before what comes.
            (Some(a), _) if at(i + 1, j) >= at(i, j + 1) || j == new.len() => {
                out.push(DiffLine::Removed((*a).to_owned()));
                i += 1;
            }
            (_, Some(b)) => {
                out.push(DiffLine::Added((*b).to_owned()));
                j += 1;
            }
            (Some(a), None) => {
                out.push(DiffLine::Removed((*a).to_owned()));
                i += 1;
            }
        }
    }
}

/// For each pair of places the length of the longest common run of lines from there on; nothing for
/// texts that are too long.
fn common(old: &[&str], new: &[&str]) -> Vec<Vec<u32>> {
    if (old.len() + 1).saturating_mul(new.len() + 1) > CELLS_MAX {
        return Vec::new();
    }
    let mut below = vec![0u32; new.len() + 1];
    let mut rows = vec![below.clone()];
    for a in old.iter().rev() {
        let mut row = vec![0u32; new.len() + 1];
        let mut right = 0;
        for (j, b) in new.iter().enumerate().rev() {
            let diagonal = below.get(j + 1).copied().unwrap_or(0);
            let under = below.get(j).copied().unwrap_or(0);
            right = if a == b {
                diagonal + 1
            } else {
                under.max(right)
            };
            if let Some(cell) = row.get_mut(j) {
                *cell = right;
            }
        }
        below.clone_from(&row);
        rows.push(row);
    }
    rows.reverse();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_changed_line_is_removed_and_added() {
        let lines: Vec<String> = line_diff("a\nb\nc", "a\nx\nc\nd")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(lines, ["  a", "- b", "+ x", "  c", "+ d"]);
        assert!(line_diff("", "").is_empty());
    }

    #[test]
    fn texts_that_are_too_long_to_compare_are_shown_whole() {
        let long = "x\n".repeat(2001);
        assert_eq!(line_diff(&long, &long).len(), 4002);
    }

    proptest! {
        #[test]
        fn both_texts_can_be_read_from_their_difference(
            old in prop::collection::vec("[ab]", 0..12),
            new in prop::collection::vec("[ab]", 0..12),
        ) {
            let diff = line_diff(&old.join("\n"), &new.join("\n"));
            let side = |keep: fn(&DiffLine) -> Option<&String>| {
                diff.iter().filter_map(keep).cloned().collect::<Vec<_>>()
            };
            let left = side(|line| match line {
                DiffLine::Same(text) | DiffLine::Removed(text) => Some(text),
                DiffLine::Added(_) => None,
            });
            let right = side(|line| match line {
                DiffLine::Same(text) | DiffLine::Added(text) => Some(text),
                DiffLine::Removed(_) => None,
            });
            prop_assert_eq!(left, old);
            prop_assert_eq!(right, new);
        }
    }
}
