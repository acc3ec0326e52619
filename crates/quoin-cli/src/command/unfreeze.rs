//! `quoin unfreeze`: ask to lift freezes. It is a request like any other, which every node judges;
//! the charter asks more people for it than for a freeze.

use super::change::{asker, changed, failures, finish, list, of_the_cluster};
use crate::cli::UnfreezeArgs;
use crate::client::standing::NodeLifted;
use crate::client::{Answer, ChangedAnswer, Session};
use crate::failure::Failure;
use crate::say;
use quoin_core::payload::Unfreeze;
use quoin_core::{Payload, RequestId};
use serde_json::json;

/// Runs the command.
pub async fn run(args: UnfreezeArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let identity = session.folder().principal(&args.principal)?;
    let wish = wish(&args);
    let asker = asker(&args.principal, &identity, args.request_id);
    let request = session.stamp(&asker, &of_the_cluster()?, Payload::Unfreeze(wish.clone()))?;
    let id = request.request_id();
    say::progress(format!("asking the nodes to lift {} …", what(&wish)));
    match session.ask(&request).await? {
        Answer::Pending(pending) if args.json => say::json(&json!({
            "request_id": id, "lifted": false, "unmet": pending.unmet,
        })),
        Answer::Pending(pending) => {
            say::line(format!(
                "not lifted yet; missing: {}",
                pending.unmet.join(", ")
            ));
            say::line(format!(
                "request    {id}   (approve it: quoin approve {id} --as PRINCIPAL)"
            ));
            Ok(())
        }
        answer => {
            let failed = format!("no node lifted {}", what(&wish));
            let changed = changed(answer, &failed, id)?;
            shown(&session, &wish, id, &changed, args.json)
        }
    }
}

/// Verifies and shows what the nodes say of having lifted freezes.
pub fn shown(
    session: &Session,
    wish: &Unfreeze,
    id: RequestId,
    changed: &ChangedAnswer,
    as_json: bool,
) -> Result<(), Failure> {
    let said = changed.statements.iter();
    let said =
        said.map(|(_, bytes)| NodeLifted::of_request(bytes, id, wish, session.constitution()));
    let said: Vec<NodeLifted> = said.collect::<Result<_, _>>()?;
    let nodes: Vec<_> = said.iter().map(|s| s.node).collect();
    if as_json {
        say::json(&json!({
            "request_id": id,
            "lifted": true,
            "statements": said,
            "failed": failures(changed),
            "missing": changed.missing,
        }))?;
    } else {
        say::line(format!(
            "{} lifted on nodes {}, as each has signed",
            what(wish),
            list(&nodes)
        ));
    }
    finish(changed, id, false)
}

/// In the one order that the form has.
fn wish(args: &UnfreezeArgs) -> Unfreeze {
    let mut wish = Unfreeze {
        lifts: args.freezes.clone(),
        suspends: args.suspend.clone(),
    };
    wish.lifts.sort();
    wish.lifts.dedup();
    wish.suspends.sort();
    wish.suspends.dedup();
    wish
}

fn what(wish: &Unfreeze) -> String {
    let lifts: Vec<String> = wish.lifts.iter().map(|id| format!("`{id}`")).collect();
    let suspends: Vec<String> = wish.suspends.iter().map(|id| format!("`{id}`")).collect();
    let lifts = (!lifts.is_empty()).then(|| format!("the freezes {}", lifts.join(", ")));
    let suspends =
        (!suspends.is_empty()).then(|| format!("every freeze of {}", suspends.join(", ")));
    let both: Vec<String> = lifts.into_iter().chain(suspends).collect();
    both.join(" and ")
}
