//! The gateway's HTTP face, as this command line uses it.

use super::Patience;
use crate::failure::{Exit, Failure};
use quoin_api::http::{
    ApprovalBody, CharterBody, CharterInForceBody, CharterSubmittedBody, ClusterBody, ErrorBody,
    ErrorDetail, KeysBody, OutcomeBody, RequestBody,
};
use quoin_api::sequences::{AllocateBody, AllocatedBody, SequenceBody, SequencesBody, SettleBody};
use quoin_api::statements;
use quoin_core::{
    Certificate, CharterHash, CharterNumber, Class, NodeIndex, RequestId, RuleId, Signed,
};
use quoin_policy::Charter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long one exchange may take: a key ceremony has the gateway's minute.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(75);

/// An HTTP client. For addresses of this machine no proxy is asked, whatever the environment says.
pub fn http_client(url: &str, limit: Duration) -> Result<reqwest::Client, Failure> {
    let what = "cannot set up HTTP";
    let parsed: reqwest::Url = url
        .parse()
        .map_err(Failure::from_error(format!("`{url}` is not an address")))?;
    let local = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let builder = reqwest::Client::builder().timeout(limit).tcp_nodelay(true);
    let builder = if local { builder.no_proxy() } else { builder };
    builder.build().map_err(Failure::from_error(what))
}

/// A gateway.
#[derive(Debug)]
pub struct Gateway {
    pub(super) http: reqwest::Client,
    base: String,
}

/// What became of a request.
#[derive(Debug)]
pub enum Answer {
    /// It is signed.
    Signed(Box<SignedAnswer>),
    /// A key was made; its certificate.
    KeyCreated(Vec<u8>),
    /// A key's shares have moved; its new certificate.
    KeyRenewed(Vec<u8>),
    /// A change is carried out on some nodes at least.
    Changed(ChangedAnswer),
    /// It waits for approvals or time.
    Pending(PendingAnswer),
    /// It is under way.
    InProgress,
    /// A policy refused it, for good.
    Refused(Refused),
    /// Anything else: the status and the gateway's words.
    Failed(u16, Box<ErrorDetail>),
}

/// A signature that nobody has checked yet.
#[derive(Debug)]
pub struct SignedAnswer {
    /// 64 bytes.
    pub signature: [u8; 64],
    /// The parity of the nonce point, for ECDSA.
    pub recovery_id: Option<u8>,
    /// The transaction's wire form.
    pub raw: Option<Vec<u8>>,
    /// The transaction's hash.
    pub hash: Option<[u8; 32]>,
    /// The nodes that signed, by their answers.
    pub signers: Vec<u8>,
    /// The rules that permitted, by the signers' answers.
    pub rules: Vec<RuleId>,
}

/// What came of a change; nobody has checked the statements yet.
#[derive(Debug)]
pub struct ChangedAnswer {
    /// The statements of the nodes that have carried it out.
    pub statements: Vec<(NodeIndex, Vec<u8>)>,
    /// What the others said.
    pub failed: Vec<(NodeIndex, String)>,
    /// Who said nothing.
    pub missing: Vec<NodeIndex>,
}

/// A key as the gateway lists it; nobody has checked anything yet.
#[derive(Debug)]
pub struct ListedKey {
    /// Its certificate.
    pub certificate: Vec<u8>,
    /// What its nodes state of it.
    pub statements: Vec<Vec<u8>>,
}

/// What a pending request waits for.
#[derive(Debug)]
pub struct PendingAnswer {
    /// What is missing.
    pub unmet: Vec<String>,
}

/// A pending request, for approvers.
#[derive(Debug)]
pub struct PendingAsk {
    /// The stamp.
    pub stamp: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The rules that would permit it.
    pub rules: Vec<RuleId>,
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The rule that decided, or the field at fault where none did.
    pub rule: String,
    /// Whether it is a rule.
    pub by_rule: bool,
    /// Why.
    pub message: String,
    /// The smallest rule that would allow it.
    pub suggestion: Option<String>,
}

/// What the nodes said to a charter.
#[derive(Clone, Debug, Serialize)]
pub struct CharterReport {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: CharterHash,
    /// The nodes on which it is in force.
    pub accepted: Vec<NodeIndex>,
    /// The nodes on which it is proposed, and waits.
    pub pending: Vec<NodeIndex>,
    /// What it waits for.
    pub unmet: Vec<String>,
    /// The nodes that refused it, and why.
    pub refused: Vec<(NodeIndex, String)>,
    /// The nodes that were not reached; they get it from the others.
    pub missing: Vec<NodeIndex>,
}

/// Why the gateway did not do something.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The gateway's words.
    pub detail: Box<ErrorDetail>,
}

impl Refusal {
    /// As a failure: what could not be done, and the gateway's words.
    pub fn into_failure(self, what: &str) -> Failure {
        failed(what, self.status, &self.detail)
    }
}

impl CharterReport {
    /// Before anybody has said anything.
    pub fn of(charter: &Charter, missing: impl IntoIterator<Item = NodeIndex>) -> Self {
        Self {
            number: charter.number.0,
            hash: charter.hash(),
            accepted: Vec::new(),
            pending: Vec::new(),
            unmet: Vec::new(),
            refused: Vec::new(),
            missing: missing.into_iter().collect(),
        }
    }

    /// What a node said, on which a charter of this number is in force now.
    pub fn said(&mut self, node: NodeIndex, number: CharterNumber, refused: Option<String>) {
        match refused {
            Some(why) => self.refused.push((node, why)),
            None if number.0 >= self.number => self.accepted.push(node),
            None => self.pending.push(node),
        }
    }

    /// What it waits for on one more node.
    pub fn waits_for(&mut self, unmet: Vec<String>) {
        for missing in unmet {
            if !self.unmet.contains(&missing) {
                self.unmet.push(missing);
            }
        }
    }

    /// Whether nobody has said anything.
    pub const fn is_silent(&self) -> bool {
        self.accepted.is_empty() && self.pending.is_empty() && self.refused.is_empty()
    }

    /// Takes over what nodes said in another report, of those that are missing in this one.
    pub fn take_over(&mut self, other: Self) {
        let missing = std::mem::replace(&mut self.missing, other.missing);
        let own = |node: &NodeIndex| missing.contains(node);
        self.accepted.extend(other.accepted.into_iter().filter(own));
        self.pending.extend(other.pending.into_iter().filter(own));
        let refused = other.refused.into_iter();
        self.refused.extend(refused.filter(|(node, _)| own(node)));
        self.missing.retain(own);
        self.accepted.sort_unstable();
        self.pending.sort_unstable();
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let mut text = match self.accepted.is_empty() {
            false => format!(
                "charter {} is in force on nodes {}",
                self.number,
                list(&self.accepted)
            ),
            true => format!("charter {} is in force on no node", self.number),
        };
        if !self.pending.is_empty() {
            let pending = list(&self.pending);
            text.push_str(&format!("; proposed on nodes {pending}"));
        }
        if !self.unmet.is_empty() {
            text.push_str(&format!(", missing: {}", self.unmet.join("; ")));
        }
        for (node, why) in &self.refused {
            text.push_str(&format!("; node {node} refused: {why}"));
        }
        if !self.missing.is_empty() {
            let missing = list(&self.missing);
            text.push_str(&format!(
                "; nodes {missing} were not reached and will get it from the others"
            ));
        }
        text
    }

    /// A refusal, unless it is in force somewhere: the others follow then.
    pub fn in_force(&self) -> Result<(), Failure> {
        if !self.accepted.is_empty() {
            return Ok(());
        }
        let hash = self.hash;
        Err(Failure::refused(format!("charter {} is not in force yet", self.number))
            .because(format!("missing: {}", self.unmet.join("; ")))
            .next(format!(
                "`quoin charter approve {hash} --as PRINCIPAL`; it comes into force by itself once \
                 nothing is missing (`quoin charter proposals`)"
            )))
    }
}

impl Gateway {
    /// The gateway at `base`.
    pub fn new(base: &str) -> Result<Self, Failure> {
        Ok(Self {
            http: http_client(base, EXCHANGE_LIMIT)?,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    /// Asks once.
    pub async fn ask(&self, stamp: &[u8], payload: &[u8]) -> Result<Answer, Failure> {
        let body = RequestBody {
            stamp: hex::encode(stamp),
            payload: hex::encode(payload),
        };
        let builder = self.http.post(self.url("/v1/requests")).json(&body);
        self.outcome(builder).await
    }

    /// Asks again while nodes are missing or the request is under way, until `limit`.
    pub async fn ask_patiently(
        &self,
        stamp: &[u8],
        payload: &[u8],
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let mut patience = Patience::of(limit);
        loop {
            let answer = self.ask(stamp, payload).await?;
            let again = matches!(answer, Answer::InProgress | Answer::Failed(429 | 503, _));
            if !again || !patience.pause().await {
                return Ok(answer);
            }
        }
    }

    /// A request that waits for approvals, with what it consists of.
    pub async fn pending(&self, id: RequestId) -> Result<PendingAsk, Failure> {
        let what = format!("there is nothing to approve under `{id}`");
        let builder = self.http.get(self.url(&format!("/v1/requests/{id}")));
        match self.exchange::<OutcomeBody>(builder).await? {
            Ok(OutcomeBody::Pending {
                rules,
                stamp,
                payload,
                ..
            }) => Ok(PendingAsk {
                stamp: bytes("stamp", &stamp)?,
                payload: bytes("payload", &payload)?,
                rules,
            }),
            Ok(_) => Err(Failure::new(what).because("the request does not wait for approvals")),
            Err((status, detail)) => Err(failed(&what, status, &detail)),
        }
    }

    /// Hands in an approval.
    pub async fn approve(&self, approval: &[u8]) -> Result<Answer, Failure> {
        let body = ApprovalBody {
            approval: hex::encode(approval),
        };
        self.outcome(self.http.post(self.url("/v1/approvals")).json(&body))
            .await
    }

    /// The charter in force, by the gateway's word.
    pub async fn charter(&self) -> Result<Certificate<Charter>, Failure> {
        let what = "the gateway did not show its charter";
        let builder = self.http.get(self.url("/v1/charter"));
        let body: CharterInForceBody = self.read(builder, what).await?;
        Certificate::from_bytes(&bytes("charter", &body.charter)?)
            .map_err(Failure::from_error(what))
    }

    /// Hands a charter to the nodes.
    pub async fn submit_charter(
        &self,
        certificate: &Certificate<Charter>,
    ) -> Result<CharterReport, Failure> {
        let body = CharterBody {
            charter: hex::encode(certificate.to_bytes()),
        };
        let builder = self.http.post(self.url("/v1/charter")).json(&body);
        let body: CharterSubmittedBody = self.read(builder, "the charter was not accepted").await?;
        let mut report = CharterReport::of(certificate.unverified(), body.missing);
        for reply in body.replies {
            report.said(reply.node, reply.number, reply.refused);
        }
        Ok(report)
    }

    /// All keys, each with its certificate and its nodes' statements.
    pub async fn keys(&self) -> Result<Vec<ListedKey>, Failure> {
        let what = "the gateway did not list its keys";
        let body: KeysBody = self.read(self.http.get(self.url("/v1/keys")), what).await?;
        body.keys
            .iter()
            .map(|k| {
                let statements = k.statements.iter();
                Ok(ListedKey {
                    certificate: bytes("certificate", &k.certificate)?,
                    statements: statements
                        .map(|s| bytes("statements", s))
                        .collect::<Result<_, _>>()?,
                })
            })
            .collect()
    }

    /// How many nodes are connected to the gateway.
    pub async fn nodes_up(&self) -> Result<usize, Failure> {
        let what = "the gateway did not show its cluster";
        let body: ClusterBody = self
            .read(self.http.get(self.url("/v1/cluster")), what)
            .await?;
        Ok(body.nodes.iter().filter(|n| n.up).count())
    }

    /// The gateway's metrics, as text.
    pub async fn metrics(&self) -> Result<String, Failure> {
        let what = "the gateway did not show its metrics";
        let sent = self.http.get(self.url("/metrics")).send().await;
        let answer = sent.and_then(reqwest::Response::error_for_status);
        let text = answer.map_err(Failure::from_error(what))?.text().await;
        text.map_err(Failure::from_error(what))
    }

    /// All sequences of nonces.
    pub async fn sequences(&self) -> Result<SequencesBody, Failure> {
        let builder = self.http.get(self.url("/v1/sequences"));
        self.read(builder, "the gateway did not list its sequences")
            .await
    }

    /// How a sequence of nonces stands.
    pub async fn sequence(&self, sequence: &str) -> Result<SequenceBody, Failure> {
        let builder = self
            .http
            .get(self.url(&format!("/v1/sequences/{sequence}")));
        self.read(builder, "the gateway did not show the sequence")
            .await
    }

    /// Takes nonces; the refusal when there are none.
    pub async fn allocate(
        &self,
        sequence: &str,
        request_id: RequestId,
        count: u64,
    ) -> Result<Result<AllocatedBody, Refusal>, Failure> {
        let url = self.url(&format!("/v1/sequences/{sequence}/allocate"));
        let body = AllocateBody { request_id, count };
        let answered = self.exchange(self.http.post(url).json(&body)).await?;
        Ok(answered.map_err(|(status, detail)| Refusal { status, detail }))
    }

    /// Says what became of nonces.
    pub async fn settle(&self, sequence: &str, body: &SettleBody) -> Result<SequenceBody, Failure> {
        let url = self.url(&format!("/v1/sequences/{sequence}/settle"));
        self.read(self.http.post(url).json(body), "nothing was settled")
            .await
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// One exchange: the body, or the status and the gateway's words.
    async fn exchange<T: DeserializeOwned>(
        &self,
        builder: reqwest::RequestBuilder,
    ) -> Result<Result<T, (u16, Box<ErrorDetail>)>, Failure> {
        let what = || format!("the gateway at {} does not answer", self.base);
        let next = "check that it runs (`quoin dev`), and the address in `cluster.json`";
        let sent = builder.send().await;
        let answer = sent.map_err(|e| Failure::new(what()).because(e).next(next))?;
        let status = answer.status();
        let text = answer
            .bytes()
            .await
            .map_err(|e| Failure::new(what()).because(e).next(next))?;
        let strange = |e: serde_json::Error| {
            Failure::new("the gateway's answer is not in its own form")
                .because(format!("status {status}: {e}"))
                .next("check that client and gateway are of one version")
        };
        if status.is_success() {
            return serde_json::from_slice(&text).map(Ok).map_err(strange);
        }
        let body: ErrorBody = serde_json::from_slice(&text).map_err(strange)?;
        Ok(Err((status.as_u16(), Box::new(body.error))))
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        builder: reqwest::RequestBuilder,
        what: &str,
    ) -> Result<T, Failure> {
        let answered = self.exchange(builder).await?;
        answered.map_err(|(status, detail)| failed(what, status, &detail))
    }

    async fn outcome(&self, builder: reqwest::RequestBuilder) -> Result<Answer, Failure> {
        match self.exchange::<OutcomeBody>(builder).await? {
            Ok(body) => answer_of(body),
            Err((403, detail)) if detail.class == Class::Refused => {
                let rule = detail.rule.map(|r| r.to_string());
                Ok(Answer::Refused(Refused {
                    by_rule: rule.is_some(),
                    rule: rule.unwrap_or(detail.field),
                    message: detail.message,
                    suggestion: detail.suggestion,
                }))
            }
            Err((status, detail)) => Ok(Answer::Failed(status, detail)),
        }
    }
}

fn answer_of(body: OutcomeBody) -> Result<Answer, Failure> {
    Ok(match body {
        OutcomeBody::Signed {
            signature,
            recovery_id,
            receipt,
            transaction,
            ..
        } => {
            let answers = answers(&receipt);
            let (raw, hash) = match transaction {
                Some(t) => (
                    Some(prefixed("raw", &t.raw)?),
                    Some(prefixed("hash", &t.hash)?),
                ),
                None => (None, None),
            };
            Answer::Signed(Box::new(SignedAnswer {
                signature: array("signature", &bytes("signature", &signature)?)?,
                recovery_id,
                raw,
                hash: hash.map(|h| array("hash", &h)).transpose()?,
                signers: answers.iter().map(|a| a.boot.node.get()).collect(),
                rules: answers
                    .into_iter()
                    .next()
                    .map(|a| a.rules)
                    .unwrap_or_default(),
            }))
        }
        OutcomeBody::KeyCreated { certificate, .. } => {
            Answer::KeyCreated(bytes("certificate", &certificate)?)
        }
        OutcomeBody::KeyRenewed { certificate, .. } => {
            Answer::KeyRenewed(bytes("certificate", &certificate)?)
        }
        OutcomeBody::Changed {
            statements,
            failed,
            missing,
            ..
        } => Answer::Changed(ChangedAnswer {
            statements: statements
                .iter()
                .map(|s| Ok((s.node, bytes("statement", &s.statement)?)))
                .collect::<Result<_, Failure>>()?,
            failed: failed.into_iter().map(|f| (f.node, f.message)).collect(),
            missing,
        }),
        OutcomeBody::Pending { unmet, .. } => Answer::Pending(PendingAnswer { unmet }),
        OutcomeBody::InProgress { .. } => Answer::InProgress,
    })
}

/// The signers' answers of a receipt; what does not read is left out, since it decides nothing.
fn answers(receipt: &[String]) -> Vec<statements::Answer> {
    let read = receipt.iter().filter_map(|text| {
        let bytes = hex::decode(text).ok()?;
        Some(
            Signed::<statements::Answer>::from_bytes(&bytes)
                .ok()?
                .unverified()
                .clone(),
        )
    });
    read.collect()
}

fn bytes(field: &str, text: &str) -> Result<Vec<u8>, Failure> {
    hex::decode(text).map_err(Failure::from_error(format!(
        "the gateway's `{field}` is not in hex"
    )))
}

fn prefixed(field: &str, text: &str) -> Result<Vec<u8>, Failure> {
    bytes(field, text.strip_prefix("0x").unwrap_or(text))
}

fn array<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], Failure> {
    bytes
        .try_into()
        .map_err(|_| Failure::new(format!("the gateway's `{field}` does not have {N} bytes")))
}

fn list(nodes: &[NodeIndex]) -> String {
    let texts: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn failed(what: &str, status: u16, detail: &ErrorDetail) -> Failure {
    let failure = Failure::new(what)
        .because(format!(
            "{} (field `{}`, status {status})",
            detail.message, detail.field
        ))
        .of_class(detail.class);
    match status {
        503 if detail.nodes.is_empty() => failure.next("ask again in a moment, with the same id"),
        503 => failure.next(format!(
            "bring nodes {} back, then ask again with the same request id",
            list(&detail.nodes)
        )),
        409 => failure.next("use a fresh request id for another request"),
        429 => failure.next("ask again later, with the same id"),
        _ => failure,
    }
}

impl Answer {
    /// The answer as a failure to do `what`.
    pub fn into_failure(self, what: &str) -> Failure {
        match self {
            Self::Refused(refused) => {
                let place = if refused.by_rule {
                    "by rule"
                } else {
                    "at field"
                };
                let failure =
                    Failure::refused(format!("{what}: refused {place} `{}`", refused.rule))
                        .because(refused.message);
                match refused.suggestion {
                    Some(rule) => failure.next(format!(
                        "the smallest rule that would allow it, for `quoin charter apply \
                         --add-rule FILE --as GOVERNOR,…`:\n\n{rule}"
                    )),
                    None => failure,
                }
            }
            Self::Pending(pending) => Failure::refused(format!("{what}: it waits for approval"))
                .because(format!("missing: {}", pending.unmet.join(", ")))
                .next("`quoin approve REQUEST_ID --as PRINCIPAL`; then ask again with the same id"),
            Self::InProgress => Failure::new(format!("{what}: the request is still under way"))
                .next("ask again with the same request id"),
            Self::Failed(status, detail) => failed(what, status, &detail),
            Self::Signed(_) | Self::KeyCreated(_) | Self::KeyRenewed(_) | Self::Changed(_) => {
                Failure::new(format!("{what}: the gateway answered something else"))
                    .exiting(Exit::Error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(number: u64, missing: &[u8]) -> CharterReport {
        CharterReport {
            number,
            hash: CharterHash([1; 32]),
            accepted: Vec::new(),
            pending: Vec::new(),
            unmet: Vec::new(),
            refused: Vec::new(),
            missing: missing.iter().map(|n| node(*n)).collect(),
        }
    }

    fn node(index: u8) -> NodeIndex {
        NodeIndex::new(index).unwrap()
    }

    #[test]
    fn a_node_has_a_charter_in_force_when_it_names_the_number() {
        let mut said = report(3, &[]);
        said.said(node(1), CharterNumber(3), None);
        said.said(node(2), CharterNumber(2), None);
        said.said(node(3), CharterNumber(3), Some("no".to_owned()));
        assert_eq!(
            (&*said.accepted, &*said.pending),
            (&[node(1)][..], &[node(2)][..])
        );
        assert!(said.in_force().is_ok());
        said.accepted.clear();
        assert_eq!(said.in_force().unwrap_err().exit(), Exit::Refused);
    }

    #[test]
    fn the_gateway_speaks_only_for_nodes_that_were_not_reached() {
        let mut own = report(3, &[2, 3]);
        own.said(node(1), CharterNumber(2), None);
        let mut theirs = report(3, &[3]);
        for n in 1..=2 {
            theirs.said(node(n), CharterNumber(3), None);
        }
        own.take_over(theirs);
        assert_eq!(
            (&*own.accepted, &*own.pending),
            (&[node(2)][..], &[node(1)][..])
        );
        assert_eq!(own.missing, [node(3)]);
    }
}
