//! A local EVM chain for development: finds anvil, and runs it so that it ends with this process.
//!
//! Its state is kept in the data folder, because nodes remember which slots they filled: a chain
//! that forgot its nonces would ask for the same slots again.

use crate::chain::ChainNode;
use crate::client::Patience;
use crate::failure::Failure;
use crate::folder::Folder;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The chain id of anvil.
pub const ANVIL_CHAIN_ID: u64 = 31_337;
/// How long anvil may take to answer.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to write its state and end.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Where `cargo xtask testbeds` puts it, below the root of the repository.
const TESTBED: &str = ".testbeds/npm/node_modules/@foundry-rs";

/// A running anvil.
#[derive(Debug)]
pub struct Anvil {
    process: Child,
    url: String,
}

impl Anvil {
    /// Where anvil is, when it is anywhere.
    pub fn find() -> Option<PathBuf> {
        find_program("anvil")
    }

    /// Starts anvil on a free port.
    pub async fn start(program: &Path, folder: &Folder) -> Result<Self, Failure> {
        let port = super::free_port()?;
        let what = "anvil did not start";
        let executable = std::env::current_exe().map_err(Failure::from_error(what))?;
        let port_text = port.to_string();
        let chain_id = ANVIL_CHAIN_ID.to_string();
        let log = super::log_file(&folder.path("anvil.log"))?;
        let mut command = Command::new(executable);
        command
            .arg("with-parent")
            .arg(program)
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port_text,
                "--chain-id",
                &chain_id,
            ])
            .args(["--silent", "--state-interval", "1", "--state"])
            .arg(folder.path("anvil-state.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let process = command.spawn().map_err(Failure::from_error(what))?;
        let anvil = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        };
        let chain = ChainNode::new(&anvil.url)?;
        let mut patience = Patience::of(START_LIMIT);
        loop {
            match chain.chain_id().await {
                Ok(ANVIL_CHAIN_ID) => return Ok(anvil),
                Ok(other) => {
                    return Err(Failure::new(what).because(format!("its chain id is {other}")));
                }
                Err(failure) if !patience.pause().await => return Err(failure),
                Err(_) => {}
            }
        }
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lets it write its state and end.
    pub async fn stop(mut self) {
        // The end of its standard input is the sign; a hard kill follows if it does not end.
        drop(self.process.stdin.take());
        let ended = tokio::time::timeout(STOP_LIMIT, self.process.wait()).await;
        if ended.is_err() {
            let _ = self.process.kill().await;
        }
    }
}

/// A Foundry program on the path or among the test beds.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let mut all = on_path.chain(testbeds(name));
    all.find(|candidate| candidate.is_file())
}

/// The program in the test beds of the repository around the working folder or this executable.
fn testbeds(name: &str) -> Vec<PathBuf> {
    let platform = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let inside = format!("{TESTBED}/{name}-{platform}-{processor}/bin/{name}");
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    let starts = starts.into_iter().flatten();
    starts
        .flat_map(|start| {
            start
                .ancestors()
                .map(|a| a.join(&inside))
                .collect::<Vec<_>>()
        })
        .collect()
}
