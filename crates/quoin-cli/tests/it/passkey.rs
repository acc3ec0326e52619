//! A real browser makes a passkey and signs with it: Chromium without a window, its virtual
//! authenticator, and its debugging protocol over a pipe.
//!
//! The browser opens pages of hosts that do not exist: every request is answered here, so nothing
//! leaves the machine and no port is taken.

use crate::support::chromium;
use quoin_core::cbor::Version;
use quoin_core::{
    Assertion, AssertionFault, ClusterId, IntentHash, Passkey, PublicCredential, RequestId, Signed,
    TimeMs,
};
use quoin_policy::{Approval, Subject, Veto};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long the browser may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_browsers_passkey_approves_and_vetoes() {
    let Some(browser) = chromium() else {
        return;
    };
    let mut page = Page::open(&browser);
    for (rp_id, origin) in [
        ("desk.example", "https://approve.desk.example:8443"),
        ("localhost", "http://localhost:7070"),
    ] {
        page.go(origin);
        let passkey = page.register(rp_id);
        approves(&mut page, &passkey);
        vetoes(&mut page, &passkey);
    }
    page.close();
}

fn approves(page: &mut Page, passkey: &Passkey) {
    let approval = Approval {
        version: Version,
        cluster: ClusterId([1; 32]),
        intent_hash: IntentHash([2; 32]),
        principal: "ann".parse().unwrap(),
        request_id: RequestId([3; 16]),
        not_after: TimeMs(4),
    };
    let by = PublicCredential::Passkey(passkey.clone());
    let assertion = page.assert(passkey, &[2; 32]);
    let signed = Signed::asserted(approval.clone(), passkey, assertion.clone());
    let read = Signed::<Approval>::from_bytes(&signed.to_bytes()).unwrap();
    assert_eq!(read.verify(&by).unwrap(), &approval);
    let other = Approval {
        intent_hash: IntentHash([5; 32]),
        ..approval
    };
    assert!(
        Signed::asserted(other, passkey, assertion)
            .verify(&by)
            .is_err()
    );
}

fn vetoes(page: &mut Page, passkey: &Passkey) {
    let veto = Veto {
        version: Version,
        cluster: ClusterId([1; 32]),
        subject: Subject::Request(RequestId([3; 16])),
        principal: "ann".parse().unwrap(),
        at: TimeMs(4),
    };
    let by = PublicCredential::Passkey(passkey.clone());
    let challenge = Signed::challenge(&veto, passkey);
    let assertion = page.assert(passkey, &challenge);
    let signed = Signed::asserted(veto.clone(), passkey, assertion.clone());
    assert!(signed.verify(&by).is_ok());
    let later = Veto {
        at: TimeMs(5),
        ..veto
    };
    assert!(
        Signed::asserted(later, passkey, assertion.clone())
            .verify(&by)
            .is_err()
    );
    let elsewhere = Passkey::new(*passkey.key(), "evil.example".parse().unwrap()).unwrap();
    let refused = assertion.verify(&elsewhere, &challenge);
    assert_eq!(refused, Err(AssertionFault::Origin));
}

/// One page in a browser with one virtual authenticator, whose person is always there.
struct Page {
    browser: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    credential: String,
    /// Removed when the page goes.
    _profile: tempfile::TempDir,
}

impl Page {
    fn open(browser: &std::path::Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The browser speaks on the descriptors 3 and 4, which only a shell can hand it.
        let mut browser = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#])
            .arg(browser)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
            .args([
                "--disable-quic",
                "--disable-sync",
                "--disable-dev-shm-usage",
            ])
            .args(["--no-first-run", "--no-proxy-server"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = browser.stdin.take().unwrap();
        let mut said = BufReader::new(browser.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while said.read_until(0, &mut message).is_ok_and(|n| n > 0) {
                message.pop();
                let read: Value = serde_json::from_slice(&message).unwrap();
                if sender.send(read).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut page = Self {
            browser,
            commands,
            messages,
            session: None,
            calls: 0,
            credential: String::new(),
            _profile: profile,
        };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = page.call("Target.attachToTarget", attach);
        page.session = session["sessionId"].as_str().map(str::to_owned);
        page.call(
            "Fetch.enable",
            json!({ "patterns": [{ "urlPattern": "*" }] }),
        );
        page.call("WebAuthn.enable", json!({}));
        let options = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": true, "isUserVerified": true,
        });
        page.call(
            "WebAuthn.addVirtualAuthenticator",
            json!({ "options": options }),
        );
        page
    }

    fn go(&mut self, origin: &str) {
        self.call("Page.navigate", json!({ "url": origin }));
        assert_eq!(self.run("location.origin"), origin);
    }

    fn register(&mut self, rp_id: &str) -> Passkey {
        let made = self.run(&format!(
            "navigator.credentials.create({{ publicKey: {{
                rp: {{ id: '{rp_id}', name: 'desk' }},
                user: {{ id: new Uint8Array(8), name: 'ann', displayName: 'Ann' }},
                challenge: new Uint8Array(32),
                pubKeyCredParams: [{{ type: 'public-key', alg: -7 }}],
                authenticatorSelection: {{ userVerification: 'required' }},
            }} }}).then(made => [hex(made.rawId), hex(made.response.getPublicKey())])"
        ));
        self.credential = made[0].as_str().unwrap().to_owned();
        // A `SubjectPublicKeyInfo` of P-256 ends with both coordinates.
        let info = hex::decode(made[1].as_str().unwrap()).unwrap();
        let (x, y) = info[info.len() - 64..].split_at(32);
        let mut key = [2 + (y[31] & 1); 33];
        key[1..].copy_from_slice(x);
        Passkey::new(key, rp_id.parse().unwrap()).unwrap()
    }

    fn assert(&mut self, passkey: &Passkey, challenge: &[u8; 32]) -> Assertion {
        let (rp_id, challenge) = (passkey.rp_id(), hex::encode(challenge));
        let credential = &self.credential;
        let parts = self.run(&format!(
            "navigator.credentials.get({{ publicKey: {{
                rpId: '{rp_id}',
                challenge: bytes('{challenge}'),
                allowCredentials: [{{ type: 'public-key', id: bytes('{credential}') }}],
                userVerification: 'required',
            }} }}).then(({{ response }}) => [hex(response.authenticatorData),
                hex(response.clientDataJSON), hex(response.signature)])"
        ));
        let part = |i: usize| hex::decode(parts[i].as_str().unwrap()).unwrap();
        Assertion::from_browser(part(0), part(1), &part(2)).unwrap()
    }

    /// The value of an expression on the page, awaited.
    fn run(&mut self, expression: &str) -> Value {
        let text = format!(
            "(() => {{
                const hex = b => Array.from(new Uint8Array(b),
                    x => x.toString(16).padStart(2, '0')).join('');
                const bytes = h => new Uint8Array(h.match(/../g).map(x => parseInt(x, 16)));
                return {expression};
            }})()"
        );
        let evaluate = json!({
            "expression": text, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let outcome = self.call("Runtime.evaluate", evaluate);
        assert!(outcome["exceptionDetails"].is_null(), "{outcome}");
        outcome["result"]["value"].clone()
    }

    /// Calls a method and waits for its answer; requests of the page in between get an empty page.
    fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        loop {
            let message = self.messages.recv_timeout(ANSWER_LIMIT).unwrap();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            if message["method"] == "Fetch.requestPaused" {
                let request = &message["params"]["requestId"];
                let page = json!({ "requestId": request, "responseCode": 200, "body": "" });
                self.send("Fetch.fulfillRequest", page);
            }
        }
    }

    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        self.calls
    }

    /// Lets the browser end by itself, so that it leaves its folder alone before that is removed.
    fn close(mut self) {
        self.session = None;
        self.call("Browser.close", json!({}));
        self.browser.wait().unwrap();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // After `close` there is nothing to end.
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}
