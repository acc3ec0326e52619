//! `quoin key refresh|reshare|suspend|resume|retire|compromise|destroy` and `quoin node
//! pardon|readmit`: requests that change a key or how a node is seen.
//!
//! The nodes' statements are verified here, one by one: whoever carried a change out says so under
//! its own signature, and whoever has not is named.

use crate::cli::{KeyChangeArgs, KeyReshareArgs, NodeChangeArgs};
use crate::client::keys::VerifiedKey;
use crate::client::standing::{NodeOpinion, NodeStanding};
use crate::client::{Answer, Asker, ChangedAnswer, Session, Stamped, Subject};
use crate::failure::Failure;
use crate::{folder, say};
use quoin_core::payload::{ChangeKey, ChangeNode, KeyChange, NodeChange};
use quoin_core::stamp::Account;
use quoin_core::{
    Address, ChainId, CustodyMethod, DerivationPath, KeyState, NodeIndex, Payload, PrincipalId,
    Purpose, RequestId, Scheme,
};
use quoin_node::core::CLUSTER_ACCOUNT;
use quoin_policy::state_name;
use serde_json::json;

/// Moves the shares of a key to new ones for the nodes and the threshold of the charter in force.
pub async fn reshare(args: KeyReshareArgs) -> Result<(), Failure> {
    let session = Session::open(&args.change.data.folder()).await?;
    let key = session.key(args.change.name.as_str()).await?;
    let dealers = match args.dealers.is_empty() {
        false => args.dealers,
        true => first_dealers(&session, &key),
    };
    say::progress(format!(
        "nodes {} deal the key `{}` anew to all nodes of the charter …",
        list(&dealers),
        key.public().name
    ));
    renew(&session, &key, args.change, KeyChange::Reshare { dealers }).await
}

/// New shares for the nodes that hold the key.
pub async fn refresh(args: KeyChangeArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let key = session.key(args.name.as_str()).await?;
    say::progress(format!(
        "all nodes make new shares of the key `{}` together; it goes on signing …",
        key.public().name
    ));
    renew(&session, &key, args, KeyChange::Refresh).await
}

/// The lowest holders that are still in the charter, as many as sign.
fn first_dealers(session: &Session, key: &VerifiedKey) -> Vec<NodeIndex> {
    let public = key.public();
    let holders = public.public_shares.iter().map(|s| s.node);
    let still = holders.filter(|n| session.constitution().node(*n).is_some());
    still.take(usize::from(public.threshold)).collect()
}

async fn renew(
    session: &Session,
    key: &VerifiedKey,
    args: KeyChangeArgs,
    change: KeyChange,
) -> Result<(), Failure> {
    let asked = ask(session, &args, key, change).await?;
    let what = format!("the key `{}` has kept its shares", args.name);
    let certificate = match asked.1 {
        Answer::KeyRenewed(certificate) => certificate,
        other => return Err(other.into_failure(&what).naming(asked.0.request_id())),
    };
    let chain_id = session.file().chain_id;
    let renewed = VerifiedKey::from_certificate(&certificate, session.constitution(), chain_id)?;
    let (new, old) = (renewed.public(), key.public());
    let follows = new.epoch > old.epoch && new.previous.is_some();
    if (new.key, &new.public_key, new.chain_code) != (old.key, &old.public_key, old.chain_code)
        || !follows
    {
        return Err(Failure::new(
            "the gateway answered with the certificate of another key or epoch",
        )
        .next("ask the operators of the nodes"));
    }
    if args.json {
        return say::json(&renewed.view());
    }
    say::line(format!(
        "the key `{}` has new shares: epoch {}, {} of {} sign; its public key is the same",
        new.name,
        new.epoch.0,
        new.threshold,
        new.public_shares.len()
    ));
    Ok(())
}

/// A change of a key's state.
pub async fn state(args: KeyChangeArgs, change: KeyChange) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let key = session.key(args.name.as_str()).await?;
    if let Some(warning) = warning(&change) {
        let name = &key.public().name;
        say::confirmed(&format!("{warning} Key `{name}`: sure?"), args.yes)?;
    }
    say::progress(progress(&change, &args));
    let wanted = wanted(&change);
    let (request, answer) = ask(&session, &args, &key, change.clone()).await?;
    let what = format!(
        "no node did the {} of the key `{}`",
        change.name(),
        args.name
    );
    let changed = changed(answer, &what, request.request_id())?;
    let mut said = Vec::new();
    for (_, bytes) in &changed.statements {
        let id = key.public().key;
        let standing = NodeStanding::of_key(bytes, id, session.constitution())?;
        if Some(standing.state) != wanted {
            return Err(
                Failure::new("a node states another state than was asked for").because(format!(
                    "node {}: {}",
                    standing.node,
                    state_name(standing.state)
                )),
            );
        }
        said.push(standing);
    }
    if args.json {
        say::json(&json!({
            "request_id": request.request_id(),
            "key": key.public().name,
            "state": wanted,
            "statements": said,
            "failed": failures(&changed),
            "missing": changed.missing,
        }))?;
    } else {
        show_state(&args, wanted, &said);
    }
    finish(&changed, request.request_id(), change == KeyChange::Destroy)
}

fn show_state(args: &KeyChangeArgs, wanted: Option<KeyState>, said: &[NodeStanding]) {
    let nodes: Vec<NodeIndex> = said.iter().map(|s| s.node).collect();
    let state = wanted.map_or("unchanged", state_name);
    say::line(format!(
        "the key `{}` is {state} on nodes {}, as each has signed",
        args.name,
        list(&nodes)
    ));
    if wanted != Some(KeyState::Destroyed) {
        return;
    }
    for node in said {
        let erased = node.erased.join(", ");
        say::line(format!(
            "  node {}: shares of epochs {erased} are erased",
            node.node
        ));
        if !node.backups.is_empty() {
            say::line(format!(
                "  node {}: BACKUPS of epochs {} are outstanding: destroy them at their officers",
                node.node,
                node.backups.join(", ")
            ));
        }
    }
}

/// A change of how the others see a node.
pub async fn node(args: NodeChangeArgs, change: NodeChange) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let identity = session.folder().principal(&args.principal)?;
    let asker = asker(&args.principal, &identity, args.request_id);
    let wish = ChangeNode {
        node: args.index,
        change,
    };
    let subject = of_the_cluster()?;
    say::progress(match change {
        NodeChange::Pardon => format!("the nodes lift the quarantine of node {} …", args.index),
        NodeChange::Readmit => format!("the nodes take node {} back as it is …", args.index),
    });
    let request = session.stamp(&asker, &subject, Payload::ChangeNode(wish))?;
    let answer = session.ask(&request).await?;
    let what = format!("no node did the {} of node {}", change.name(), args.index);
    let changed = changed(answer, &what, request.request_id())?;
    let mut said = Vec::new();
    for (_, bytes) in &changed.statements {
        said.push(NodeOpinion::of_node(bytes, wish, session.constitution())?);
    }
    if args.json {
        say::json(&json!({
            "request_id": request.request_id(),
            "node": args.index,
            "change": change.name(),
            "statements": said,
            "failed": failures(&changed),
            "missing": changed.missing,
        }))?;
    } else {
        let nodes: Vec<NodeIndex> = said.iter().map(|s| s.node).collect();
        say::line(format!(
            "{} of node {} done on nodes {}, as each has signed",
            change.name(),
            args.index,
            list(&nodes)
        ));
        for opinion in said.iter().filter(|s| s.strikes > 0) {
            say::line(format!(
                "  node {} has written {} strikes against it so far",
                opinion.node, opinion.strikes
            ));
        }
    }
    finish(&changed, request.request_id(), false)
}

async fn ask(
    session: &Session,
    args: &KeyChangeArgs,
    key: &VerifiedKey,
    change: KeyChange,
) -> Result<(Stamped, Answer), Failure> {
    let identity = session.folder().principal(&args.principal)?;
    let asker = asker(&args.principal, &identity, args.request_id);
    let public = key.public();
    let subject = Subject {
        key: Some(public.key),
        account: quoin_account(&public.key.to_string())?,
        purpose: public.purpose,
        scheme: public.scheme,
        custody: CustodyMethod::Mpc,
    };
    let payload = Payload::ChangeKey(ChangeKey {
        key: public.key,
        change,
    });
    let request = session.stamp(&asker, &subject, payload)?;
    let answer = session.ask(&request).await?;
    Ok((request, answer))
}

/// Who asks, under this request id or a fresh one.
pub fn asker<'a>(
    principal: &'a PrincipalId,
    identity: &'a quoin_core::SigningIdentity,
    request_id: Option<RequestId>,
) -> Asker<'a> {
    Asker {
        principal,
        identity,
        request_id: request_id.unwrap_or_else(folder::random_request_id),
    }
}

/// What is about no key: key, purpose and scheme mean nothing.
pub fn of_the_cluster() -> Result<Subject, Failure> {
    Ok(Subject {
        key: None,
        account: quoin_account(CLUSTER_ACCOUNT)?,
        purpose: Purpose::Trading,
        scheme: Scheme::Ecdsa,
        custody: CustodyMethod::Mpc,
    })
}

/// An account on Quoin itself.
pub fn quoin_account(address: &str) -> Result<Account, Failure> {
    let address: Address = address
        .parse()
        .map_err(Failure::from_error("there is no such account on Quoin"))?;
    Ok(Account {
        chain: ChainId::Quoin,
        address,
        path: DerivationPath::ROOT,
    })
}

/// What came of a change.
pub fn changed(answer: Answer, what: &str, id: RequestId) -> Result<ChangedAnswer, Failure> {
    match answer {
        Answer::Changed(changed) => Ok(changed),
        other => Err(other.into_failure(what).naming(id)),
    }
}

/// Tells who has not carried the change out yet. What must not be left half done is a failure then.
pub fn finish(changed: &ChangedAnswer, id: RequestId, everywhere: bool) -> Result<(), Failure> {
    let mut open: Vec<String> = changed
        .failed
        .iter()
        .map(|(node, why)| format!("node {node}: {why}"))
        .collect();
    if !changed.missing.is_empty() {
        open.push(format!("nodes {} were not reached", list(&changed.missing)));
    }
    if open.is_empty() {
        return Ok(());
    }
    let next = format!(
        "they get it from the others; ask again with `--request-id {id}` until all have it"
    );
    if everywhere {
        return Err(Failure::new("not all nodes have done it yet")
            .because(open.join("; "))
            .next(next));
    }
    say::progress(format!("not yet everywhere: {}; {next}", open.join("; ")));
    Ok(())
}

/// What the nodes said that have not carried a change out.
pub fn failures(changed: &ChangedAnswer) -> Vec<serde_json::Value> {
    let failed = changed.failed.iter();
    failed
        .map(|(node, why)| json!({ "node": node, "message": why }))
        .collect()
}

/// What cannot be taken back is said before it is asked for.
const fn warning(change: &KeyChange) -> Option<&'static str> {
    match change {
        KeyChange::Retire => Some("A retired key never signs again."),
        KeyChange::Compromise => Some("A key marked as compromised never signs again."),
        KeyChange::Destroy => {
            Some("Every share is erased: what the key holds is lost but for its backups.")
        }
        _ => None,
    }
}

fn progress(change: &KeyChange, args: &KeyChangeArgs) -> String {
    let name = &args.name;
    match change {
        KeyChange::Suspend => format!("the nodes stop signing with the key `{name}` …"),
        KeyChange::Resume => format!("the nodes take the key `{name}` back into use …"),
        KeyChange::Destroy => format!("the nodes erase every share of the key `{name}` …"),
        _ => format!("the nodes take the key `{name}` out of use for good …"),
    }
}

const fn wanted(change: &KeyChange) -> Option<KeyState> {
    match change {
        KeyChange::Refresh | KeyChange::Reshare { .. } => None,
        KeyChange::Suspend => Some(KeyState::Suspended),
        KeyChange::Resume => Some(KeyState::Active),
        KeyChange::Retire => Some(KeyState::Deactivated),
        KeyChange::Compromise => Some(KeyState::Compromised),
        KeyChange::Destroy => Some(KeyState::Destroyed),
    }
}

/// The nodes, for people.
pub fn list(nodes: &[NodeIndex]) -> String {
    let texts: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
