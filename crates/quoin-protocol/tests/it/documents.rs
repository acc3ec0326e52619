//! The pages that make claims about this code are held to them: every test that a page names exists
//! where it says, every file that it names is there, and every link leads somewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

/// One claim: a test, the file that it is in, and the section that names it.
struct Claim {
    section: String,
    test: String,
    file: String,
}

/// The rows of all tables of a page whose last two columns are `test` and `file`.
fn claims(page: &str) -> Vec<Claim> {
    let mut section = String::new();
    let mut in_table = false;
    let mut all = Vec::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
        }
        in_table = line.starts_with('|') && (in_table || line.ends_with("| test | file |"));
        if !in_table || line.starts_with("|-") || line.ends_with("| test | file |") {
            continue;
        }
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [.., test, file] = cells.as_slice() else {
            panic!("`{line}` names no test");
        };
        all.push(Claim {
            section: section.clone(),
            test: test.trim_matches('`').to_owned(),
            file: (*file).to_owned(),
        });
    }
    all
}

/// Whether a source has a test of this name: the attribute stands right above the function, with
/// nothing but further attributes between.
fn has_test(source: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let mut above = lines[..at].iter().rev().take_while(|l| l.starts_with("#["));
        line.starts_with(&function) && above.any(|l| *l == "#[test]")
    })
}

fn missing(page: &str) -> Vec<String> {
    let mut sources = BTreeMap::new();
    let mut missing = Vec::new();
    for claim in claims(page) {
        let source = sources
            .entry(claim.file.clone())
            .or_insert_with(|| fs::read_to_string(root().join(&claim.file)).unwrap_or_default());
        if !has_test(source, &claim.test) {
            missing.push(format!("{} in {}", claim.test, claim.file));
        }
    }
    missing
}

#[test]
fn every_known_break_has_tests_and_they_exist() {
    let page = read("docs/known-breaks.md");
    assert_eq!(missing(&page), Vec::<String>::new());
    let claims = claims(&page);
    let sections: Vec<_> = page.lines().filter_map(|l| l.strip_prefix("## ")).collect();
    assert!(sections.len() >= 15, "{}", sections.len());
    for section in sections {
        let named = claims.iter().any(|claim| claim.section == section);
        assert!(named, "`{section}` names no test");
    }
}

#[test]
fn a_claim_without_its_test_is_found() {
    let table = |test: &str| {
        format!("## Break\n\n| what | test | file |\n|---|---|---|\n| x | `{test}` | {FILE} |\n")
    };
    const FILE: &str = "crates/quoin-protocol/tests/it/documents.rs";
    assert!(missing(&table("a_claim_without_its_test_is_found")).is_empty());
    assert_eq!(missing(&table("has_test")).len(), 1, "no test");
    assert_eq!(missing(&table("a_claim")).len(), 1, "a prefix of a name");
    let elsewhere = table("a_claim_without_its_test_is_found").replace("documents", "main");
    assert_eq!(missing(&elsewhere).len(), 1, "another file");
}

/// Names of the breaks that the plan of this part lists; the page must speak of each.
#[test]
fn the_page_of_known_breaks_speaks_of_each_that_we_promised() {
    let page = read("docs/known-breaks.md").to_lowercase();
    for name in [
        "bitforge",
        "tsshock",
        "alpha-rays",
        "devious transfer",
        "kos consistency check",
        "selective failure in the extension",
        "gilboa",
        "2021/1330",
        "split view",
        "ghsa-wgq8-vr6r-mqxm",
        "rollback",
        "rogue keys",
        "malleable",
        "replayed",
    ] {
        assert!(page.contains(name), "`{name}`");
    }
}

#[test]
fn no_library_of_a_broken_family_is_linked() {
    let lock = read("Cargo.lock");
    let names: Vec<_> = lock
        .lines()
        .filter_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    assert!(names.contains(&"quoin-protocol"), "the lock file was read");
    // Paillier and what is built on it; engines with long-lived transfers; a licence we may not use.
    for part in [
        "paillier",
        "multi-party-ecdsa",
        "tss-lib",
        "kzen",
        "curv-kzen",
        "cggmp",
        "gg18",
        "gg20",
        "fast-paillier",
        "sl-dkls",
        "sl-oblivious",
        "silent-shard",
        "mpecdsa",
    ] {
        let found = names.iter().find(|name| name.contains(part));
        assert_eq!(found, None, "{part}");
    }
}

/// Files that the pages of this part name in backquotes or as link targets.
fn named_files(page: &str) -> Vec<String> {
    let quoted = page.split('`').skip(1).step_by(2);
    let is_file = |text: &&str| {
        let ending = Path::new(text).extension().and_then(|e| e.to_str());
        text.contains('/') && matches!(ending, Some("rs" | "md")) && !text.contains(' ')
    };
    quoted.filter(is_file).map(str::to_owned).collect()
}

fn links(page: &str) -> Vec<String> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .collect()
}

const PAGES: [&str; 5] = [
    "docs/known-breaks.md",
    "docs/constant-time.md",
    "docs/spec/README.md",
    "docs/spec/ecdsa.md",
    "docs/spec/frost.md",
];

#[test]
fn every_file_that_a_page_names_is_there() {
    for page in PAGES {
        let text = read(page);
        for file in named_files(&text) {
            // A path is from the root, or from the crate that the page is about.
            let places = ["", "crates/quoin-protocol/src/", "crates/quoin-protocol/"];
            let found = places.iter().any(|p| root().join(p).join(&file).exists());
            assert!(found, "{page}: `{file}`");
        }
        let folder = root().join(page).parent().unwrap().to_owned();
        for link in links(&text) {
            assert!(folder.join(&link).exists(), "{page}: {link}");
        }
    }
}

/// Numbers in the specification that a change of the code would make false.
#[test]
fn the_specification_has_the_constants_of_the_code() {
    let params = read("crates/quoin-protocol/src/ecdsa/params.rs");
    for line in [
        "pub(super) const ROW_BITS: usize = 128;",
        "pub(super) const TREE_DEPTH: usize = 4;",
        "pub(super) const COLUMNS: usize = 3;",
        "pub(super) const MASK_BLOCKS: usize = 2;",
        "pub(super) const BATCH_MAX: u16 = 256;",
        "pub(super) const PRODUCTION_OTS: usize = 256 + 2 * 80;",
        "const BATCH_MIN: u16 = 64;",
    ] {
        assert!(params.contains(line), "the specification says `{line}`");
    }
    let page = read("docs/spec/ecdsa.md");
    for number in ["416", "40 098", "8192", "52 B + 32", "64 to 256"] {
        assert!(page.contains(number), "{number}");
    }
}

/// Every domain tag of the two protocols has its line in the specification of its protocol.
#[test]
fn the_specification_lists_every_tag() {
    for (page, prefix) in [
        ("docs/spec/ecdsa.md", "quoin/ecdsa/v1/"),
        ("docs/spec/frost.md", "quoin/frost/v1/"),
    ] {
        let text = read(page);
        let tags = quoin_core::tags::ALL.iter().map(|tag| tag.text());
        let own: Vec<_> = tags.filter_map(|t| t.strip_prefix(prefix)).collect();
        assert!(own.len() >= 4);
        for tag in own {
            assert!(text.contains(&format!("`{tag}`")), "{page}: `{tag}`");
        }
    }
}
