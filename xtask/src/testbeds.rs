//! `cargo xtask testbeds`: installs what tests need and a fresh machine lacks.
//!
//! Everything goes into the ignored folder `.testbeds/` of the repository, never into the user's
//! own folders, at exact versions. Foundry's platform packages are plain binaries, so the install
//! runs no scripts of theirs. The one exception is the browser, which no registry has as a plain
//! binary: it comes from Debian's packages, where there are any. Nothing here is needed to build or
//! to use Quoin. The solver comes as a Python package with a library and no program; a small script
//! of ours makes it one.

use crate::failure::Failure;
use crate::report;
use crate::workspace::{Workspace, is_ci};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The help text.
pub const HELP: &str = "\
Install what tests need and a fresh machine lacks, into `.testbeds/`; a browser by `apt-get`.

Usage: cargo xtask testbeds [--json]

Parts:
  nextest   the test runner `cargo nextest`, unless it is already there
  anvil     a local EVM chain node
  cast      an unmodified EVM client
  cvc5      the solver behind `quoin policy prove`
  chromium  a browser with a virtual authenticator, for passkeys; from the system's packages

A part that is present is left alone. One that cannot be installed is skipped with a line that
says so, or fails the command when `CI=true`.

Options:
  --json   print the parts and their paths as one JSON document

Examples:
  cargo xtask testbeds
  cargo xtask testbeds --json
  CI=true cargo xtask testbeds";

/// The folder of test beds under the root.
const FOLDER: &str = ".testbeds";
/// The version of both Foundry programs: the one the end-to-end tests were written against.
const FOUNDRY_VERSION: &str = "1.7.1";
/// The version of nextest: the newest known to build with the workspace's Rust.
const NEXTEST_VERSION: &str = "0.9.143";
/// The browser's names, by distribution.
const CHROMIUM: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// The Foundry programs that tests use.
const FOUNDRY: [&str; 2] = ["anvil", "cast"];
/// The version of the solver: the one that `cedar-policy-symcc` names.
const CVC5_VERSION: &str = "1.3.1";
/// The program around the solver's library.
const CVC5_WRAPPER: &str = include_str!("../solver/wrapper.py");
/// How long a program may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// Runs the command.
pub fn main(args: &[String]) -> Result<(), Failure> {
    if crate::wants_help(args) {
        report::say(HELP);
        return Ok(());
    }
    let json = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--json"] => true,
        _ => {
            let message = format!("unknown arguments `{}`", args.join(" "));
            return Err(Failure::usage(message, HELP));
        }
    };
    let parts = install(&Workspace::load()?);
    if json {
        report::say(document(&parts));
    } else {
        for part in &parts {
            report::say(part.line());
        }
    }
    verdict(&parts, is_ci())
}

/// The step of `ci`: the same, in text.
pub fn step(workspace: &Workspace) -> Result<(), Failure> {
    let parts = install(workspace);
    for part in &parts {
        report::note(part.line());
    }
    verdict(&parts, is_ci())
}

/// The folders that hold the binaries of the test beds, whether or not they exist yet.
pub fn binary_folders(root: &Path) -> Vec<PathBuf> {
    let foundry = FOUNDRY.iter().map(|name| foundry_folder(root, name));
    let cargo = root.join(FOLDER).join("cargo").join("bin");
    foundry.chain([cargo, cvc5_folder(root)]).collect()
}

/// What became of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It was there.
    Present,
    /// It was installed just now.
    Installed,
    /// It is not there, and why.
    Missing(String),
}

/// One test bed.
#[derive(Clone, Debug)]
struct Part {
    name: &'static str,
    version: &'static str,
    /// Where the binary is; none for a cargo subcommand found on the path.
    path: Option<PathBuf>,
    state: State,
}

impl Part {
    fn line(&self) -> String {
        let place = match &self.path {
            Some(path) => format!(" ({})", path.display()),
            None => String::new(),
        };
        let (name, version) = (self.name, self.version);
        match &self.state {
            State::Present => format!("{name}: present{place}"),
            State::Installed => format!("{name}: installed {version}{place}"),
            State::Missing(why) => format!("{name}: SKIPPED, tests that need it skip too: {why}"),
        }
    }
}

fn install(workspace: &Workspace) -> Vec<Part> {
    let mut parts = vec![nextest(workspace)];
    parts.extend(foundry(workspace));
    parts.push(chromium(workspace));
    parts.push(cvc5(workspace));
    parts
}

fn nextest(workspace: &Workspace) -> Part {
    let present = || has_nextest(workspace);
    let state = if present() {
        State::Present
    } else {
        report::note("installing cargo-nextest; this builds it and takes minutes");
        let package = format!("cargo-nextest@{NEXTEST_VERSION}");
        let root = format!("{FOLDER}/cargo");
        let args = ["install", "--locked", "--root", &root, &package];
        settle(workspace.cargo(&args).run_aside(), present)
    };
    Part {
        name: "nextest",
        version: NEXTEST_VERSION,
        path: None,
        state,
    }
}

fn chromium(workspace: &Workspace) -> Part {
    let runs = |name: &&str| workspace.program(name, &["--version"]).succeeds();
    let present = || CHROMIUM.iter().any(runs);
    let state = if present() {
        State::Present
    } else {
        report::note("installing chromium from the system's packages");
        settle(install_chromium(workspace), present)
    };
    Part {
        name: "chromium",
        version: "of the system's packages",
        path: None,
        state,
    }
}

/// Packages need root: whoever is not asks `sudo`, which must not ask back. The lists of packages
/// are fetched only when those at hand are of no use.
fn install_chromium(workspace: &Workspace) -> Result<(), Failure> {
    let who = workspace.program("id", &["-u"]).stdout(Some(VERSION_LIMIT));
    let root = who.is_ok_and(|id| id.trim() == "0");
    let apt = |args: &[&str]| {
        let with_sudo: Vec<&str> = ["-n", "apt-get"].iter().chain(args).copied().collect();
        let call = match root {
            true => workspace.program("apt-get", args),
            false => workspace.program("sudo", &with_sudo),
        };
        call.run_aside()
    };
    let install = ["install", "-y", "--no-install-recommends", "chromium"];
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
}

/// Whether `cargo nextest` runs.
pub fn has_nextest(workspace: &Workspace) -> bool {
    workspace.cargo(&["nextest", "--version"]).succeeds()
}

fn foundry(workspace: &Workspace) -> Vec<Part> {
    let here = |name: &str| foundry_is_present(workspace, name);
    let before: Vec<bool> = FOUNDRY.iter().map(|name| here(name)).collect();
    let outcome = if before.contains(&false) {
        report::note("installing anvil and cast");
        Some(install_foundry(workspace))
    } else {
        None
    };
    let failure = match outcome {
        Some(Err(failure)) => Some(failure.to_string()),
        _ => None,
    };
    let part = |(name, was_here): (&'static str, bool)| {
        let state = if was_here {
            State::Present
        } else if here(name) {
            State::Installed
        } else {
            let silent = || format!("installed, but does not run as version {FOUNDRY_VERSION}");
            State::Missing(failure.clone().unwrap_or_else(silent))
        };
        Part {
            name,
            version: FOUNDRY_VERSION,
            path: Some(foundry_binary(&workspace.root, name)),
            state,
        }
    };
    FOUNDRY.into_iter().zip(before).map(part).collect()
}

fn install_foundry(workspace: &Workspace) -> Result<(), Failure> {
    let prefix = workspace.root.join(FOLDER).join("npm");
    std::fs::create_dir_all(&prefix).map_err(|source| Failure::File {
        path: prefix.display().to_string(),
        source,
    })?;
    let packages = FOUNDRY.map(|name| format!("@foundry-rs/{name}@{FOUNDRY_VERSION}"));
    let prefix = prefix.to_string_lossy();
    let mut args = vec!["i", "--no-audit", "--no-fund", "--ignore-scripts"];
    args.extend(["--save-exact", "--prefix", &prefix]);
    args.extend(packages.iter().map(String::as_str));
    workspace.program("npm", &args).run_aside()
}

fn foundry_is_present(workspace: &Workspace, name: &str) -> bool {
    let binary = foundry_binary(&workspace.root, name);
    if !binary.is_file() {
        return false;
    }
    let version = workspace.program(binary, &["--version"]);
    version
        .stdout(Some(VERSION_LIMIT))
        .is_ok_and(|text| text.contains(FOUNDRY_VERSION))
}

fn foundry_binary(root: &Path, name: &str) -> PathBuf {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    foundry_folder(root, name).join(file)
}

fn foundry_folder(root: &Path, name: &str) -> PathBuf {
    let platform = platform(std::env::consts::OS, std::env::consts::ARCH);
    root.join(FOLDER)
        .join("npm/node_modules/@foundry-rs")
        .join(format!("{name}-{platform}"))
        .join("bin")
}

/// The platform as the packages' names spell it.
fn platform(os: &str, arch: &str) -> String {
    let os = match os {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    };
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{os}-{arch}")
}

fn cvc5(workspace: &Workspace) -> Part {
    let present = || cvc5_is_present(workspace);
    let state = if present() {
        State::Present
    } else {
        report::note("installing cvc5");
        settle(install_cvc5(workspace), present)
    };
    Part {
        name: "cvc5",
        version: CVC5_VERSION,
        path: Some(cvc5_binary(&workspace.root)),
        state,
    }
}

/// The package goes into an environment of its own, and the program beside it into a folder that
/// holds nothing else: that one is put on the path.
fn install_cvc5(workspace: &Workspace) -> Result<(), Failure> {
    let home = workspace.root.join(FOLDER).join("python");
    let folder = home.to_string_lossy();
    let venv = ["-m", "venv", &folder];
    workspace.program("python3", &venv).run_aside()?;
    let python = home.join("bin").join("python");
    let package = format!("cvc5=={CVC5_VERSION}");
    let mut args = vec!["-m", "pip", "install", "--disable-pip-version-check"];
    args.extend([
        "--no-input",
        "--no-deps",
        "--only-binary",
        ":all:",
        &package,
    ]);
    workspace.program(&python, &args).run_aside()?;
    let program = cvc5_binary(&workspace.root);
    let failed = |source| Failure::File {
        path: program.display().to_string(),
        source,
    };
    std::fs::create_dir_all(cvc5_folder(&workspace.root)).map_err(failed)?;
    std::fs::write(&program, cvc5_program(&python)).map_err(failed)?;
    make_executable(&program).map_err(failed)
}

/// The script, with the interpreter that has the package.
fn cvc5_program(python: &Path) -> String {
    format!("#!{}\n{CVC5_WRAPPER}", python.display())
}

/// Whether the program is this one and answers with the right version of the library.
fn cvc5_is_present(workspace: &Workspace) -> bool {
    let program = cvc5_binary(&workspace.root);
    let python = workspace.root.join(FOLDER).join("python/bin/python");
    let written = std::fs::read_to_string(&program);
    if !written.is_ok_and(|text| text == cvc5_program(&python)) {
        return false;
    }
    let version = workspace.program(program, &["--version"]);
    version
        .stdout(Some(VERSION_LIMIT))
        .is_ok_and(|text| text.contains(CVC5_VERSION))
}

fn cvc5_binary(root: &Path) -> PathBuf {
    cvc5_folder(root).join("cvc5")
}

fn cvc5_folder(root: &Path) -> PathBuf {
    root.join(FOLDER).join("cvc5").join("bin")
}

#[cfg(unix)]
fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

fn settle(outcome: Result<(), Failure>, present: impl Fn() -> bool) -> State {
    match outcome {
        Err(failure) => State::Missing(failure.to_string()),
        Ok(()) if present() => State::Installed,
        Ok(()) => State::Missing("installed, but does not run".to_owned()),
    }
}

fn document(parts: &[Part]) -> Value {
    let part = |part: &Part| {
        let (state, why) = match &part.state {
            State::Present => ("present", None),
            State::Installed => ("installed", None),
            State::Missing(why) => ("missing", Some(why)),
        };
        json!({
            "name": part.name,
            "version": part.version,
            "path": part.path.as_ref().map(|path| path.display().to_string()),
            "state": state,
            "why": why,
        })
    };
    json!({ "parts": parts.iter().map(part).collect::<Vec<_>>() })
}

/// A missing part is a failure in CI and a skip on a laptop.
fn verdict(parts: &[Part], ci: bool) -> Result<(), Failure> {
    let missing = parts
        .iter()
        .filter(|p| matches!(p.state, State::Missing(_)));
    let names: Vec<&str> = missing.map(|part| part.name).collect();
    if ci && !names.is_empty() {
        let names = names.join(", ");
        return Err(Failure::MissingTestbed { names });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &'static str, state: State) -> Part {
        Part {
            name,
            version: "1",
            path: Some(PathBuf::from("bin").join(name)),
            state,
        }
    }

    #[test]
    fn a_missing_part_fails_in_ci_and_is_skipped_aloud_on_a_laptop() {
        let parts = [
            part("anvil", State::Present),
            part("cast", State::Missing("no network".to_owned())),
        ];
        let failure = verdict(&parts, true).expect_err("refused");
        assert!(failure.to_string().contains("cast"), "{failure}");
        assert!(!failure.to_string().contains("anvil"), "{failure}");
        assert!(verdict(&parts, false).is_ok());
        assert!(parts[1].line().contains("SKIPPED"));
        assert!(parts[1].line().contains("no network"));
        assert!(verdict(&parts[..1], true).is_ok());
    }

    #[test]
    fn an_install_that_leaves_nothing_behind_counts_as_missing() {
        assert_eq!(settle(Ok(()), || true), State::Installed);
        assert!(matches!(settle(Ok(()), || false), State::Missing(_)));
    }

    #[test]
    fn the_document_names_path_and_state_of_each_part() {
        let parts = [
            part("anvil", State::Installed),
            part("cast", State::Missing("x".to_owned())),
        ];
        let document = document(&parts);
        assert_eq!(document["parts"][0]["state"], "installed");
        assert_eq!(document["parts"][0]["path"], "bin/anvil");
        assert_eq!(document["parts"][1]["why"], "x");
    }

    #[test]
    fn the_solver_runs_under_the_interpreter_that_has_its_library() {
        let program = cvc5_program(Path::new("/here/bin/python"));
        assert!(
            program.starts_with("#!/here/bin/python\n\"\"\""),
            "{program}"
        );
        assert!(program.contains("import cvc5"));
    }

    #[test]
    fn platforms_are_spelt_as_the_packages_spell_them() {
        assert_eq!(platform("linux", "x86_64"), "linux-amd64");
        assert_eq!(platform("macos", "aarch64"), "darwin-arm64");
    }
}
