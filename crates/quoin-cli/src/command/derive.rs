//! `quoin key derive`: a derived account of a key, computed here from its certified record.
//!
//! Nothing secret is needed and no node is asked for more than the key's certificate: the child
//! follows from the public key and the chain code that all nodes signed. The nodes sign for such an
//! account when a stamp names its path and the charter's rules permit its address.

use crate::cli::KeyDeriveArgs;
use crate::client::Session;
use crate::client::keys::{VerifiedKey, addresses, scheme_name};
use crate::failure::Failure;
use crate::say;
use quoin_chain::NamedAddress;
use quoin_core::{DerivationPath, NodeIndex, Scheme};
use serde::Serialize;

/// Runs the command.
pub async fn run(args: KeyDeriveArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let key = session.key(args.name.as_str()).await?;
    let chains = if args.chains.is_empty() {
        vec![session.file().chain_id]
    } else {
        args.chains
    };
    let view = AccountView::of(&key, args.path, &chains)?;
    if args.json {
        return say::json(&view);
    }
    for line in view.lines() {
        say::line(line);
    }
    Ok(())
}

/// A derived account as JSON shows it.
#[derive(Clone, Debug, Serialize)]
struct AccountView {
    /// The key's name.
    name: String,
    /// The key's id.
    key: String,
    /// Its scheme.
    scheme: Scheme,
    /// The account's path below the key.
    path: DerivationPath,
    /// The child's public key in hex; for Taproot the internal key.
    public_key: String,
    /// The x-only key that the address encodes, for Taproot.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_key: Option<String>,
    /// The key as BIP-32 writes it for wallets, of which the account is a child.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_xpub: Option<String>,
    /// The account as BIP-32 writes it for wallets.
    #[serde(skip_serializing_if = "Option::is_none")]
    xpub: Option<String>,
    /// Its addresses.
    addresses: Vec<NamedAddress>,
    /// The nodes that signed the key's certificate: all of them.
    certified_by: Vec<NodeIndex>,
}

impl AccountView {
    fn of(key: &VerifiedKey, path: DerivationPath, chains: &[u64]) -> Result<Self, Failure> {
        let public = key.public();
        let child = key.child(&path)?;
        let output_key = (public.scheme == Scheme::Taproot).then(|| child.shown_key());
        let output_key = output_key
            .transpose()
            .map_err(Failure::from_error("the child has no output key"))?;
        Ok(Self {
            name: public.name.to_string(),
            key: public.key.to_string(),
            scheme: public.scheme,
            public_key: hex::encode(&child.public_key),
            output_key: output_key.map(hex::encode),
            key_xpub: key.child(&DerivationPath::ROOT)?.xpub(),
            xpub: child.xpub(),
            addresses: addresses(&child, chains)?,
            certified_by: key.view().certified_by,
            path,
        })
    }

    fn lines(&self) -> Vec<String> {
        let scheme = scheme_name(self.scheme);
        let mut lines = vec![format!("{} {}  {scheme}", self.name, self.path)];
        let rows = self.addresses.iter();
        lines.extend(rows.map(|a| format!("  address    {} {}", a.chain, a.address)));
        lines.push(format!("  public key {}", self.public_key));
        let rest = [("output key", &self.output_key), ("xpub      ", &self.xpub)];
        let rest = rest
            .into_iter()
            .filter_map(|(what, text)| Some((what, text.as_ref()?)));
        lines.extend(rest.map(|(what, text)| format!("  {what} {text}")));
        let nodes: Vec<_> = self.certified_by.iter().map(ToString::to_string).collect();
        lines.push(format!("  certified by nodes {}", nodes.join(", ")));
        lines
    }
}
