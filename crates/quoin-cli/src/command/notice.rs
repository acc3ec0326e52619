//! `quoin veto` and `quoin receipt`: one person's word about a request or a proposed charter.
//!
//! Both go to every node directly and through the gateway: a gateway that wanted something through
//! would keep them.

use crate::cli::NoticeArgs;
use crate::client::{Session, Statement};
use crate::failure::Failure;
use crate::{clock, say};
use quoin_core::Signed;
use quoin_core::cbor::Version;
use quoin_policy::{Receipt, Subject, Veto};
use serde_json::json;

/// `quoin veto`.
pub async fn veto(args: NoticeArgs) -> Result<(), Failure> {
    let session = Session::open_if_asked(&args.data.folder()).await?;
    let identity = session.folder().principal(&args.principal)?;
    describe(&session, &args.subject).await;
    let question = format!(
        "Veto {} as `{}`? It is for ever.",
        named(&args.subject),
        args.principal
    );
    say::confirmed(&question, args.yes)?;
    let veto = Veto {
        version: Version,
        cluster: session.constitution().cluster(),
        subject: args.subject,
        principal: args.principal.clone(),
        at: clock::now(),
    };
    let signed = Signed::sign(veto, &identity).to_bytes();
    tell(&session, &args, Statement::Veto(signed), "veto").await
}

/// `quoin receipt`.
pub async fn receipt(args: NoticeArgs) -> Result<(), Failure> {
    let session = Session::open_if_asked(&args.data.folder()).await?;
    let identity = session.folder().principal(&args.principal)?;
    describe(&session, &args.subject).await;
    let question = format!(
        "State as `{}` that you have seen {} and told your people?",
        args.principal,
        named(&args.subject)
    );
    say::confirmed(&question, args.yes)?;
    let receipt = Receipt {
        version: Version,
        cluster: session.constitution().cluster(),
        subject: args.subject,
        principal: args.principal.clone(),
        at: clock::now(),
    };
    let signed = Signed::sign(receipt, &identity).to_bytes();
    tell(&session, &args, Statement::Receipt(signed), "receipt").await
}

/// Shows what it is about, where that can be found out: a veto may come before anybody has seen what
/// it is of.
async fn describe(session: &Session, subject: &Subject) {
    let Subject::Charter(hash) = subject else {
        return;
    };
    match session.proposal(*hash).await {
        Ok(proposal) => {
            for line in super::proposals::plan_lines(session, proposal.certificate.unverified()) {
                say::progress(line);
            }
        }
        Err(failure) => say::progress(format!("what it is cannot be shown: {failure}")),
    }
}

async fn tell(
    session: &Session,
    args: &NoticeArgs,
    statement: Statement,
    kind: &str,
) -> Result<(), Failure> {
    let delivery = session.deliver(&statement).await;
    let delivery = delivery.at_least_one(&format!("the {kind} of {}", named(&args.subject)))?;
    if args.json {
        return say::json(&json!({
            kind: args.subject,
            "taken": delivery.taken(),
            "delivery": delivery,
        }));
    }
    for line in delivery.lines() {
        say::line(line);
    }
    say::line(match args.subject {
        _ if kind == "receipt" => format!("{} is acknowledged", named(&args.subject)),
        _ => format!("{} is vetoed, for ever", named(&args.subject)),
    });
    Ok(())
}

fn named(subject: &Subject) -> String {
    match subject {
        Subject::Request(id) => format!("request `{id}`"),
        Subject::Charter(hash) => format!("charter `{hash}`"),
    }
}
