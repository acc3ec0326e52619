//! Keys as this command line accepts them: with a certificate of all nodes, verified here.
//!
//! The gateway's word is worth nothing: it could show a key of its own as the cluster's.

use super::standing::{NodeStanding, agreed, state_line};
use crate::failure::Failure;
use quoin_chain::NamedAddress;
use quoin_core::stamp::Account;
use quoin_core::{
    Address, Certificate, ChainId, CustodyMethod, DerivationPath, KeyOrigin, KeyState, NodeIndex,
    Purpose, Scheme, TimeMs,
};
use quoin_policy::Constitution;
use quoin_protocol::combine::{ChildKey, KeyPublic, derive, verify_certificate};
use serde::Serialize;

/// A key whose certificate all nodes of the charter have signed.
#[derive(Clone, Debug)]
pub struct VerifiedKey {
    public: KeyPublic,
    addresses: Vec<NamedAddress>,
    signed_by: Vec<NodeIndex>,
    standing: Vec<NodeStanding>,
}

impl VerifiedKey {
    /// Verifies a certificate against the nodes of the charter that it names.
    pub fn from_certificate(
        bytes: &[u8],
        constitution: &Constitution,
        chain_id: u64,
    ) -> Result<Self, Failure> {
        let refused = Failure::new("a key was not accepted")
            .next("do not use it; ask the operators of the nodes what they certified");
        let certificate = match Certificate::<KeyPublic>::from_bytes(bytes) {
            Ok(certificate) => certificate,
            Err(error) => return Err(refused.because(error)),
        };
        let public = certificate.unverified().clone();
        if public.cluster != constitution.cluster() {
            return Err(refused.because("its certificate is for another cluster"));
        }
        // The nodes of the charter that the record names, which need not be the one in force.
        let Some(nodes) = constitution.roster(public.charter) else {
            let number = public.charter.0;
            return Err(refused.because(format!("charter {number} is not known here")));
        };
        if let Err(fault) = verify_certificate(&certificate, nodes) {
            return Err(refused.because(format!("key `{}`: {fault}", public.name)));
        }
        let addresses = addresses(&child_of(&public, &DerivationPath::ROOT)?, &[chain_id])?;
        Ok(Self {
            public,
            addresses,
            signed_by: nodes.keys().copied().collect(),
            standing: Vec::new(),
        })
    }

    /// Adds what the nodes state of the key, each statement verified.
    pub fn with_statements(
        mut self,
        statements: &[Vec<u8>],
        constitution: &Constitution,
    ) -> Result<Self, Failure> {
        let key = self.public.key;
        let read = statements.iter();
        let read = read.map(|bytes| NodeStanding::of_key(bytes, key, constitution));
        self.standing = read.collect::<Result<_, _>>()?;
        self.standing.sort_by_key(|s| s.node);
        Ok(self)
    }

    /// What the nodes state of the key.
    pub fn standing(&self) -> &[NodeStanding] {
        &self.standing
    }

    /// The public record.
    pub const fn public(&self) -> &KeyPublic {
        &self.public
    }

    /// How the key signs. A record whose threshold is one is of a key that every node holds whole.
    pub const fn custody(&self) -> CustodyMethod {
        if self.public.threshold == 1 {
            CustodyMethod::Local
        } else {
            CustodyMethod::Mpc
        }
    }

    /// The account of the key on a chain.
    pub fn account(&self, chain: ChainId) -> Result<Account, Failure> {
        self.account_at(chain, &DerivationPath::ROOT)
    }

    /// The account of the key's child at `path` on a chain.
    pub fn account_at(&self, chain: ChainId, path: &DerivationPath) -> Result<Account, Failure> {
        // EVM addresses are the same on every EVM chain, and no other scheme asks for one.
        let addresses = addresses(&self.child(path)?, &[1])?;
        let text = addresses.first().map(|a| a.address.as_str());
        let address: Address = text
            .unwrap_or_default()
            .parse()
            .map_err(Failure::from_error(format!(
                "key `{}` has no address",
                self.public.name
            )))?;
        Ok(Account {
            chain,
            address,
            path: path.clone(),
        })
    }

    /// The child at `path`, derived here from the certified record.
    pub fn child(&self, path: &DerivationPath) -> Result<ChildKey, Failure> {
        child_of(&self.public, path)
    }

    /// The key as JSON shows it.
    pub fn view(&self) -> KeyView {
        KeyView {
            name: self.public.name.to_string(),
            key: self.public.key.to_string(),
            scheme: self.public.scheme,
            purpose: self.public.purpose,
            public_key: hex::encode(&self.public.public_key),
            addresses: self.addresses.clone(),
            threshold: self.public.threshold,
            holders: self.public.public_shares.iter().map(|s| s.node).collect(),
            epoch: self.public.epoch.0,
            origin: self.public.origin,
            state: agreed(&self.standing).0,
            created: self.standing.iter().map(|s| s.created).min(),
            standing: self.standing.clone(),
            certified_by: self.signed_by.clone(),
        }
    }
}

/// A key as JSON shows it.
#[derive(Clone, Debug, Serialize)]
pub struct KeyView {
    /// Its name.
    pub name: String,
    /// Its id.
    pub key: String,
    /// Its scheme.
    pub scheme: Scheme,
    /// What it is for.
    pub purpose: Purpose,
    /// The public key in hex.
    pub public_key: String,
    /// Its addresses.
    pub addresses: Vec<NamedAddress>,
    /// How many nodes sign.
    pub threshold: u8,
    /// The nodes that hold its shares.
    pub holders: Vec<NodeIndex>,
    /// The epoch of its shares.
    pub epoch: u32,
    /// Where it comes from, for ever.
    pub origin: KeyOrigin,
    /// Its state, by what most of its nodes state.
    pub state: KeyState,
    /// When it came into use, in milliseconds since 1970; none while no node has said so.
    pub created: Option<TimeMs>,
    /// What each node states.
    pub standing: Vec<NodeStanding>,
    /// The nodes that signed its certificate: all of them.
    pub certified_by: Vec<NodeIndex>,
}

impl KeyView {
    /// One line for people.
    pub fn line(&self) -> String {
        let scheme = scheme_name(self.scheme);
        let addresses: Vec<String> = self
            .addresses
            .iter()
            .map(|a| format!("{} {}", a.chain, a.address))
            .collect();
        let nodes: Vec<String> = self.certified_by.iter().map(ToString::to_string).collect();
        format!(
            "{:<14} {scheme:<8} {:<9} {:<11} epoch {:<4} {} of {}  {}  (certified by nodes {})",
            self.name,
            purpose_name(self.purpose),
            state_line(&self.standing),
            self.epoch,
            self.threshold,
            self.holders.len(),
            addresses.join(", "),
            nodes.join(", ")
        )
    }
}

/// The scheme's name in arguments and results.
pub const fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Ecdsa => "ecdsa",
        Scheme::Taproot => "taproot",
        Scheme::Ed25519 => "ed25519",
        Scheme::Model => "model",
    }
}

/// The purpose's name in arguments and results.
pub const fn purpose_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Treasury => "treasury",
        Purpose::Trading => "trading",
        Purpose::Agent => "agent",
        Purpose::Digest => "digest",
    }
}

fn child_of(public: &KeyPublic, path: &DerivationPath) -> Result<ChildKey, Failure> {
    derive(public, path).map_err(Failure::from_error(format!(
        "key `{}` has no child at `{path}`",
        public.name
    )))
}

/// The addresses of a derived key, or of a key itself at the root of its paths.
pub fn addresses(child: &ChildKey, evm_chains: &[u64]) -> Result<Vec<NamedAddress>, Failure> {
    let shown = child
        .shown_key()
        .map_err(Failure::from_error("the key has no address"))?;
    quoin_chain::addresses(child.scheme, &shown, evm_chains)
        .map_err(Failure::from_error("the key has no address"))
}
