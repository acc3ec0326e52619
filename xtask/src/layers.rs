//! `cargo xtask layers`: arrows between crates point down only.
//!
//! The table below is the picture of the house in ARCHITECTURE.md, in a form that can fail. It
//! looks at normal and build dependencies; what tests use is free.

mod paths;

use crate::failure::Failure;
use crate::report;
use crate::workspace::Workspace;
use serde_json::Value;
use std::path::Path;

/// The help text.
pub const HELP: &str = "\
Check the arrows between crates.

Usage: cargo xtask layers [--table]

A crate of ours may depend only on those that the table allows it. Words and logic may not depend
on anything that brings a clock, a socket, a thread or entropy of its own. The gateway may use the
public, secret-free part of the protocol crate and nothing else of it.

Options:
  --table  print the table and its reasons

Examples:
  cargo xtask layers
  cargo xtask layers --table";

/// Crates of ours on which every crate with `All` may depend.
const ALL: &[&str] = &[
    "quoin-core",
    "quoin-chain",
    "quoin-policy",
    "quoin-protocol",
    "quoin-api",
    "quoin-link",
    "quoin-node",
    "quoin-gateway",
];

/// A crate's place in the house.
struct Place {
    name: &'static str,
    /// Whether the crate is words or logic: sans-IO.
    pure: bool,
    /// Crates of ours on which it may depend.
    below: &'static [&'static str],
    reason: &'static str,
}

/// The house, bottom first.
const HOUSE: &[Place] = &[
    Place {
        name: "quoin-core",
        pure: true,
        below: &[],
        reason: "words: everyone speaks them, so they know no one",
    },
    Place {
        name: "quoin-chain",
        pure: true,
        below: &["quoin-core"],
        reason: "decodes a payload without knowing who asks or what is allowed",
    },
    Place {
        name: "quoin-policy",
        pure: true,
        below: &["quoin-core", "quoin-chain"],
        reason: "judges what a chain decoder made, and makes the only warrant",
    },
    Place {
        name: "quoin-protocol",
        pure: true,
        below: &["quoin-core", "quoin-chain", "quoin-policy"],
        reason: "signs only against a warrant, so it must see the crate that makes one",
    },
    Place {
        name: "quoin-api",
        pure: true,
        below: &["quoin-core"],
        reason: "wire types: bodies stay opaque, so it needs no logic",
    },
    Place {
        name: "quoin-link",
        pure: false,
        below: &["quoin-core"],
        reason: "moves opaque frames for node and gateway, so that neither must know the other",
    },
    Place {
        name: "quoin-node",
        pure: false,
        below: &[
            "quoin-core",
            "quoin-chain",
            "quoin-policy",
            "quoin-protocol",
            "quoin-api",
            "quoin-link",
        ],
        reason: "holds a share; must not know the gateway, which it does not trust",
    },
    Place {
        name: "quoin-gateway",
        pure: false,
        below: &[
            "quoin-core",
            "quoin-chain",
            "quoin-policy",
            "quoin-protocol",
            "quoin-api",
            "quoin-link",
        ],
        reason: "convenience, never authority: it must not know how a node keeps a share",
    },
    Place {
        name: "quoin-cli",
        pure: false,
        below: ALL,
        reason: "an edge: it starts everything, and nothing depends on it",
    },
    Place {
        name: "quoin-sim",
        pure: false,
        below: ALL,
        reason: "an edge: it drives the real cores, and nothing depends on it",
    },
    Place {
        name: "xtask",
        pure: false,
        below: &[],
        reason: "a tool: it must build in seconds, before anything else does",
    },
];

/// What words and logic may not depend on: each brings a clock, a socket, a thread, a file or
/// entropy of its own.
const IMPURE: &[&str] = &[
    "async-std",
    "axum",
    "getrandom",
    "hyper",
    "mio",
    "rand",
    "rcgen",
    "reqwest",
    "rusqlite",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "tokio-rustls",
    "tracing",
    "ureq",
];

/// The crate whose use of the protocol crate is narrowed.
const GATEWAY: &str = "quoin-gateway";
/// What the gateway may use of the protocol crate: nothing here ever holds a secret.
const GATEWAY_MAY_USE: &[&str] = &[
    "combine",
    "KeyPublic",
    "share::KeyPublic",
    "verify_certificate",
];

/// Runs the command.
pub fn main(args: &[String]) -> Result<(), Failure> {
    if crate::wants_help(args) {
        report::say(HELP);
        return Ok(());
    }
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => step(&Workspace::load()?),
        ["--table"] => {
            for place in HOUSE {
                let below = place.below.join(", ");
                report::say(format_args!("{}: {}", place.name, place.reason));
                report::say(format_args!("    may use: {below}"));
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
    let mut violations = check_metadata(&workspace.metadata);
    let sources = workspace.root.join("crates").join(GATEWAY).join("src");
    violations.extend(check_gateway_sources(&sources)?);
    for violation in &violations {
        report::say(format_args!("layers: {violation}"));
    }
    match violations.len() {
        0 => Ok(()),
        count => Err(Failure::Findings {
            check: "layers",
            count,
        }),
    }
}

/// Every arrow that the table does not allow.
fn check_metadata(metadata: &Value) -> Vec<String> {
    let mut violations = Vec::new();
    let packages = list(metadata, "packages");
    let members: Vec<&str> = packages.iter().map(|p| text(p, "name")).collect();
    for package in packages {
        let name = text(package, "name");
        let Some(place) = HOUSE.iter().find(|place| place.name == name) else {
            violations.push(format!(
                "`{name}` has no place in the house: add it to the table with a reason"
            ));
            continue;
        };
        let binds = |dependency: &&Value| text(dependency, "kind") != "dev";
        for dependency in list(package, "dependencies").iter().filter(binds) {
            let other = text(dependency, "name");
            if members.contains(&other) && !place.below.contains(&other) {
                let reason = place.reason;
                violations.push(format!("`{name}` may not use `{other}`: {name} {reason}"));
            }
            if place.pure && IMPURE.contains(&other) {
                violations.push(format!(
                    "`{name}` may not use `{other}`: words and logic bring no clock, socket, \
                     thread or entropy of their own"
                ));
            }
        }
    }
    for place in HOUSE.iter().filter(|place| !members.contains(&place.name)) {
        let name = place.name;
        violations.push(format!("`{name}` is in the table but not in the workspace"));
    }
    violations
}

fn check_gateway_sources(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut violations = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failure = |source| Failure::File {
            path: folder.display().to_string(),
            source,
        };
        for entry in std::fs::read_dir(&folder).map_err(failure)? {
            let path = entry.map_err(failure)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).map_err(failure)?;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                violations.extend(check_gateway_source(&name, &source));
            }
        }
    }
    violations.sort();
    Ok(violations)
}

/// Every use of the protocol crate in one file of the gateway that is not allowed.
fn check_gateway_source(name: &str, source: &str) -> Vec<String> {
    let allowed = |path: &String| {
        let is_under = |may: &&str| {
            let rest = path.strip_prefix(*may);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        GATEWAY_MAY_USE.iter().any(is_under)
    };
    paths::used(source, "quoin_protocol")
        .into_iter()
        .filter(|path| !allowed(path))
        .map(|path| {
            format!("{GATEWAY} `{name}` may not use `quoin_protocol::{path}`: only `combine`")
        })
        .collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value.get(key).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The house as it should be, with more dependencies of one kind for one crate.
    fn metadata(name: &str, kind: Value, more: &[&str]) -> Value {
        let package = |place: &Place| {
            let below = place
                .below
                .iter()
                .map(|name| json!({"name": name, "kind": null}));
            let mut all: Vec<Value> = below.collect();
            if place.name == name {
                all.extend(
                    more.iter()
                        .map(|other| json!({"name": other, "kind": kind})),
                );
            }
            json!({"name": place.name, "dependencies": all})
        };
        json!({"packages": HOUSE.iter().map(package).collect::<Vec<_>>()})
    }

    fn violations(name: &str, more: &[&str]) -> Vec<String> {
        check_metadata(&metadata(name, json!(null), more))
    }

    #[test]
    fn the_table_itself_passes() {
        assert_eq!(violations("", &[]), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_that_points_up_is_refused() {
        for (name, other) in [
            ("quoin-core", "quoin-chain"),
            ("quoin-chain", "quoin-policy"),
            ("quoin-policy", "quoin-protocol"),
            ("quoin-protocol", "quoin-node"),
            ("quoin-api", "quoin-policy"),
            ("quoin-link", "quoin-api"),
            ("quoin-node", "quoin-gateway"),
            ("quoin-gateway", "quoin-node"),
            ("quoin-cli", "quoin-sim"),
            ("xtask", "quoin-core"),
        ] {
            let found = violations(name, &[other]);
            assert_eq!(found.len(), 1, "{name} to {other}: {found:?}");
            assert!(found[0].contains(other), "{found:?}");
        }
    }

    #[test]
    fn words_and_logic_refuse_clocks_sockets_and_entropy() {
        for place in HOUSE {
            for other in IMPURE {
                let found = violations(place.name, &[other]);
                assert_eq!(found.len(), usize::from(place.pure), "{}", place.name);
            }
        }
    }

    #[test]
    fn build_dependencies_bind_and_test_dependencies_do_not() {
        let more = ["tokio", "quoin-node"];
        let build = metadata("quoin-core", json!("build"), &more);
        assert_eq!(check_metadata(&build).len(), 2);
        let dev = metadata("quoin-core", json!("dev"), &more);
        assert_eq!(check_metadata(&dev), Vec::<String>::new());
    }

    #[test]
    fn a_crate_without_a_place_and_a_place_without_a_crate_are_refused() {
        let mut document = metadata("", json!(null), &[]);
        document["packages"][0]["name"] = json!("quoin-utils");
        let found = check_metadata(&document);
        assert!(
            found
                .iter()
                .any(|v| v.contains("`quoin-utils` has no place"))
        );
        assert!(
            found
                .iter()
                .any(|v| v.contains("`quoin-core` is in the table"))
        );
    }

    #[test]
    fn the_gateway_may_combine_and_nothing_else() {
        let found = |source: &str| check_gateway_source("a.rs", source);
        for good in [
            "use quoin_protocol::combine;",
            "use quoin_protocol::combine::{self, Partial};",
            "use quoin_protocol::{KeyPublic, combine::Partial, verify_certificate as check};",
            "let k: quoin_protocol::share::KeyPublic = x;",
            "// quoin_protocol::sign is not for us",
            "use quoin_protocol_extra::sign;",
        ] {
            assert_eq!(found(good), Vec::<String>::new(), "{good}");
        }
        for bad in [
            "use quoin_protocol::sign;",
            "use quoin_protocol::*;",
            "use quoin_protocol::{combine, KeyShare};",
            "use quoin_protocol::{\n    combine,\n    share::{KeyPublic, KeyShare},\n};",
            "use quoin_protocol as p;",
            "use quoin_protocol::{self as p};",
            "let s: quoin_protocol::share::KeyShare = x;",
            "quoin_protocol::combined::x()",
        ] {
            assert_eq!(found(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn the_house_as_built_passes() {
        step(&Workspace::load().unwrap()).unwrap();
    }
}
