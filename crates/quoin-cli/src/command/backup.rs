//! Backups: officers' identities, the list of backups, drills, and restores.
//!
//! Only `restore` recovers a share, and only for the folder of the node that it belongs to. A drill
//! opens parts and checks each against the key's public commitments; it combines nothing.

use crate::cli::{
    BackupsArgs, DrillArgs, KeyBackupArgs, KeyRestoreArgs, OfficerCommand, OfficerNewArgs,
    OfficersArgs,
};
use crate::client::Session;
use crate::failure::Failure;
use crate::{clock, folder, say};
use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use quoin_core::{KeyId, KeyName, ShareEpoch};
use quoin_node::backup::{BACKUP_EXTENSION, BackupFile};
use quoin_node::restore;
use quoin_protocol::KeyShare;
use quoin_protocol::backup::recover;
use quoin_protocol::combine::KeyPublic;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Runs `quoin officer`.
pub fn officer(command: OfficerCommand) -> Result<(), Failure> {
    match command {
        OfficerCommand::New(args) => new_officer(&args),
    }
}

fn new_officer(args: &OfficerNewArgs) -> Result<(), Failure> {
    let recipient = make_officer(&args.out)?;
    if args.json {
        return say::json(&serde_json::json!({ "recipient": recipient }));
    }
    say::line(&recipient);
    say::progress(format!(
        "`{}` opens this officer's part of every backup: keep it offline",
        args.out.display()
    ));
    Ok(())
}

/// Makes an officer's identity file and gives its recipient.
pub fn make_officer(path: &Path) -> Result<String, Failure> {
    if path.exists() {
        return Err(Failure::new(format!("`{}` exists", path.display()))
            .because("a file that may hold an identity is not overwritten")
            .next("name another file with `--out`"));
    }
    let identity = Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = Zeroizing::new(format!(
        "# public key: {recipient}\n{}\n",
        secret.expose_secret()
    ));
    folder::write_file(path, text.as_bytes(), 0o600)?;
    Ok(recipient)
}

/// Reads an `age` identity file: the first line that is no comment.
fn read_officer(path: &Path) -> Result<Identity, Failure> {
    let bytes = Zeroizing::new(folder::read(path)?);
    let malformed = || {
        Failure::new(format!("`{}` is not an `age` identity", path.display()))
            .because("it has no line that starts with `AGE-SECRET-KEY-1`")
            .next("`quoin officer new` and `age-keygen` make such files")
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|l| !l.is_empty() && !l.starts_with('#'));
    line.and_then(|l| l.parse().ok()).ok_or_else(malformed)
}

pub(super) fn read_officers(args: &OfficersArgs) -> Result<Vec<Identity>, Failure> {
    args.officers
        .iter()
        .map(|path| read_officer(path))
        .collect()
}

/// A backup file and where it lies.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) file: BackupFile,
}

impl Found {
    pub(super) fn public(&self) -> &KeyPublic {
        &self.file.header.public
    }

    fn place(&self) -> (KeyId, ShareEpoch, u8) {
        let public = self.public();
        (public.key, public.epoch, self.file.header.node.get())
    }
}

/// Every backup file in the folders, by key, epoch and node; copies of one file count once.
pub(super) fn find(args: &BackupsArgs) -> Result<Vec<Found>, Failure> {
    let folders = match args.from.as_slice() {
        [] => node_folders(args.data.folder().root())?,
        named => named.to_vec(),
    };
    let mut found = BTreeMap::new();
    for folder in &folders {
        let entries = std::fs::read_dir(folder).map_err(Failure::from_error(format!(
            "cannot read `{}`",
            folder.display()
        )))?;
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_none_or(|e| e != BACKUP_EXTENSION) {
                continue;
            }
            let file = BackupFile::read(&path).map_err(Failure::from_error(format!(
                "`{}` is not a backup that can be relied on",
                path.display()
            )))?;
            let one = Found { path, file };
            found.entry(one.place()).or_insert(one);
        }
    }
    Ok(found.into_values().collect())
}

fn node_folders(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(root).map_err(Failure::from_error(format!(
        "cannot read `{}`",
        root.display()
    )))?;
    let folders = entries
        .filter_map(Result::ok)
        .map(|e| e.path().join("backups"));
    let folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    if folders.is_empty() {
        return Err(Failure::new("there are no backups here")
            .because(format!("no node's folder in `{}` has any", root.display()))
            .next("name where they lie with `--from`; a charter without `backup` makes none"));
    }
    Ok(folders)
}

/// Keeps the backups of one key, or all.
pub(super) fn of_name(found: Vec<Found>, name: Option<&KeyName>) -> Result<Vec<Found>, Failure> {
    let wanted = |f: &Found| name.is_none_or(|n| f.public().name == *n);
    let kept: Vec<Found> = found.into_iter().filter(wanted).collect();
    if kept.is_empty() {
        let what = name.map_or("there is no backup".to_owned(), |n| {
            format!("there is no backup of the key `{n}`")
        });
        return Err(Failure::new(what).next("name another folder with `--from`"));
    }
    Ok(kept)
}

/// The newest epoch of each key among the backups.
pub(super) fn newest(found: &[Found]) -> BTreeMap<KeyId, ShareEpoch> {
    let mut newest = BTreeMap::new();
    for one in found {
        let epoch = newest.entry(one.public().key).or_insert(one.public().epoch);
        *epoch = (*epoch).max(one.public().epoch);
    }
    newest
}

#[derive(Serialize)]
struct Listed {
    key: KeyId,
    name: KeyName,
    epoch: u32,
    node: u8,
    officers: Vec<String>,
    officers_needed: u8,
    /// Whether it is of the epoch that the cluster certifies now.
    current: bool,
    /// Whether the record in it is the certified one; `None` where the epoch is not the one in use.
    certified: Option<bool>,
    path: PathBuf,
}

/// Runs `quoin key backup`.
pub async fn backup(args: KeyBackupArgs) -> Result<(), Failure> {
    let session = Session::open(&args.backups.data.folder()).await?;
    let keys = session.keys().await?;
    let mut listed = Vec::new();
    for found in of_name(find(&args.backups)?, args.name.as_ref())? {
        let public = found.public();
        let known = keys.iter().find(|k| k.public().key == public.key);
        let current = known.filter(|k| k.public().epoch == public.epoch);
        let certified = current.map(|k| k.public() == public);
        if let (Some(out), Some(true)) = (&args.out, certified) {
            let written = found.file.write_durably(out);
            written.map_err(Failure::from_error("the backup cannot be copied"))?;
        }
        listed.push(Listed {
            key: public.key,
            name: public.name.clone(),
            epoch: public.epoch.0,
            node: found.file.header.node.get(),
            officers: found.file.parts.iter().map(|p| p.officer.clone()).collect(),
            officers_needed: found.file.header.threshold,
            current: current.is_some(),
            certified,
            path: found.path,
        });
    }
    if args.json {
        return say::json(&listed);
    }
    for one in &listed {
        say::line(one.line());
    }
    if listed.iter().any(|one| !one.current) {
        say::progress(
            "backups of older epochs are still the key, for a quorum of officers and nodes: \
             destroy every copy of them",
        );
    }
    Ok(())
}

impl Listed {
    fn line(&self) -> String {
        let standing = match self.certified {
            Some(true) => "in use",
            Some(false) => "NOT the certified record: do not rely on it",
            None => "older or unknown epoch: destroy it",
        };
        format!(
            "{}  epoch {}  node {}  {} of {} ({})  {standing}  {}",
            self.name,
            self.epoch,
            self.node,
            self.officers_needed,
            self.officers.len(),
            self.officers.join(", "),
            self.path.display()
        )
    }
}

/// What a drill found of one key.
#[derive(Serialize)]
struct Drilled {
    key: KeyId,
    name: KeyName,
    epoch: u32,
    /// Nodes whose shares the officers who are here could recover.
    recoverable_nodes: Vec<u8>,
    /// Nodes whose backups are here, with too few of their officers.
    too_few_officers: Vec<u8>,
    nodes_needed: u8,
    recoverable: bool,
    /// Whether the record is the one that the cluster certifies; `None` when nobody was asked.
    certified: Option<bool>,
}

/// Runs `quoin drill`: proves that the backups could recover each key, and recovers nothing.
pub async fn drill(args: DrillArgs) -> Result<(), Failure> {
    let officers = read_officers(&args.officers)?;
    let found = of_name(find(&args.backups)?, None)?;
    let certified = if args.offline {
        None
    } else {
        let session = Session::open(&args.backups.data.folder()).await?;
        Some(session.keys().await?)
    };
    let mut drilled = Vec::new();
    for (key, epoch) in newest(&found) {
        let of_key = found.iter().filter(|f| f.public().key == key);
        let of_key: Vec<&Found> = of_key.filter(|f| f.public().epoch == epoch).collect();
        let mut one = drill_key(&of_key, &officers)?;
        one.certified = certified.as_ref().map(|keys| {
            let mut known = keys.iter().map(|k| k.public());
            of_key
                .iter()
                .all(|f| known.clone().any(|k| k == f.public()))
                && known.any(|k| k.key == key)
        });
        one.recoverable &= one.certified != Some(false);
        drilled.push(one);
    }
    if args.json {
        say::json(&drilled)?;
    } else {
        for one in &drilled {
            say::line(one.line());
        }
    }
    if drilled.iter().all(|d| d.recoverable) {
        return Ok(());
    }
    Err(Failure::new("not every key could be recovered")
        .because("there are too few officers or backups, or a record is not the certified one")
        .next("bring more officers, or refresh the key so that its nodes seal new backups"))
}

fn drill_key(found: &[&Found], officers: &[Identity]) -> Result<Drilled, Failure> {
    let first = found.first().ok_or_else(|| Failure::new("no backups"))?;
    let public = first.public();
    let (mut good, mut short) = (Vec::new(), Vec::new());
    for one in found {
        let parts = open_parts(one, officers)?;
        let node = one.file.header.node.get();
        if parts.len() >= usize::from(one.file.header.threshold) {
            good.push(node);
        } else {
            short.push(node);
        }
    }
    Ok(Drilled {
        key: public.key,
        name: public.name.clone(),
        epoch: public.epoch.0,
        recoverable: good.len() >= usize::from(public.threshold),
        recoverable_nodes: good,
        too_few_officers: short,
        nodes_needed: public.threshold,
        certified: None,
    })
}

/// Which parts the officers who are here can open; each is checked and dropped.
fn open_parts(found: &Found, officers: &[Identity]) -> Result<BTreeSet<u8>, Failure> {
    let mut opened = BTreeSet::new();
    for officer in officers {
        let parts = found.file.open_parts(officer).map_err(broken(found))?;
        opened.extend(parts.keys().copied());
    }
    Ok(opened)
}

fn broken<E: std::fmt::Display>(found: &Found) -> impl FnOnce(E) -> Failure {
    Failure::from_error(format!("`{}` would not recover", found.path.display()))
}

impl Drilled {
    fn line(&self) -> String {
        let (verdict, nodes) = (
            if self.recoverable {
                "recoverable"
            } else {
                "NOT recoverable"
            },
            self.recoverable_nodes.len(),
        );
        let record = match self.certified {
            Some(true) => "",
            Some(false) => "; its record is NOT the certified one",
            None => "; its record was not compared",
        };
        format!(
            "{}  epoch {}  {verdict}: {nodes} nodes' shares of {} needed{record}",
            self.name, self.epoch, self.nodes_needed
        )
    }
}

/// Recovers the share in one backup.
pub(super) fn recover_share(found: &Found, officers: &[Identity]) -> Result<KeyShare, Failure> {
    let mut parts = BTreeMap::new();
    for officer in officers {
        parts.extend(found.file.open_parts(officer).map_err(broken(found))?);
    }
    recover(&found.file.header, &parts).map_err(broken(found))
}

/// Runs `quoin key restore`.
pub async fn restore(args: KeyRestoreArgs) -> Result<(), Failure> {
    let officers = read_officers(&args.officers)?;
    let node = quoin_node::run::read_node_file(&args.node)
        .map_err(Failure::from_error("this is not the folder of a node"))?;
    let found = of_name(find(&args.backups)?, args.name.as_ref())?;
    let newest = newest(&found);
    let of_node = found.iter().filter(|f| f.file.header.node == node.index);
    let of_node = of_node.filter(|f| newest.get(&f.public().key) == Some(&f.public().epoch));
    let shares = of_node
        .map(|f| recover_share(f, &officers))
        .collect::<Result<Vec<_>, _>>()?;
    if shares.is_empty() {
        return Err(Failure::new("there is nothing to restore").because(format!(
            "no backup of the newest epoch is of node {}",
            node.index
        )));
    }
    let generation = restore::restore(&args.node, &shares, clock::now())
        .map_err(Failure::from_error("nothing was restored"))?;
    let names: Vec<&KeyName> = shares.iter().map(|s| &s.public.name).collect();
    if args.json {
        return say::json(&serde_json::json!({
            "node": node.index,
            "keys": names,
            "generation": generation.0,
        }));
    }
    for share in &shares {
        let (name, epoch) = (&share.public.name, share.public.epoch.0);
        say::line(format!(
            "{name}  epoch {epoch}  restored to node {}",
            node.index
        ));
    }
    say::progress(format!(
        "start the node; then `quoin node readmit {}`, and `quoin key refresh` for each key: the \
         node signs nothing with a restored share before that",
        node.index
    ));
    Ok(())
}
