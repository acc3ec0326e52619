//! `docs/first-ten-minutes.md` as somebody types it who has never seen this: the page's own commands,
//! in its order, in an empty folder, each with the exit code and the phrase that the page promises.
//!
//! Nothing of the page is repeated here but which minutes are run, so that the page cannot say what
//! does not happen.

use crate::support::{Cluster, Ran, foundry, quoin};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The page.
const PAGE: &str = include_str!("../../../../docs/first-ten-minutes.md");
/// The minutes that are run; the one in which a node is killed has tests of its own.
const MINUTES: [&str; 6] = ["1 to 2", "2 to 3", "3 to 4", "4 to 5", "8 to 9", "9 to 10"];
/// The line at which the cluster is stopped.
const STOP: &str = "# Ctrl-C";

/// One command of the page, and what the page says of it.
#[derive(Debug, PartialEq)]
struct Step {
    minute: String,
    command: String,
    code: i32,
    phrase: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_ten_minutes_go_as_their_page_says() {
    let (Some(cast), Some(_)) = (foundry("cast"), foundry("anvil")) else {
        return;
    };
    let steps = steps(PAGE);
    for minute in MINUTES {
        let of = steps.iter().filter(|s| s.minute == minute).count();
        assert!(of > 0, "the page has no commands for the minute {minute}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start_at(&folder.path().join("quoin-dev"));
    let mut shell = Shell::new(folder.path(), &cast);
    shell.learn("ADDRESS", &cluster.key("desk-ecdsa").address);
    let agent = cluster.banner["agent_rpc"].as_str().unwrap().to_owned();
    shell.learn("AGENT_URL", &agent);
    serves(&agent).await;
    for step in &steps {
        if step.command.starts_with(STOP) {
            cluster.stop();
            continue;
        }
        shell.play(step);
    }
}

/// Waits until the agent's address answers.
async fn serves(agent: &str) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_accounts","params":[]}"#;
    crate::support::eventually(
        "the agent's face is served",
        Duration::from_secs(10),
        async || {
            let sent = http.post(agent).header("content-type", "application/json");
            let answer = sent.body(body).send().await;
            answer.is_ok_and(|a| a.status().is_success())
        },
    )
    .await;
}

/// Somebody who types what the page says, and copies what was printed into the next command.
struct Shell<'a> {
    folder: &'a Path,
    path: String,
    known: BTreeMap<&'static str, String>,
}

impl<'a> Shell<'a> {
    fn new(folder: &'a Path, cast: &Path) -> Self {
        let quoin = quoin().get_program().to_owned();
        let own = Path::new(&quoin).parent().unwrap().display().to_string();
        let casts = cast.parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        Self {
            folder,
            path: format!("{own}:{casts}:{path}"),
            known: BTreeMap::new(),
        }
    }

    fn learn(&mut self, name: &'static str, value: &str) {
        self.known.insert(name, value.to_owned());
    }

    fn play(&mut self, step: &Step) {
        let text = filled(&step.command, &self.known);
        let mut command = Command::new("sh");
        command.args(["-c", &text]).current_dir(self.folder);
        command.env("PATH", &self.path).env("NO_PROXY", "127.0.0.1");
        let began = std::time::Instant::now();
        let ran = Ran::of(command);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        println!("{:?}  {text}\n{said}", began.elapsed());
        assert_eq!(ran.code, step.code, "{text}\n{said}");
        assert!(
            said.contains(&step.phrase),
            "{text}\nsays nothing of `{}`:\n{said}",
            step.phrase
        );
        if let Some(request) = after(&said, "request ") {
            self.learn("REQUEST", &request);
            if ran.stdout.starts_with("signature") {
                self.learn("SIGNED", &request);
            }
        }
        if let Some(freeze) = after(&ran.stdout, "freeze ") {
            self.learn("FREEZE", &freeze);
        }
    }
}

/// The id in the last line that begins with `label`.
fn after(said: &str, label: &str) -> Option<String> {
    let mut lines = said.lines().rev();
    let rest = lines.find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// The command with what is known in the place of the capitals.
fn filled(command: &str, known: &BTreeMap<&'static str, String>) -> String {
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_';
    let mut text = command.to_owned();
    for (name, value) in known {
        text = text.replace(&format!(" {name} "), &format!(" {value} "));
        if let Some(rest) = text.strip_suffix(&format!(" {name}")) {
            text = format!("{rest} {value}");
        }
    }
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let open = words.find(|w| w.len() > 2 && w.chars().all(is_name));
    assert_eq!(open, None, "nothing was printed for it before `{command}`");
    text
}

/// The commands of the minutes that are run, in the page's order.
fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut minute, mut inside) = (Vec::<Step>::new(), "", false);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if line.starts_with("## ") => {
                let title = line.trim_start_matches("## ");
                minute = title.split(':').next().unwrap_or_default();
            }
            _ if !inside || !MINUTES.contains(&minute) => {}
            _ if line.starts_with("# ") && !line.starts_with(STOP) => {
                promised(steps.last_mut().unwrap(), line);
            }
            _ => {
                let mut command = line.to_owned();
                // What is between `<<'WORD'` and `WORD` belongs to the command.
                if let Some((_, word)) = line.split_once("<<'") {
                    let word = word.trim_end_matches('\'');
                    for more in lines.by_ref() {
                        command = format!("{command}\n{more}");
                        if more == word {
                            break;
                        }
                    }
                }
                steps.push(Step {
                    minute: minute.to_owned(),
                    command,
                    code: 0,
                    phrase: String::new(),
                });
            }
        }
    }
    steps
}

/// What the line below a command promises of it.
fn promised(step: &mut Step, line: &str) {
    let (kind, phrase) = line.trim_start_matches("# ").split_once(": ").unwrap();
    step.code = match kind {
        "says" => 0,
        "refused" => 1,
        "error" => 2,
        other => panic!("the page promises `{other}` of `{}`", step.command),
    };
    phrase.clone_into(&mut step.phrase);
}

#[test]
fn steps_are_read_with_their_promises() {
    let page = "## 0 to 1: x\n```sh\nquoin no\n```\n## 2 to 3: y\n```\nquoin no\n```\n```sh\n\
                quoin a\n# refused: never\ncat > f <<'END'\nquoin no\nEND\n# Ctrl-C now\n```\n";
    let step = |command: &str, code, phrase: &str| Step {
        minute: "2 to 3".to_owned(),
        command: command.to_owned(),
        code,
        phrase: phrase.to_owned(),
    };
    let expected = [
        step("quoin a", 1, "never"),
        step("cat > f <<'END'\nquoin no\nEND", 0, ""),
        step("# Ctrl-C now", 0, ""),
    ];
    assert_eq!(steps(page), expected);
    let known = BTreeMap::from([("PID", "7".to_owned())]);
    assert_eq!(filled("kill -9 PID", &known), "kill -9 7");
}
