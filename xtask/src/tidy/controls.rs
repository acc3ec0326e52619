//! The rule for `docs/controls.md`: every control that is owed has an acceptance test, and every test
//! that the page names is there.
//!
//! The page names a test as `crate/path/to/file.rs#name_of_the_test`, in backticks. A test that was
//! renamed or removed would otherwise go on being promised to readers.

use super::{Finding, SourceFile};

const PAGE: &str = "docs/controls.md";
/// The controls that have to have a test. The others wait for parts that are not built.
const OWED: std::ops::RangeInclusive<u8> = 1..=16;

/// Names on the page that are no test, and controls without one.
pub fn controls_have_tests(files: &[SourceFile]) -> Vec<Finding> {
    let Some(page) = files.iter().find(|f| f.path == PAGE) else {
        return vec![Finding {
            path: PAGE.to_owned(),
            line: 1,
            message: "the page is missing: it says which test shows which control".to_owned(),
        }];
    };
    let mut findings = Vec::new();
    let mut shown = [false; 32];
    for (number, line) in page.lines() {
        let names: Vec<(&str, &str)> = line
            .split('`')
            .filter_map(|t| t.split_once(".rs#"))
            .collect();
        for (path, name) in &names {
            if !is_test(files, &format!("crates/{path}.rs"), name) {
                let message = format!("`{path}.rs` has no test `{name}`");
                findings.push(page.finding(number, message));
            }
        }
        let control = control_of(line).filter(|_| !names.is_empty());
        if let Some(place) = control.and_then(|c| shown.get_mut(usize::from(c))) {
            *place = true;
        }
    }
    let bare = OWED.filter(|c| !shown.get(usize::from(*c)).is_some_and(|shown| *shown));
    findings.extend(bare.map(|c| page.finding(1, format!("control C{c} names no test"))));
    findings
}

/// The control of a table's row: `| C7 | …`.
fn control_of(line: &str) -> Option<u8> {
    let cell = line.strip_prefix("| C")?.split(' ').next()?;
    cell.trim_end_matches(|c: char| c.is_ascii_lowercase())
        .parse()
        .ok()
}

fn is_test(files: &[SourceFile], path: &str, name: &str) -> bool {
    let Some(file) = files.iter().find(|f| f.path == path) else {
        return false;
    };
    let lines: Vec<&str> = file.text.lines().collect();
    let opens = format!("fn {name}(");
    lines.iter().enumerate().any(|(place, line)| {
        let before = lines.get(..place).unwrap_or_default();
        let mut attributes = before
            .iter()
            .rev()
            .take_while(|l| l.trim_start().starts_with('#'));
        line.contains(&opens) && attributes.any(|l| is_test_attribute(l))
    })
}

fn is_test_attribute(line: &str) -> bool {
    let line = line.trim_start();
    line == "#[test]" || line.starts_with("#[tokio::test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn rows(missing: u8) -> String {
        let rows = OWED.filter(|c| *c != missing);
        rows.map(|c| format!("| C{c} | what | `a/src/t.rs#holds` |\n"))
            .collect()
    }

    fn messages(page: &str, source: &str) -> Vec<String> {
        let files = [file(PAGE, page), file("crates/a/src/t.rs", source)];
        let findings = controls_have_tests(&files);
        findings.into_iter().map(|f| f.message).collect()
    }

    const SOURCE: &str = "#[test]\nfn holds() {}\n\nfn helper() {}\n";

    #[test]
    fn a_page_whose_tests_are_there_is_fine() {
        assert_eq!(messages(&rows(0), SOURCE), [""; 0]);
        let asynchronous = "#[tokio::test(flavor = \"multi_thread\")]\nasync fn holds() {}\n";
        assert_eq!(messages(&rows(0), asynchronous), [""; 0]);
    }

    #[test]
    fn a_control_without_a_test_is_found() {
        assert_eq!(messages(&rows(12), SOURCE), ["control C12 names no test"]);
        let promised = rows(12) + "| C12 | what | to come |\n";
        assert_eq!(messages(&promised, SOURCE), ["control C12 names no test"]);
    }

    #[test]
    fn a_name_that_is_no_test_is_found() {
        for name in ["gone", "helper"] {
            let page = rows(0) + &format!("see `a/src/t.rs#{name}`\n");
            let expected = format!("`a/src/t.rs` has no test `{name}`");
            assert_eq!(messages(&page, SOURCE), [expected]);
        }
        let page = rows(0) + "see `a/src/gone.rs#holds`\n";
        assert_eq!(messages(&page, SOURCE).len(), 1);
    }

    #[test]
    fn a_page_that_is_missing_is_found() {
        assert_eq!(controls_have_tests(&[]).len(), 1);
    }
}
