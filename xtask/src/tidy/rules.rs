//! The rules, one function each.
//!
//! Words that a rule forbids are written in two halves, so that this file obeys its own rules and
//! needs no exception.

use super::{Finding, Rule, SourceFile};

/// All rules, in the order in which they are checked.
pub const RULES: &[Rule] = &[
    Rule {
        name: "file-length",
        reason: "a Rust file has fewer than 1,000 lines: a longer one holds more than one thing",
        check: file_length,
    },
    Rule {
        name: "file-header",
        reason: "a Rust file opens with `//!`: what it is, what it is not, its source",
        check: file_header,
    },
    Rule {
        name: "leftovers",
        reason: "nothing unfinished is committed: open an issue instead",
        check: leftovers,
    },
    Rule {
        name: "ignored-tests",
        reason: "an ignored test says why, or it is forgotten",
        check: ignored_tests,
    },
    Rule {
        name: "entropy",
        reason: "logic crates take randomness as a parameter, or no run could be replayed",
        check: entropy,
    },
    Rule {
        name: "machine-paths",
        reason: "a path of one machine means nothing on another",
        check: machine_paths,
    },
    Rule {
        name: "registries",
        reason: "packages come from the public registry, by its default name",
        check: registries,
    },
    Rule {
        name: "whitespace",
        reason: "no trailing blanks, one newline at the end: diffs show changes only",
        check: whitespace,
    },
    Rule {
        name: "architecture",
        reason: "ARCHITECTURE.md names every crate, so that the map is never older than the land",
        check: crates_are_named,
    },
    Rule {
        name: "readme",
        reason: "README.md shows the two commands: the run and the test",
        check: readme_commands,
    },
    Rule {
        name: "controls",
        reason: "docs/controls.md names the test that shows each control, and the test is there",
        check: super::controls::controls_have_tests,
    },
];

/// A Rust file has fewer lines than this.
const LINES_MAX: usize = 1_000;

/// Macros and marks of unfinished work.
const LEFTOVERS: [&str; 5] = [
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("db", "g!"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// Crates that take randomness as a parameter only.
const LOGIC: [&str; 5] = [
    "crates/quoin-core/src/",
    "crates/quoin-chain/src/",
    "crates/quoin-policy/src/",
    "crates/quoin-protocol/src/",
    "crates/quoin-api/src/",
];

/// Names of a source of randomness. Clippy refuses their import, but not a full path in an
/// expression.
const ENTROPY: [&str; 4] = ["OsRng", "getrandom", "thread_rng", "from_entropy"];

/// Folders that exist on one kind of machine only.
const MACHINE_FOLDERS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// The folder of temporary files; a name with digits under it was made by one run.
const TEMPORARY: &str = concat!("/t", "mp/");

/// Hosts that serve packages, or stand in for one that does.
const REGISTRIES: [&str; 9] = [
    concat!("index.cra", "tes.io"),
    concat!("static.cra", "tes.io"),
    concat!("registry.np", "mjs.org"),
    concat!("registry.yarn", "pkg.com"),
    concat!("py", "pi.org"),
    concat!("proxy.go", "lang.org"),
    concat!("jf", "rog"),
    concat!("arti", "factory"),
    concat!("verda", "ccio"),
];

/// The one source that the lock file may name.
const LOCK_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The commands that the README shows.
const README_COMMANDS: [&str; 2] = ["cargo run --release -- dev", "cargo xtask ci"];

/// Where the domain tags are.
const TAGS_FILE: &str = "crates/quoin-core/src/tags.rs";

fn file_length(files: &[SourceFile]) -> Vec<Finding> {
    let check = |file: &SourceFile| {
        let lines = file.text.lines().count();
        let message = format!("{lines} lines: split the file below {LINES_MAX}");
        (lines >= LINES_MAX).then(|| file.finding(LINES_MAX, message))
    };
    files
        .iter()
        .filter(|f| is_rust(f))
        .filter_map(check)
        .collect()
}

fn file_header(files: &[SourceFile]) -> Vec<Finding> {
    let ours = |file: &&SourceFile| {
        let path = file.path.as_str();
        let in_crates = path.starts_with("crates/") || path.starts_with("xtask/");
        // Compile-fail samples are read as input; a build script is not part of a crate's text.
        let sample = path.contains("/tests/ui/") || path.ends_with("/build.rs");
        is_rust(file) && in_crates && !sample
    };
    let check = |file: &SourceFile| {
        let message = "the first line is not `//!`: say what the file is and is not";
        (!file.text.starts_with("//!")).then(|| file.finding(1, message))
    };
    files.iter().filter(ours).filter_map(check).collect()
}

fn leftovers(files: &[SourceFile]) -> Vec<Finding> {
    each_line(files, |file, number, line| {
        // Checksums of the lock file may spell anything.
        if file.path == "Cargo.lock" {
            return None;
        }
        let found = LEFTOVERS.iter().find(|word| has_word(line, word))?;
        Some(file.finding(number, format!("`{found}` is unfinished work")))
    })
}

fn ignored_tests(files: &[SourceFile]) -> Vec<Finding> {
    const IGNORE: &str = concat!("#[ig", "nore");
    each_line(files, |file, number, line| {
        if !is_rust(file) {
            return None;
        }
        let rest = line.split_once(IGNORE)?.1;
        let reason = rest.trim_start().strip_prefix('=').map(str::trim_start);
        let given = reason.is_some_and(|text| text.starts_with('"') && !text.starts_with("\"\""));
        let message = format!("`{IGNORE}` without `= \"reason\"`");
        (!given).then(|| file.finding(number, message))
    })
}

fn entropy(files: &[SourceFile]) -> Vec<Finding> {
    each_line(files, |file, number, line| {
        if !is_rust(file) || !LOGIC.iter().any(|crate_| file.path.starts_with(crate_)) {
            return None;
        }
        let code = line.split_once("//").map_or(line, |(code, _)| code);
        let found = ENTROPY.iter().find(|name| has_word(code, name))?;
        let message = format!("`{found}` in logic: take `&mut dyn CryptoRngCore`");
        Some(file.finding(number, message))
    })
}

fn machine_paths(files: &[SourceFile]) -> Vec<Finding> {
    each_line(files, |file, number, line| {
        let message = |path: &str| format!("`{path}` exists on one machine only");
        for folder in MACHINE_FOLDERS {
            if path_tails(line, folder).next().is_some() {
                return Some(file.finding(number, message(folder)));
            }
        }
        let made_by_a_run = path_tails(line, TEMPORARY).any(|tail| {
            let name = tail.split(|c: char| !is_path_char(c)).next();
            name.is_some_and(|name| name.contains(|c: char| c.is_ascii_digit()))
        });
        made_by_a_run.then(|| file.finding(number, message(TEMPORARY)))
    })
}

fn registries(files: &[SourceFile]) -> Vec<Finding> {
    each_line(files, |file, number, line| {
        if file.path == "Cargo.lock" {
            let source = line.strip_prefix("source = \"")?.strip_suffix('"')?;
            let message = format!("source `{source}` is not the public registry");
            return (source != LOCK_SOURCE).then(|| file.finding(number, message));
        }
        let lower = line.to_ascii_lowercase();
        let host = REGISTRIES.iter().find(|host| lower.contains(**host))?;
        Some(file.finding(number, format!("`{host}` is a registry's host")))
    })
}

fn whitespace(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = each_line(files, |file, number, line| {
        let trailing = line.ends_with([' ', '\t', '\r']);
        trailing.then(|| file.finding(number, "blanks at the end of the line"))
    });
    for file in files {
        let last = file.text.split('\n').count();
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            findings.push(file.finding(last, "no newline at the end of the file"));
        }
        if file.text.ends_with("\n\n") {
            findings.push(file.finding(last, "empty lines at the end of the file"));
        }
    }
    findings
}

/// Every folder under `crates/` with a manifest, and `xtask`, is named in ARCHITECTURE.md.
pub fn crates_are_named(files: &[SourceFile]) -> Vec<Finding> {
    const PAGE: &str = "ARCHITECTURE.md";
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return missing(PAGE);
    };
    let names = files.iter().filter_map(|file| {
        let folder = file.path.strip_suffix("/Cargo.toml")?;
        let name = folder.strip_prefix("crates/").unwrap_or(folder);
        (!name.contains('/')).then_some(name)
    });
    names
        .filter(|name| !page.text.contains(&format!("`{name}`")))
        .map(|name| page.finding(1, format!("does not name the crate `{name}`")))
        .collect()
}

fn readme_commands(files: &[SourceFile]) -> Vec<Finding> {
    const PAGE: &str = "README.md";
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return missing(PAGE);
    };
    README_COMMANDS
        .iter()
        .filter(|command| !page.text.contains(**command))
        .map(|command| page.finding(1, format!("does not show `{command}`")))
        .collect()
}

/// Domain tags that nothing uses yet. A warning only: a tag may be fixed before its first use,
/// because the table is part of the specification.
pub fn tags_used(files: &[SourceFile]) -> Vec<Finding> {
    let Some(table) = files.iter().find(|file| file.path == TAGS_FILE) else {
        return Vec::new();
    };
    let used = |name: &str| {
        let mut others = files.iter().filter(|file| file.path != TAGS_FILE);
        others.any(|file| is_rust(file) && has_word(&file.text, name))
    };
    let unused = |(number, line): (usize, &str)| {
        let (name, text) = line.trim_start().split_once(" = \"")?;
        let is_tag = text.ends_with("\";") && name.chars().all(is_tag_char);
        let message = format!("the tag `{name}` is not used by anything yet");
        (is_tag && !used(name)).then(|| table.finding(number, message))
    };
    table.lines().filter_map(unused).collect()
}

fn missing(page: &str) -> Vec<Finding> {
    vec![Finding {
        path: page.to_owned(),
        line: 1,
        message: "the file does not exist".to_owned(),
    }]
}

fn each_line(
    files: &[SourceFile],
    check: impl Fn(&SourceFile, usize, &str) -> Option<Finding>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        findings.extend(file.lines().filter_map(|(n, line)| check(file, n, line)));
    }
    findings
}

fn is_rust(file: &SourceFile) -> bool {
    file.path.ends_with(".rs")
}

fn is_tag_char(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_path_char(c: char) -> bool {
    is_word_char(c) || matches!(c, '.' | '-' | '/')
}

/// Whether `text` has `word` with no letter, digit or underscore on either side.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let (before, rest) = text.split_at(at);
        let after = rest.split_at(word.len()).1;
        // A word that ends in `!` is a macro: what follows it does not matter.
        let ends = word.ends_with('!') || !after.starts_with(is_word_char);
        ends && !before.ends_with(is_word_char)
    })
}

/// What follows `folder` wherever it stands as the beginning of an absolute path.
fn path_tails<'a>(line: &'a str, folder: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(folder).filter_map(move |(at, _)| {
        let (before, rest) = line.split_at(at);
        let absolute = !before.ends_with(is_path_char);
        absolute.then(|| rest.split_at(folder.len()).1)
    })
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

    /// The rule finds exactly `count` violations in a file of this path and text.
    fn finds(rule: fn(&[SourceFile]) -> Vec<Finding>, path: &str, text: &str, count: usize) {
        let findings = rule(&[file(path, text)]);
        assert_eq!(findings.len(), count, "{path}: {text:?}: {findings:?}");
    }

    #[test]
    fn file_length_refuses_a_thousand_lines() {
        finds(file_length, "a.rs", &"\n".repeat(999), 0);
        finds(file_length, "a.rs", &"\n".repeat(1_000), 1);
        finds(file_length, "a.md", &"\n".repeat(1_000), 0);
    }

    #[test]
    fn file_header_refuses_a_file_that_does_not_say_what_it_is() {
        finds(file_header, "crates/a/src/b.rs", "//! B.\n", 0);
        for text in ["use std::fmt;\n", "// B.\n", "\n//! B.\n", ""] {
            finds(file_header, "crates/a/src/b.rs", text, 1);
            finds(file_header, "xtask/src/b.rs", text, 1);
            finds(file_header, "crates/a/tests/ui/b.rs", text, 0);
            finds(file_header, "crates/a/build.rs", text, 0);
        }
    }

    #[test]
    fn leftovers_refuses_each_mark_of_unfinished_work() {
        for word in LEFTOVERS {
            finds(leftovers, "a.rs", &format!("    {word} (\"x\")\n"), 1);
            finds(leftovers, "a.rs", &format!("// {word}: later\n"), 1);
            finds(leftovers, "a.rs", &format!("a_{word}\n"), 0);
        }
        finds(leftovers, "Cargo.lock", &format!("{}\n", LEFTOVERS[4]), 0);
    }

    #[test]
    fn ignored_tests_refuses_an_ignored_test_without_a_reason() {
        let ignore = concat!("#[ig", "nore");
        finds(ignored_tests, "a.rs", &format!("{ignore}]\n"), 1);
        finds(ignored_tests, "a.rs", &format!("{ignore} = \"\"]\n"), 1);
        finds(ignored_tests, "a.rs", &format!("{ignore} = \"slow\"]\n"), 0);
    }

    #[test]
    fn entropy_refuses_a_source_of_randomness_in_logic() {
        for name in ENTROPY {
            let text = format!("let x = rand_core::{name}.next_u64();\n");
            for folder in LOGIC {
                finds(entropy, &format!("{folder}a.rs"), &text, 1);
            }
            finds(entropy, "crates/quoin-node/src/a.rs", &text, 0);
            finds(
                entropy,
                "crates/quoin-core/src/a.rs",
                &format!("// {name}\n"),
                0,
            );
        }
    }

    #[test]
    fn machine_paths_refuses_folders_of_one_machine() {
        for folder in MACHINE_FOLDERS {
            finds(machine_paths, "a.md", &format!("see {folder}x\n"), 1);
            finds(machine_paths, "a.md", &format!("`{folder}`\n"), 1);
            finds(machine_paths, "a.md", &format!("docs{folder}x\n"), 0);
        }
        finds(machine_paths, "a.md", &format!("{TEMPORARY}run-7/a\n"), 1);
        finds(machine_paths, "a.md", &format!("{TEMPORARY}quoin/a 7\n"), 0);
    }

    #[test]
    fn registries_refuses_hosts_and_a_lock_file_from_elsewhere() {
        for host in REGISTRIES {
            finds(
                registries,
                "a.toml",
                &format!("x = \"https://{host}/\"\n"),
                1,
            );
        }
        let lock = |source: &str| format!("source = \"{source}\"\n");
        finds(registries, "Cargo.lock", &lock(LOCK_SOURCE), 0);
        for other in ["sparse+https://mirror.example/", "git+https://h.example/x"] {
            finds(registries, "Cargo.lock", &lock(other), 1);
        }
    }

    #[test]
    fn whitespace_refuses_blanks_and_a_wrong_end() {
        finds(whitespace, "a.md", "a\nb\n", 0);
        finds(whitespace, "a.md", "", 0);
        for bad in ["a \n", "a\t\n", "a\r\n", "a", "a\n\n"] {
            finds(whitespace, "a.md", bad, 1);
        }
    }

    #[test]
    fn architecture_refuses_a_page_that_leaves_a_crate_out() {
        let check = |page: &str| {
            crates_are_named(&[
                file("ARCHITECTURE.md", page),
                file("Cargo.toml", "[workspace]\n"),
                file("crates/quoin-core/Cargo.toml", ""),
                file("xtask/Cargo.toml", ""),
            ])
        };
        assert_eq!(check("`quoin-core` and `xtask`\n"), []);
        assert_eq!(check("`quoin-core-extra` and `xtask`\n").len(), 1);
        assert_eq!(check("`quoin-core`\n").len(), 1);
        assert_eq!(crates_are_named(&[]).len(), 1);
    }

    #[test]
    fn readme_refuses_a_page_without_the_two_commands() {
        let both = README_COMMANDS.join("\n");
        finds(readme_commands, "README.md", &both, 0);
        for command in README_COMMANDS {
            finds(readme_commands, "README.md", command, 1);
        }
        assert_eq!(readme_commands(&[]).len(), 1);
    }

    #[test]
    fn tags_used_names_the_tag_that_nothing_uses() {
        let table = file(TAGS_FILE, "    USED = \"a/v1\";\n    SPARE = \"b/v1\";\n");
        let user = file("crates/a/src/b.rs", "hash(tags::USED); SPARE_ROOM\n");
        let findings = tags_used(&[table, user]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].message.contains("`SPARE`"));
    }

    #[test]
    fn every_rule_is_in_the_table() {
        let names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
        let all = [
            "file-length",
            "file-header",
            "leftovers",
            "ignored-tests",
            "entropy",
            "machine-paths",
            "registries",
            "whitespace",
            "architecture",
            "readme",
            "controls",
        ];
        assert_eq!(names, all);
        assert!(RULES.iter().all(|rule| !rule.reason.is_empty()));
    }
}
