//! Keys as this command line accepts them: with a certificate of all nodes, verified here.
//!
//! The gateway's word is worth nothing: it could show a key of its own as the cluster's.

use crate::failure::Failure;
use quoin_chain::NamedAddress;
use quoin_chain::address::taproot_output_key;
use quoin_core::stamp::Account;
use quoin_core::{Address, Certificate, ChainId, CustodyMethod, NodeIndex, Purpose, Scheme};
use quoin_policy::Constitution;
use quoin_protocol::combine::{KeyPublic, verify_certificate};
use serde::Serialize;
use std::collections::BTreeMap;

/// A key whose certificate all nodes of the charter have signed.
#[derive(Clone, Debug)]
pub struct VerifiedKey {
    public: KeyPublic,
    addresses: Vec<NamedAddress>,
    signed_by: Vec<NodeIndex>,
}

impl VerifiedKey {
    /// Verifies a certificate against the nodes of the constitution.
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
        let charter = constitution.charter();
        let nodes: BTreeMap<_, _> = charter
            .nodes
            .iter()
            .map(|n| (n.index, n.credential.clone()))
            .collect();
        if let Err(fault) = verify_certificate(&certificate, &nodes) {
            return Err(refused.because(format!("key `{}`: {fault}", public.name)));
        }
        let addresses = addresses(&public, chain_id).map_err(Failure::from_error(format!(
            "key `{}` has no address",
            public.name
        )))?;
        Ok(Self {
            public,
            addresses,
            signed_by: nodes.into_keys().collect(),
        })
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
        let text = self
            .addresses
            .first()
            .map(|a| a.address.as_str())
            .unwrap_or_default();
        let address: Address = text.parse().map_err(Failure::from_error(format!(
            "key `{}` has no address",
            self.public.name
        )))?;
        Ok(Account { chain, address })
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
            "{:<14} {scheme:<8} {:<9} {}  (certified by nodes {})",
            self.name,
            purpose_name(self.purpose),
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

fn addresses(
    public: &KeyPublic,
    chain_id: u64,
) -> Result<Vec<NamedAddress>, quoin_chain::AddressError> {
    match (public.scheme, public.public_key.as_slice()) {
        // The account of a Taproot key is its output key, whose x the certificate's key leads to.
        (Scheme::Taproot, [2 | 3, x @ ..]) => {
            let x: &[u8; 32] = x
                .try_into()
                .map_err(|_| quoin_chain::AddressError::KeyLength(public.public_key.len()))?;
            quoin_chain::addresses(Scheme::Taproot, &taproot_output_key(x)?, &[chain_id])
        }
        (scheme, key) => quoin_chain::addresses(scheme, key, &[chain_id]),
    }
}
