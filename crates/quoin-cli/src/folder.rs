//! The data folder: what a command line or a dev cluster keeps between runs.
//!
//! `genesis.cbor` and `cluster.json` pin the cluster; `charters/` holds every later charter that
//! was verified here; `principals/` holds credentials of people, which only a dev cluster keeps in
//! one place. Nothing in it is trusted that the pinned genesis does not lead to.

use crate::failure::Failure;
use quoin_core::{
    Certificate, ClusterId, NodeIndex, PrincipalId, RequestId, SecretBytes, SigningIdentity,
};
use quoin_policy::{Charter, Constitution, verify_genesis, verify_successor};
use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The pin of a cluster and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// The cluster that this folder belongs to: the hash of its genesis.
    pub cluster: ClusterId,
    /// Where the gateway listens.
    pub gateway: String,
    /// The chain that amounts and transfers mean unless another is named.
    pub chain_id: u64,
    /// The chain node, when there is one.
    pub rpc: Option<String>,
    /// Whether this is a dev cluster, whose keys protect nothing.
    #[serde(default)]
    pub dev: bool,
    /// Where the nodes listen, each `host:port`. Freezes, vetoes and receipts go to them directly,
    /// because a gateway could keep them; without it they go through the gateway alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<NodeIndex, String>,
}

/// A data folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.root.join(inside)
    }

    /// Whether a cluster was made here.
    pub fn is_initialised(&self) -> bool {
        self.path("cluster.json").is_file()
    }

    /// Makes the folder, readable by its owner alone.
    pub fn create(&self) -> Result<(), Failure> {
        create_private(&self.root)
    }

    /// Refuses a second process on the same folder for as long as the lock lives.
    pub fn lock(&self) -> Result<File, Failure> {
        let path = self.path("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(Failure::from_error(format!(
                "cannot open `{}`",
                path.display()
            )))?;
        file.try_lock().map_err(|_| {
            Failure::new(format!("`{}` is in use", self.root.display()))
                .because("another `quoin dev` runs on it")
                .next("stop that one, or name another folder with `--data`")
        })?;
        Ok(file)
    }

    /// The pin.
    pub fn cluster(&self) -> Result<ClusterFile, Failure> {
        if !self.is_initialised() {
            let root = self.root.display();
            return Err(Failure::new(format!("`{root}` holds no cluster"))
                .because("it has no `cluster.json`")
                .next("run `quoin dev`, or name the folder of your cluster with `--data`"));
        }
        read_json(&self.path("cluster.json"))
    }

    /// Writes the pin.
    pub fn save_cluster(&self, file: &ClusterFile) -> Result<(), Failure> {
        write_json(&self.path("cluster.json"), file)
    }

    /// The newest constitution that leads here from the pinned genesis.
    pub fn constitution(&self) -> Result<Constitution, Failure> {
        let pinned = self.cluster()?.cluster;
        let genesis = self.certificate(&self.path("genesis.cbor"))?;
        let (mut current, cluster) = verify_genesis(&genesis).map_err(Failure::from_error(
            "the genesis of this data folder does not verify",
        ))?;
        if cluster != pinned {
            return Err(
                Failure::new("the genesis of this data folder is not the pinned one")
                    .because(format!(
                        "`cluster.json` pins {pinned}, the genesis is {cluster}"
                    ))
                    .next("restore `genesis.cbor` from whoever made the cluster"),
            );
        }
        loop {
            let path = self.charter_path(current.number().0.saturating_add(1));
            if !path.is_file() {
                return Ok(current);
            }
            let next = self.certificate(&path)?;
            current = verify_successor(&current, &next, crate::clock::now()).map_err(
                Failure::from_error(format!("`{}` does not verify", path.display())),
            )?;
        }
    }

    /// The charters after the genesis that are kept here, oldest first.
    pub fn chain(&self) -> Result<Vec<Certificate<Charter>>, Failure> {
        let mut chain = Vec::new();
        for number in 1.. {
            let path = self.charter_path(number);
            if !path.is_file() {
                break;
            }
            chain.push(self.certificate(&path)?);
        }
        Ok(chain)
    }

    /// Keeps a charter that was verified.
    pub fn save_charter(&self, certificate: &Certificate<Charter>) -> Result<(), Failure> {
        create_private(&self.path("charters"))?;
        let path = self.charter_path(certificate.unverified().number.0);
        write_file(&path, &certificate.to_bytes(), 0o600)
    }

    fn charter_path(&self, number: u64) -> PathBuf {
        self.path(format!("charters/{number}.cbor"))
    }

    fn certificate(&self, path: &Path) -> Result<Certificate<Charter>, Failure> {
        let bytes = read(path)?;
        Certificate::from_bytes(&bytes).map_err(Failure::from_error(format!(
            "`{}` is not a charter",
            path.display()
        )))
    }

    /// The credential of a principal.
    pub fn principal(&self, id: &PrincipalId) -> Result<SigningIdentity, Failure> {
        let path = self.path(format!("principals/{id}.key"));
        load_identity(&path).map_err(|failure| {
            failure.next("name a principal whose key is in `principals/` with `--as`")
        })
    }

    /// The principals whose credentials are here, in order.
    pub fn principals(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("principals"));
        let names = entries.into_iter().flatten().filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".key").map(str::to_owned)
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

/// Makes a folder, and those above it, for its owner alone.
pub fn create_private(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Failure::from_error(format!(
            "cannot make the folder `{}`",
            path.display()
        )))
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(Failure::from_error(format!(
        "cannot read `{}`",
        path.display()
    )))
}

/// Replaces a file in one step, so that a crash leaves the old or the new one.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("cannot write `{}`", path.display())).because(error)
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{:08x}", OsRng.next_u32()));
    let temporary = PathBuf::from(temporary);
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(failed)
}

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    serde_json::from_slice(&read(path)?).map_err(Failure::from_error(format!(
        "`{}` is malformed",
        path.display()
    )))
}

/// Writes a JSON file for its owner alone.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Failure::from_error(format!(
        "cannot write `{}`",
        path.display()
    )))?;
    text.push(b'\n');
    write_file(path, &text, 0o600)
}

/// Draws a fresh credential and writes its seed, as hex, for its owner alone.
pub fn create_identity(path: &Path) -> Result<SigningIdentity, Failure> {
    if let Some(parent) = path.parent() {
        create_private(parent)?;
    }
    let identity = SigningIdentity::generate(&mut OsRng);
    let text = format!("{}\n", hex::encode(identity.to_seed().expose()));
    write_file(path, text.as_bytes(), 0o600)?;
    Ok(identity)
}

/// Reads a credential that [`create_identity`] wrote.
pub fn load_identity(path: &Path) -> Result<SigningIdentity, Failure> {
    let what = || format!("cannot use the key file `{}`", path.display());
    let metadata = fs::metadata(path).map_err(Failure::from_error(what()))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(Failure::new(what())
            .because("others than its owner may read it")
            .next(format!("chmod 600 {}", path.display())));
    }
    let text = fs::read_to_string(path).map_err(Failure::from_error(what()))?;
    let mut seed = [0u8; 32];
    hex::decode_to_slice(text.trim(), &mut seed)
        .map_err(|_| Failure::new(what()).because("it must hold 32 bytes in hex"))?;
    Ok(SigningIdentity::from_seed(&SecretBytes::take(&mut seed)))
}

/// A fresh request id.
pub fn random_request_id() -> RequestId {
    let mut bytes = [0u8; 16];
    OsRng.fill_bytes(&mut bytes);
    RequestId(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_reads_back_and_is_refused_when_others_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("principals/alice.key");
        let made = create_identity(&path).unwrap();
        assert_eq!(load_identity(&path).unwrap().public(), made.public());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_identity(&path).is_err());
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::at(root.path());
        let held = folder.lock().unwrap();
        assert!(folder.lock().is_err());
        drop(held);
        assert!(folder.lock().is_ok());
    }

    #[test]
    fn a_folder_without_a_cluster_says_what_to_run() {
        let root = tempfile::tempdir().unwrap();
        let failure = Folder::at(root.path()).cluster().unwrap_err();
        assert!(failure.to_string().contains("quoin dev"), "{failure}");
    }
}
