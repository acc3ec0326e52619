//! The table of checks in the specification: complete, and every test in it real.

use super::*;

const PAGE: &str = include_str!("../../../../../docs/spec/share-life.md");

/// The files that the table names.
const FILES: [(&str, &str); 8] = [
    ("dkg/tests/certificates.rs", include_str!("certificates.rs")),
    ("dkg/tests/complaints.rs", include_str!("complaints.rs")),
    ("dkg/tests/envelopes.rs", include_str!("envelopes.rs")),
    ("dkg/tests/guards.rs", include_str!("guards.rs")),
    ("dkg/tests/malice.rs", include_str!("malice.rs")),
    ("dkg/tests/starts.rs", include_str!("starts.rs")),
    ("dkg/tests/succession.rs", include_str!("succession.rs")),
    ("dkg/tests/tampering.rs", include_str!("tampering.rs")),
];
const BACKUP: (&str, &str) = ("backup/tests.rs", include_str!("../../backup/tests.rs"));

/// A row: guard, test and file.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let section = PAGE.split("## 12. The checks").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    rows.skip(1)
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 5, "{row}");
            (
                cells[0].trim_matches('`'),
                cells[3].trim_matches('`'),
                cells[4],
            )
        })
        .collect()
}

/// The text of a test function, from its name to the next function that is a test.
fn body(test: &str, file: &str) -> &'static str {
    let mut files = FILES.iter().chain([&BACKUP]);
    let (_, text) = files.find(|(name, _)| *name == file).expect(file);
    let start = text.find(&format!("fn {test}(")).expect(test);
    let rest = &text[start..];
    rest.split("#[test]").next().unwrap()
}

#[test]
fn every_guard_has_a_row_with_a_test_that_switches_it_off() {
    let rows = rows();
    for guard in Guard::ALL {
        let of_guard: Vec<_> = rows.iter().filter(|(id, ..)| *id == guard.id()).collect();
        assert_eq!(of_guard.len(), 1, "{guard:?}");
        let (_, test, file) = of_guard[0];
        let named = body(test, file).contains(&format!("Guard::{guard:?}"));
        assert!(named, "{test} does not mention {guard:?}");
    }
    for (id, test, file) in rows {
        let known = id == "–" || Guard::ALL.iter().any(|guard| guard.id() == id);
        assert!(known, "{id}");
        assert!(!body(test, file).is_empty());
    }
}

#[test]
fn broadcasts_have_the_layout_of_the_specification() {
    for (cluster, point) in [
        (Cluster::new(Scheme::Ecdsa, 2, 3), 33),
        (Cluster::refresh(Scheme::Ecdsa, 2, 3), 33),
        (Cluster::refresh(Scheme::Ed25519, 3, 5), 32),
        (Cluster::reshare(Scheme::Ecdsa), 33),
    ] {
        let plan = cluster.plan();
        let (mut history, others) = (Vec::new(), cluster.nodes.len() - 1);
        cluster.run(&mut |sent| history.clone_from(sent));
        for me in cluster.nodes.keys() {
            let sent = |round: usize| &history[round][me].values().next().unwrap().broadcast;
            let deals = plan.deals(*me);
            let dealers = cluster.context(*me).dealers_for(*me).len();
            let small = |n: usize| u8::try_from(0x80 + n).unwrap();

            let first = sent(0);
            assert_eq!(first[..4], [0x84, 1, 0x58, 0x20]);
            assert_eq!(first[4..36], cluster.sid());
            let after = if deals { 70 } else { 37 };
            assert_eq!(first[36], if deals { 0x58 } else { 0xf6 });
            assert_eq!(first[after], small(dealers));
            assert_eq!(first.len(), after + 1 + dealers * 36);

            let second = sent(1);
            assert_eq!(second[..4], [0x84, 1, 0x58, 0x20]);
            if !deals {
                assert_eq!(second[36..], [0xf6, 0x80]);
                continue;
            }
            let born = plan.base().is_none();
            let refresh = matches!(plan.lineage, super::super::plan::Lineage::Refresh(_));
            let count = usize::from(plan.params.threshold) - usize::from(refresh);
            assert_eq!(second[36], if born { 0x83 } else { 0x82 });
            assert_eq!(second[37], small(count));
            let proof = if born { 1 + 2 + point + 34 } else { 0 };
            let after = 38 + count * (2 + point) + 34 + proof;
            assert_eq!(second[after], small(others));
            assert_eq!(second.len(), after + 1 + others * (1 + 1 + 34 + 50));

            assert_eq!(sent(2)[..4], [0x83, 1, 0x58, 0x20]);
            assert_eq!(sent(2).len(), 36 + 2 + point);
        }
    }
}
