//! A dev cluster under test, and a caller that stamps its own requests.

use quoin_core::cbor::{self, Version};
use quoin_core::stamp::Account;
use quoin_core::{
    Certificate, ChainId, CharterNumber, CustodyMethod, KeyId, Payload, PrincipalId, Purpose,
    RequestId, SecretBytes, Signed, SigningIdentity, Stamp, TimeMs,
};
use quoin_node::core::Record;
use quoin_node::store::JournalRecord;
use quoin_node::store::journal::RECORD_BYTES_MAX;
use quoin_policy::Charter;
use rand_core::{OsRng, RngCore};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

/// How long a cluster may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// An address that nobody has.
pub const SINK: &str = "0x000000000000000000000000000000000000dead";

/// The binary under test.
pub fn quoin() -> Command {
    Command::new(env!("CARGO_BIN_EXE_quoin"))
}

/// A running `quoin dev`.
pub struct Cluster {
    process: Option<Child>,
    folder: PathBuf,
    pub banner: Value,
    _temporary: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Starts a cluster in a temporary folder, whose nodes stay dead when they are killed.
    pub fn start() -> Self {
        Self::start_with(&["--no-restart"])
    }

    /// Starts a cluster in a temporary folder, with more arguments.
    pub fn start_with(more: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("cluster");
        let (process, banner) = run_dev(&folder, more);
        Self {
            process: Some(process),
            folder,
            banner,
            _temporary: Some(temporary),
        }
    }

    /// Starts a cluster in a folder that somebody else removes.
    pub fn start_at(folder: &Path) -> Self {
        let (process, banner) = run_dev(folder, &["--no-restart"]);
        Self {
            process: Some(process),
            folder: folder.to_owned(),
            banner,
            _temporary: None,
        }
    }

    /// Stops `quoin dev` as Ctrl-C does, and checks that it ends by itself.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        signal(process.id(), "INT");
        let status = wait(&mut process, Duration::from_secs(20));
        assert!(
            status.is_some_and(|s| s.success()),
            "`quoin dev` ends cleanly on Ctrl-C"
        );
    }

    /// Starts it again on the same folder.
    pub fn start_again(&mut self) {
        let (process, banner) = run_dev(&self.folder, &["--no-restart"]);
        (self.process, self.banner) = (Some(process), banner);
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The gateway's address.
    pub fn gateway(&self) -> String {
        self.banner["gateway"].as_str().unwrap().to_owned()
    }

    /// The process id of a node.
    pub fn pid(&self, node: u64) -> u32 {
        let nodes = self.banner["nodes"].as_array().unwrap();
        let found = nodes.iter().find(|n| n["node"] == node).unwrap();
        u32::try_from(found["pid"].as_u64().unwrap()).unwrap()
    }

    /// The key in the banner with this name.
    pub fn key(&self, name: &str) -> Key {
        let keys = self.banner["keys"].as_array().unwrap();
        Key::read(keys.iter().find(|k| k["name"] == name).unwrap())
    }

    /// Runs a command on the data folder.
    pub fn run(&self, args: &[&str]) -> Ran {
        let mut command = quoin();
        command.args(args).arg("--data").arg(&self.folder);
        Ran::of(command)
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Brings a charter with this rule into force.
    pub fn add_rule(&self, rule: &str) {
        let path = self.folder.join("rule.cedar");
        std::fs::write(&path, rule).unwrap();
        let path = path.to_str().unwrap();
        let report = self.json(&[
            "charter",
            "apply",
            "--add-rule",
            path,
            "--as",
            "alice,bob",
            "--yes",
        ]);
        assert_eq!(report["accepted"], json!([1, 2, 3]));
    }

    /// Whoever has a credential in the folder.
    pub fn caller(&self, principal: &str) -> Caller {
        let seed = std::fs::read_to_string(self.folder.join(format!("principals/{principal}.key")));
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(seed.unwrap().trim(), &mut bytes).unwrap();
        Caller {
            genesis: self.genesis(),
            principal: principal.parse().unwrap(),
            identity: SigningIdentity::from_seed(&SecretBytes::take(&mut bytes)),
            gateway: self.gateway(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// The genesis charter.
    pub fn genesis(&self) -> Charter {
        let bytes = std::fs::read(self.folder.join("genesis.cbor")).unwrap();
        Certificate::<Charter>::from_bytes(&bytes)
            .unwrap()
            .unverified()
            .clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The end of a test that failed: gently, so that nothing is left behind, but without fuss.
        if let Some(mut process) = self.process.take() {
            signal(process.id(), "INT");
            if wait(&mut process, Duration::from_secs(20)).is_none() {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}

fn run_dev(folder: &Path, more: &[&str]) -> (Child, Value) {
    let mut command = quoin();
    command
        .args(["dev", "--port", "0", "--json", "--data"])
        .arg(folder)
        .args(more);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let stdout = process.stdout.take().unwrap();
    let mut stderr = process.stderr.take().unwrap();
    let (sender, banner) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            text.push_str(&line);
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _ = sender.send(value);
                text.clear();
            }
        }
    });
    let (words, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        let _ = words.send(text);
    });
    match banner.recv_timeout(START_LIMIT) {
        Ok(banner) => (process, banner),
        Err(_) => {
            let _ = process.kill();
            let said = said
                .recv_timeout(Duration::from_secs(5))
                .unwrap_or_default();
            panic!("`quoin dev` did not come up: {said}");
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end, within the limit.
    pub fn of(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = child.id();
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = sender.send(child.wait_with_output());
        });
        let output: Output = match ended.recv_timeout(COMMAND_LIMIT) {
            Ok(output) => output.unwrap(),
            Err(_) => {
                signal(pid, "KILL");
                panic!("{command:?} did not end in {COMMAND_LIMIT:?}");
            }
        };
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Sends a signal.
pub fn signal(pid: u32, name: &str) {
    let flag = format!("-{name}");
    let _ = Command::new("kill")
        .args([&flag, &pid.to_string()])
        .status();
}

/// Waits for the end of a process.
pub fn wait(process: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Some(status) = process.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

/// Starts one node of a folder as its own process.
pub fn start_node(folder: &Path, node: u8) -> Child {
    let dir = folder.join(format!("node-{node}"));
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.join("node.log"));
    let mut command = quoin();
    command
        .args(["node", "--exit-with-parent", "--data"])
        .arg(dir);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log.unwrap());
    command.spawn().unwrap()
}

/// Waits until `done` says so.
pub async fn eventually(what: &str, limit: Duration, mut done: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + limit;
    while !done().await {
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until no node of the folder is in the middle of a check of a presigning batch.
///
/// A node that is killed in the middle of one counts it, at its next start, as a strike against the
/// peer (construction, section 21.10) and makes no batch with it for a day. What the tests that kill
/// nodes want to see is another matter.
pub async fn calm(folder: &Path, nodes: &[u8]) {
    let mut before = Vec::new();
    eventually(
        "presigning is at rest",
        Duration::from_secs(60),
        async || {
            let tries: Vec<(usize, usize)> = nodes.iter().map(|n| tries(folder, *n)).collect();
            let at_rest = tries == before && tries.iter().all(|(open, closed)| open == closed);
            before = tries;
            if !at_rest {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            at_rest
        },
    )
    .await;
}

/// What is in a node's journal, oldest first.
pub fn records(folder: &Path, node: u8) -> Vec<Record> {
    let path = folder
        .join(format!("node-{node}"))
        .join(quoin_node::run::JOURNAL_FILE);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let journal = Connection::open_with_flags(path, flags).unwrap();
    let mut query = journal.prepare("SELECT record FROM journal").unwrap();
    let rows = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    rows.map(|row| {
        let linked: JournalRecord = cbor::decode(&row.unwrap(), RECORD_BYTES_MAX).unwrap();
        Record::from_bytes(&linked.body).unwrap()
    })
    .collect()
}

/// How many checks a node's journal says were begun and ended.
fn tries(folder: &Path, node: u8) -> (usize, usize) {
    let (mut open, mut closed) = (0, 0);
    for record in records(folder, node) {
        match record {
            Record::TryOpen(_) => open += 1,
            Record::TryClosed(_) => closed += 1,
            _ => {}
        }
    }
    (open, closed)
}

/// A key as the banner shows it.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: KeyId,
    pub address: String,
    pub purpose: Purpose,
}

impl Key {
    /// Reads a key of `quoin key list --json`.
    pub fn read(value: &Value) -> Self {
        Self {
            id: value["key"].as_str().unwrap().parse().unwrap(),
            address: value["addresses"][0]["address"]
                .as_str()
                .unwrap()
                .to_owned(),
            purpose: serde_json::from_value(value["purpose"].clone()).unwrap(),
        }
    }
}

/// Somebody who stamps requests and posts them.
pub struct Caller {
    pub genesis: Charter,
    pub principal: PrincipalId,
    pub identity: SigningIdentity,
    pub gateway: String,
    pub http: reqwest::Client,
}

/// What the gateway answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Reply {
    pub fn is_signed(&self) -> bool {
        self.status == 200 && self.body["status"] == "signed"
    }

    pub fn field(&self) -> &str {
        self.body["error"]["field"].as_str().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }
}

impl Caller {
    /// A stamp as it should be, for a test to spoil.
    pub fn stamp(&self, key: &Key, chain: ChainId, payload: &Payload) -> Stamp {
        Stamp {
            version: Version,
            cluster: self.genesis.cluster_id(),
            charter_number_floor: CharterNumber(0),
            charter_hash_floor: self.genesis.hash(),
            principal: self.principal.clone(),
            credential: self.identity.id(),
            custody: CustodyMethod::Mpc,
            key: Some(key.id),
            account: Account {
                chain,
                address: key.address.parse().unwrap(),
                path: quoin_core::DerivationPath::ROOT,
            },
            purpose: key.purpose,
            payload_hash: payload.hash(),
            request_id: request_id(),
            not_after: now().plus(10 * 60 * 1000),
        }
    }

    /// Signs and posts.
    pub async fn post(&self, stamp: Stamp, payload: &Payload) -> Reply {
        self.post_signed(&Signed::sign(stamp, &self.identity), payload)
            .await
    }

    /// Posts.
    pub async fn post_signed(&self, stamp: &Signed<Stamp>, payload: &Payload) -> Reply {
        let body = json!({
            "stamp": hex::encode(stamp.to_bytes()),
            "payload": hex::encode(cbor::encode(payload)),
        });
        self.post_body("application/json", body.to_string()).await
    }

    /// Posts any body at all.
    pub async fn post_body(&self, kind: &str, body: String) -> Reply {
        let url = format!("{}/v1/requests", self.gateway);
        let sent = self
            .http
            .post(url)
            .header("content-type", kind)
            .body(body)
            .send()
            .await;
        let answer = sent.unwrap();
        Reply {
            status: answer.status().as_u16(),
            body: answer.json().await.unwrap_or(Value::Null),
        }
    }

    /// Signs a short text, patiently.
    pub async fn sign_text(&self, key: &Key, text: &str) -> Reply {
        let payload = Payload::Text(text.to_owned());
        let stamp = self.stamp(key, ChainId::Quoin, &payload);
        self.insist(&Signed::sign(stamp, &self.identity), &payload)
            .await
    }

    /// Posts, and again under the same id while nodes are missing or the gateway is full.
    pub async fn insist(&self, stamp: &Signed<Stamp>, payload: &Payload) -> Reply {
        let until = Instant::now() + Duration::from_secs(40);
        loop {
            let reply = self.post_signed(stamp, payload).await;
            let again = matches!(reply.status, 202 | 429 | 503);
            if !again || Instant::now() > until {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A fresh request id.
pub fn request_id() -> RequestId {
    let mut bytes = [0u8; 16];
    OsRng.fill_bytes(&mut bytes);
    RequestId(bytes)
}

/// The time.
pub fn now() -> TimeMs {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    TimeMs(u64::try_from(since.as_millis()).unwrap())
}

/// A Foundry program among the test beds or on the path. Where one is missing, CI fails and a
/// laptop skips with a line that says so.
pub fn foundry(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let packages = root.join(".testbeds/npm/node_modules/@foundry-rs");
    let installed = std::fs::read_dir(packages).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = installed.map(|e| e.path().join("bin")).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    let mut places = folders.into_iter().map(|f| f.join(name));
    or_skip(name, places.find(|p| p.is_file()))
}

/// Chromium on the path, under any of its names; skipped as [`foundry`] is.
pub fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut places = std::env::split_paths(&path).flat_map(|f| names.map(|name| f.join(name)));
    or_skip("chromium", places.find(|p| p.is_file()))
}

fn or_skip(name: &str, found: Option<PathBuf>) -> Option<PathBuf> {
    if found.is_none() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI needs `{name}`"
        );
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: `{name}` is missing; `cargo xtask testbeds`"
        );
    }
    found
}
