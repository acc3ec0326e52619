//! `quoin approve`: read what waits, decode its bytes here, and sign an approval of its meaning.
//!
//! The gateway supplies bytes and nothing else: the intent hash that is signed is computed here,
//! from the payload, the stamp and the policies of the verified charter. Of a proposed charter see
//! [`super::proposals`].

use super::change;
use crate::cli::ApproveArgs;
use crate::client::keys::VerifiedKey;
use crate::client::{Answer, ChangedAnswer, PendingAsk, Session};
use crate::failure::Failure;
use crate::{clock, say};
use quoin_chain::Decoded;
use quoin_core::cbor::{self, Version};
use quoin_core::payload::PAYLOAD_BYTES_MAX;
use quoin_core::{IntentHash, Payload, RequestId, Signed, SigningIdentity, Stamp};
use quoin_policy::{Approval, Subject, intent_hash, summary};
use serde_json::json;

/// Runs the command.
pub async fn run(args: ApproveArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let identity = session.folder().principal(&args.principal)?;
    match args.subject {
        Subject::Request(id) => request(&session, &args, id, &identity).await,
        Subject::Charter(hash) => super::proposals::approve(&session, &args, hash, &identity).await,
    }
}

async fn request(
    session: &Session,
    args: &ApproveArgs,
    id: RequestId,
    identity: &SigningIdentity,
) -> Result<(), Failure> {
    let waiting = session.gateway().pending(id).await?;
    let read = Read::from_pending(session, id, &waiting).await?;
    for line in read.lines(session) {
        say::progress(line);
    }
    say::confirmed(&format!("Approve this as `{}`?", args.principal), args.yes)?;
    let approval = read.approval(session, args, identity);
    let answer = session.gateway().approve(&approval.to_bytes()).await?;
    let hash = read.intent_hash;
    match answer {
        Answer::Signed(signed) if args.json => say::json(&json!({
            "approved": hash, "signed": true, "signature": hex::encode(signed.signature),
            "raw": signed.raw.as_ref().map(|raw| format!("0x{}", hex::encode(raw))),
        })),
        Answer::Pending(pending) if args.json => {
            say::json(&json!({ "approved": hash, "signed": false, "unmet": pending.unmet }))
        }
        Answer::InProgress if args.json => {
            say::json(&json!({ "approved": hash, "signed": false, "unmet": [] }))
        }
        Answer::Signed(_) => {
            say::line("approved; nothing is missing any more, and the request is signed");
            Ok(())
        }
        Answer::Pending(pending) => {
            say::line(format!(
                "approved; still missing: {}",
                pending.unmet.join(", ")
            ));
            Ok(())
        }
        Answer::InProgress => {
            say::line("approved; the request is under way");
            Ok(())
        }
        Answer::Changed(changed) => carried_out(session, args, &read, &changed),
        Answer::KeyCreated(certificate) | Answer::KeyRenewed(certificate) => {
            let chain_id = session.file().chain_id;
            let key =
                VerifiedKey::from_certificate(&certificate, session.constitution(), chain_id)?;
            if args.json {
                return say::json(&json!({ "approved": hash, "signed": false, "key": key.view() }));
            }
            say::line(format!(
                "approved; nothing is missing any more: the key `{}` is at epoch {}",
                key.public().name,
                key.public().epoch.0
            ));
            Ok(())
        }
        other => Err(other.into_failure("the approval was not accepted")),
    }
}

/// A change of a key, of a node or of freezes, which the approval has set going.
fn carried_out(
    session: &Session,
    args: &ApproveArgs,
    read: &Read,
    changed: &ChangedAnswer,
) -> Result<(), Failure> {
    let id = read.stamp.request_id;
    if let Payload::Unfreeze(wish) = &read.payload {
        return super::unfreeze::shown(session, wish, id, changed, args.json);
    }
    let nodes: Vec<_> = changed.statements.iter().map(|(node, _)| *node).collect();
    if args.json {
        say::json(&json!({
            "approved": read.intent_hash,
            "signed": false,
            "request_id": id,
            "nodes": nodes,
            "failed": change::failures(changed),
            "missing": changed.missing,
        }))?;
    } else {
        let nodes = change::list(&nodes);
        say::line(format!(
            "approved; carried out on nodes {nodes}, by their own word"
        ));
    }
    change::finish(changed, id, false)
}

/// A pending request as it was decoded here.
struct Read {
    stamp: Stamp,
    payload: Payload,
    decoded: Decoded,
    intent_hash: IntentHash,
    key_name: String,
}

impl Read {
    async fn from_pending(
        session: &Session,
        request_id: RequestId,
        waiting: &PendingAsk,
    ) -> Result<Self, Failure> {
        let forged = |why: String| {
            Failure::new("the pending request is not what the gateway says it is")
                .because(why)
                .next("do not approve it; tell the operator of the gateway")
        };
        let signed =
            Signed::<Stamp>::from_bytes(&waiting.stamp).map_err(|e| forged(e.to_string()))?;
        let stamp = session
            .constitution()
            .verify_stamp(&signed)
            .map_err(|e| forged(e.to_string()))?
            .clone();
        let payload: Payload = cbor::decode(&waiting.payload, PAYLOAD_BYTES_MAX + 64)
            .map_err(|e| forged(e.to_string()))?;
        if stamp.request_id != request_id {
            return Err(forged("its stamp is for another request".to_owned()));
        }
        if payload.hash() != stamp.payload_hash {
            return Err(forged("its stamp is for another payload".to_owned()));
        }
        let (scheme, key_name) = match stamp.key {
            Some(id) => {
                let keys = session.keys().await?;
                let key = keys.iter().find(|k| k.public().key == id);
                let key = key.ok_or_else(|| forged("its key is unknown".to_owned()))?;
                (key.public().scheme, key.public().name.to_string())
            }
            None => (quoin_core::Scheme::Ecdsa, "none".to_owned()),
        };
        let decoded = quoin_chain::decode(&payload, &stamp.account, scheme)
            .map_err(|e| forged(e.to_string()))?;
        let relied = session.constitution().relied_rules(&waiting.rules);
        let relied = relied.ok_or_else(|| {
            forged("it relies on rules that the charter does not have".to_owned())
        })?;
        Ok(Self {
            intent_hash: intent_hash(&decoded, &stamp, &relied),
            stamp,
            payload,
            decoded,
            key_name,
        })
    }

    fn lines(&self, session: &Session) -> Vec<String> {
        let mut lines = vec![
            format!("request   {}", self.stamp.request_id),
            format!("asked by  {}", self.stamp.principal),
            format!(
                "key       {} ({})",
                self.key_name, self.stamp.account.address
            ),
            format!(
                "meaning   {}",
                summary(session.constitution(), self.decoded.intent())
            ),
        ];
        if let Some(fee) = &self.decoded.intent().fee_max {
            lines.push(format!("fee       at most {} of {}", fee.amount, fee.asset));
        }
        lines
    }

    fn approval(
        &self,
        session: &Session,
        args: &ApproveArgs,
        identity: &SigningIdentity,
    ) -> Signed<Approval> {
        let approval = Approval {
            version: Version,
            cluster: session.constitution().cluster(),
            intent_hash: self.intent_hash,
            principal: args.principal.clone(),
            request_id: self.stamp.request_id,
            not_after: self.stamp.not_after.max(clock::now()),
        };
        Signed::sign(approval, identity)
    }
}
