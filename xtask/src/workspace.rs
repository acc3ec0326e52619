//! The workspace as cargo describes it, and child processes started in its root.

use crate::failure::Failure;
use crate::testbeds;
use serde_json::Value;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a limited child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// Where things are.
pub struct Workspace {
    /// The folder of the workspace's manifest.
    pub root: PathBuf,
    /// The folder of build results.
    pub target: PathBuf,
    /// The answer of `cargo metadata --no-deps`.
    pub metadata: Value,
}

impl Workspace {
    /// Asks cargo about the workspace of the current folder.
    pub fn load() -> Result<Self, Failure> {
        let mut command = cargo_command();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        let text = Invocation::new(command).stdout(None)?;
        let metadata = parse_json("cargo metadata", &text)?;
        let folder = |key: &str| {
            metadata
                .get(key)
                .and_then(Value::as_str)
                .map(PathBuf::from)
                .ok_or_else(|| Failure::Output {
                    what: "cargo metadata",
                    why: format!("no `{key}`"),
                })
        };
        Ok(Self {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
            metadata,
        })
    }

    /// A cargo command in the root of the workspace, with the test beds on its path.
    pub fn cargo(&self, args: &[&str]) -> Invocation {
        let mut command = cargo_command();
        command.args(args);
        self.place(command)
    }

    /// Any other program, likewise.
    pub fn program(&self, program: impl AsRef<Path>, args: &[&str]) -> Invocation {
        let mut command = Command::new(program.as_ref());
        command.args(args);
        self.place(command)
    }

    /// The path of a release binary.
    pub fn release_binary(&self, name: &str) -> PathBuf {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        self.target.join("release").join(file)
    }

    fn place(&self, mut command: Command) -> Invocation {
        command.current_dir(&self.root);
        command.env("PATH", self.path_with_testbeds());
        Invocation::new(command)
    }

    fn path_with_testbeds(&self) -> OsString {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let beds = testbeds::binary_folders(&self.root).into_iter();
        let all = beds.chain(std::env::split_paths(&old));
        // Joining fails only for a folder with the separator in its name: then the beds are left
        // out, and `testbeds` reports them as missing.
        std::env::join_paths(all).unwrap_or(old)
    }
}

/// A child process that has not been started.
pub struct Invocation {
    command: Command,
}

impl Invocation {
    fn new(mut command: Command) -> Self {
        // `cargo run` describes this program to it in variables. Passed on, they would look like
        // a change to build scripts that watch them, and rebuild half the workspace.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        Self { command }
    }

    /// Sets a variable for the child.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the child with its output passed through.
    pub fn run(mut self) -> Result<(), Failure> {
        let status = self.command.status().map_err(|e| self.cannot_start(e))?;
        self.check(status)
    }

    /// Runs the child with all of its output on standard error, so that ours stays a document.
    pub fn run_aside(mut self) -> Result<(), Failure> {
        self.command.stdout(Stdio::from(std::io::stderr()));
        self.run()
    }

    /// Runs the child quietly; whether it started and succeeded.
    pub fn succeeds(mut self) -> bool {
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        self.run().is_ok()
    }

    /// Runs the child and returns its standard output; ends it after `limit`.
    pub fn stdout(mut self, limit: Option<Duration>) -> Result<String, Failure> {
        self.command.stdout(Stdio::piped());
        let mut child = self.command.spawn().map_err(|e| self.cannot_start(e))?;
        let mut pipe = child.stdout.take();
        // Read beside the wait: a child that fills the pipe would otherwise never end.
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = pipe.as_mut().map(|pipe| pipe.read_to_end(&mut bytes));
            read.transpose().map(|_| bytes)
        });
        let status = match limit {
            None => child.wait().map_err(|e| self.cannot_start(e))?,
            Some(limit) => self.wait_within(&mut child, limit)?,
        };
        self.check(status)?;
        let bytes = match reader.join() {
            Ok(read) => read.map_err(|e| self.cannot_start(e))?,
            Err(_) => Vec::new(),
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn wait_within(
        &self,
        child: &mut Child,
        limit: Duration,
    ) -> Result<std::process::ExitStatus, Failure> {
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().map_err(|e| self.cannot_start(e))? {
                return Ok(status);
            }
            if start.elapsed() >= limit {
                // The child may end between the two calls; either way it is gone after `wait`.
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure::TimedOut {
                    command: self.text(),
                    seconds: limit.as_secs(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    fn check(&self, status: std::process::ExitStatus) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        Err(Failure::Exit {
            command: self.text(),
            status: status.to_string(),
        })
    }

    fn cannot_start(&self, source: std::io::Error) -> Failure {
        Failure::Start {
            command: self.text(),
            source,
        }
    }

    fn text(&self) -> String {
        let program = Path::new(self.command.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str());
        let mut text = name.to_string_lossy().into_owned();
        for arg in self.command.get_args() {
            text.push(' ');
            text.push_str(&arg.to_string_lossy());
        }
        text
    }
}

/// Parses a document that `what` printed.
pub fn parse_json(what: &'static str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|e| Failure::Output {
        what,
        why: format!("not one JSON document: {e}"),
    })
}

/// Whether the environment says that this is CI.
pub fn is_ci() -> bool {
    ci_demands(std::env::var("CI").ok().as_deref())
}

fn ci_demands(value: Option<&str>) -> bool {
    matches!(value, Some("true" | "1"))
}

/// The cargo that started us, so that one toolchain does everything.
fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_and_1_mean_ci() {
        assert!(ci_demands(Some("true")) && ci_demands(Some("1")));
        for other in [None, Some(""), Some("false"), Some("0")] {
            assert!(!ci_demands(other), "{other:?}");
        }
    }

    #[test]
    fn a_child_that_hangs_is_ended_at_its_limit() {
        let mut command = Command::new("sleep");
        command.arg("30");
        let start = Instant::now();
        let failure = Invocation::new(command)
            .stdout(Some(Duration::from_millis(100)))
            .expect_err("ended");
        assert!(matches!(failure, Failure::TimedOut { .. }), "{failure}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_failing_child_is_a_failure_that_names_the_command() {
        let failure = Invocation::new(Command::new("false"))
            .run()
            .expect_err("refused");
        assert!(failure.to_string().contains("`false` ended with"));
        let missing = Invocation::new(Command::new("no-such-program-here"));
        assert!(matches!(missing.run(), Err(Failure::Start { .. })));
    }

    #[test]
    fn the_description_of_this_package_is_not_passed_on() {
        let invocation = Invocation::new(Command::new("env"));
        let text = invocation.stdout(None).unwrap();
        assert!(!text.contains("CARGO_MANIFEST_DIR="), "{text}");
        assert!(!text.contains("CARGO_PKG_NAME="), "{text}");
    }
}
