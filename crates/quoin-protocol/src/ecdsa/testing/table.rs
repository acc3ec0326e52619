//! The table of checks in `docs/spec/ecdsa-checks.md` is about this code: every guard has a line,
//! every test that it names exists, and the test of a guard switches that guard off.

use crate::ecdsa::guard::Guard;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

struct Line {
    row: String,
    guard: Option<String>,
    test: String,
    file: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn lines() -> Vec<Line> {
    let page = fs::read_to_string(root().join("docs/spec/ecdsa-checks.md")).unwrap();
    let plain = |cell: &str| cell.trim().trim_matches('`').to_owned();
    page.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| row "))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(plain).collect();
            let [row, guard, _, test, file] = cells.as_slice() else {
                panic!("`{line}` has not five cells");
            };
            Line {
                row: row.clone(),
                guard: (guard != "–").then(|| guard.clone()),
                test: test.clone(),
                file: file.clone(),
            }
        })
        .collect()
}

/// The text of a test, up to the next one; `None` when there is no test of that name.
fn body(source: &str, test: &str) -> Option<String> {
    let start = source.find(&format!("#[test]\n    fn {test}()"));
    let start = start.or_else(|| source.find(&format!("#[test]\nfn {test}()")))?;
    let rest = &source[start + 1..];
    let end = rest.find("#[test]").unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

#[test]
fn every_guard_has_a_line_and_a_test_that_switches_it_off() {
    let lines = lines();
    let mut sources = BTreeMap::new();
    for line in &lines {
        let source = sources
            .entry(line.file.clone())
            .or_insert_with(|| fs::read_to_string(root().join(&line.file)).unwrap());
        let text = body(source, &line.test);
        let text = text.unwrap_or_else(|| panic!("`{}` is no test of `{}`", line.test, line.file));
        let Some(id) = &line.guard else { continue };
        let guard = Guard::ALL.iter().find(|guard| guard.id() == id);
        let guard = guard.unwrap_or_else(|| panic!("`{id}` is no guard"));
        let switched = text.contains(&format!("Guard::{guard:?}"));
        assert!(switched, "`{}` does not switch off `{id}`", line.test);
    }
    for guard in Guard::ALL {
        let of_guard = |line: &&Line| line.guard.as_deref() == Some(guard.id());
        let own = lines.iter().filter(of_guard);
        let in_row = own.filter(|line| line.row == guard.row()).count();
        assert!(in_row > 0, "`{}` has no line in its row", guard.id());
    }
}

#[test]
fn every_row_of_the_construction_has_a_line() {
    let lines = lines();
    for row in 1..=36 {
        let row = row.to_string();
        assert!(lines.iter().any(|line| line.row == row), "row {row}");
    }
}

#[test]
fn guard_ids_are_distinct_and_one_is_off_at_a_time() {
    for (i, guard) in Guard::ALL.iter().enumerate() {
        assert!(Guard::ALL[..i].iter().all(|other| other.id() != guard.id()));
        assert!(!guard.holds(false) && !guard.is_off());
        guard.without(|| {
            let off: Vec<_> = Guard::ALL.iter().filter(|g| g.is_off()).collect();
            assert_eq!(off, [guard]);
            assert!(guard.holds(false));
        });
        assert!(guard.holds(true) && !guard.holds(false));
    }
}
