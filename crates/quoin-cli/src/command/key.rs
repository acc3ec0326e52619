//! `quoin key`: make, list and show threshold keys; what changes them is in `change`.
//!
//! A key is shown only after its certificate, signed by all nodes, has been verified here.

use super::change;
use crate::cli::{KeyAllowArgs, KeyCommand, KeyCreateArgs, KeyListArgs, KeyShowArgs};
use crate::client::keys::VerifiedKey;
use crate::client::standing::{date, state_line};
use crate::client::{Answer, Asker, Session, Subject};
use crate::failure::Failure;
use crate::{folder, say};
use quoin_core::payload::{CreateKey, KeyChange};
use quoin_core::stamp::Account;
use quoin_core::{ChainId, CustodyMethod, KeyName, KeyOrigin, Payload, Purpose, Scheme};
use quoin_node::core::CLUSTER_ACCOUNT;
use quoin_policy::KeyGrant;

/// Runs the command.
pub async fn run(command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(args) => create(args).await,
        KeyCommand::List(args) => list(args).await,
        KeyCommand::Show(args) => show(args).await,
        KeyCommand::Allow(args) => allow(args).await,
        KeyCommand::Backup(args) => super::backup::backup(args).await,
        KeyCommand::Restore(args) => super::backup::restore(args).await,
        KeyCommand::Export(args) => super::whole::export(&args),
        KeyCommand::Import(args) => super::whole::import(&args),
        KeyCommand::Derive(args) => super::derive::run(args).await,
        KeyCommand::Refresh(args) => change::refresh(args).await,
        KeyCommand::Reshare(args) => change::reshare(args).await,
        KeyCommand::Suspend(args) => change::state(args, KeyChange::Suspend).await,
        KeyCommand::Resume(args) => change::state(args, KeyChange::Resume).await,
        KeyCommand::Retire(args) => change::state(args, KeyChange::Retire).await,
        KeyCommand::Compromise(args) => change::state(args, KeyChange::Compromise).await,
        KeyCommand::Destroy(args) => change::state(args, KeyChange::Destroy).await,
    }
}

/// Lets a key spend: the next charter lists it.
async fn allow(args: KeyAllowArgs) -> Result<(), Failure> {
    let mut session = Session::open(&args.data.folder()).await?;
    let current = session.constitution().charter();
    if session.constitution().key_grant(&args.name).is_some() {
        return Err(Failure::new(format!(
            "the key `{}` may spend already",
            args.name
        )));
    }
    let mut changed = current.clone();
    changed.keys.push(KeyGrant {
        key: args.name,
        dangerous_digest_account: false,
    });
    let next = super::charter::successor(&session, changed);
    super::charter::bring(&mut session, next, &args.governors, args.json).await
}

async fn create(args: KeyCreateArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let identity = session.folder().principal(&args.principal)?;
    let asker = Asker {
        principal: &args.principal,
        identity: &identity,
        request_id: args.request_id.unwrap_or_else(folder::random_request_id),
    };
    say::progress(format!("all nodes make the key `{}` together …", args.name));
    let wanted = Wanted {
        custody: CustodyMethod::Mpc,
        name: args.name,
        scheme: args.scheme.into(),
        purpose: args.purpose.into(),
    };
    let key = create_key(&session, &asker, wanted).await?;
    show_key(&key, args.json)
}

/// The key to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who holds it: its shares on the nodes, or each node the whole of it.
    pub custody: CustodyMethod,
    /// Its name.
    pub name: KeyName,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its purpose.
    pub purpose: Purpose,
}

/// Has the nodes make a key and verifies what they certify.
pub async fn create_key(
    session: &Session,
    asker: &Asker<'_>,
    wanted: Wanted,
) -> Result<VerifiedKey, Failure> {
    let address = CLUSTER_ACCOUNT
        .parse()
        .map_err(Failure::from_error("the cluster has no account"))?;
    let subject = Subject {
        key: None,
        account: Account {
            chain: ChainId::Quoin,
            address,
            path: quoin_core::DerivationPath::ROOT,
        },
        purpose: wanted.purpose,
        scheme: wanted.scheme,
        custody: wanted.custody,
    };
    let payload = Payload::CreateKey(CreateKey {
        name: wanted.name.clone(),
        scheme: wanted.scheme,
        purpose: wanted.purpose,
    });
    let request = session.stamp(asker, &subject, payload)?;
    let certificate = match session.ask(&request).await? {
        Answer::KeyCreated(certificate) => certificate,
        other => return Err(other.into_failure(&format!("no key `{}` was made", wanted.name))),
    };
    let chain_id = session.file().chain_id;
    let key = VerifiedKey::from_certificate(&certificate, session.constitution(), chain_id)?;
    let public = key.public();
    // The ceremony and the threshold too: an older key of the same name, or one that every node
    // holds whole, is not the key that was asked for.
    let threshold = match wanted.custody {
        CustodyMethod::Mpc => session.constitution().charter().threshold,
        CustodyMethod::Local => 1,
    };
    if (
        &public.name,
        public.scheme,
        public.purpose,
        public.threshold,
    ) != (&wanted.name, wanted.scheme, wanted.purpose, threshold)
        || public.ceremony.0 != request.request_id().0
    {
        return Err(
            Failure::new("the gateway answered with the certificate of another key")
                .next("ask the operators of the nodes; do not use that key"),
        );
    }
    Ok(key)
}

async fn list(args: KeyListArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let keys = session.keys().await?;
    if args.json {
        let views: Vec<_> = keys.iter().map(VerifiedKey::view).collect();
        return say::json(&views);
    }
    if keys.is_empty() {
        say::progress("no keys yet; make one with `quoin key create NAME --scheme … --purpose …`");
    }
    for key in &keys {
        say::line(key.view().line());
    }
    Ok(())
}

async fn show(args: KeyShowArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    show_key(&session.key(args.name.as_str()).await?, args.json)
}

fn show_key(key: &VerifiedKey, json: bool) -> Result<(), Failure> {
    let view = key.view();
    if json {
        return say::json(&view);
    }
    say::line(view.line());
    say::line(format!("  public key {}", view.public_key));
    say::line(format!("  key id     {}", view.key));
    let nodes = key.public().public_shares.len();
    say::line(format!(
        "  shares     epoch {}, one on each of {nodes} nodes; any {} of them sign",
        view.epoch, view.threshold
    ));
    say::line(format!("  state      {}", state_line(key.standing())));
    say::line(match view.origin {
        KeyOrigin::Born => "  origin     born as shares: it was never whole anywhere".to_owned(),
        KeyOrigin::Imported => "  origin     IMPORTED: it was whole before it came here".to_owned(),
    });
    if let Some(created) = view.created {
        say::line(format!("  created    {}", date(created)));
    }
    Ok(())
}
