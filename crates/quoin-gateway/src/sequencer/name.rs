//! What a sequence is called, and which rule it follows.

use super::SequenceError;
use super::contiguous::Contiguous;
use super::increasing::{Bounds, Increasing};
use super::rule::Rule;
use quoin_core::{Address, ChainId};
use serde::{Deserialize, Serialize};

/// The venues whose numbers increase with the clock, and what each accepts.
///
/// Hyperliquid takes a nonce from two days before its clock to one day after it; an hour is left
/// for clocks that differ.
pub const VENUES: &[(&str, Bounds)] = &[(
    "hyperliquid",
    Bounds {
        ahead_max_ms: 23 * 60 * 60 * 1000,
    },
)];

/// A sequence: an account on a chain, or an agent's key at a venue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SequenceId {
    /// The nonces of an EVM account.
    Evm {
        /// The chain, by its EIP-155 id.
        chain_id: u64,
        /// The account.
        address: Address,
    },
    /// The nonces of an agent's key at a venue.
    Venue {
        /// The venue's place in [`VENUES`].
        venue: usize,
        /// The key's address.
        key: Address,
    },
}

impl SequenceId {
    /// The sequence of an account; `None` on chains that have none.
    #[must_use]
    pub fn of_account(chain: &ChainId, address: &Address) -> Option<Self> {
        match chain {
            ChainId::Evm(chain_id) => Some(Self::Evm {
                chain_id: *chain_id,
                address: address.clone(),
            }),
            _ => None,
        }
    }

    /// The rule that a new sequence of this name follows.
    pub(super) fn rule(&self) -> Box<dyn Rule> {
        match self {
            Self::Evm { .. } => Box::new(Contiguous::default()),
            Self::Venue { venue, .. } => {
                let bounds = VENUES.get(*venue).map(|(_, bounds)| *bounds);
                Box::new(Increasing::within(bounds.unwrap_or_default()))
            }
        }
    }
}

/// The venues' names, for people.
pub(super) fn venues() -> String {
    let names: Vec<&str> = VENUES.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

impl std::fmt::Display for SequenceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Evm { chain_id, address } => write!(f, "eip155:{chain_id}:{address}"),
            Self::Venue { venue, key } => {
                let name = VENUES.get(*venue).map_or("", |(name, _)| *name);
                write!(f, "{name}:{key}")
            }
        }
    }
}

impl std::str::FromStr for SequenceId {
    type Err = SequenceError;

    fn from_str(text: &str) -> Result<Self, SequenceError> {
        let unknown = || SequenceError::UnknownSequence;
        let (place, address) = text.rsplit_once(':').ok_or_else(unknown)?;
        let address: Address = address.parse().map_err(|_| unknown())?;
        // Both kinds are named by EVM addresses, and one account has one spelling.
        if address.to_evm().is_none() || !text.ends_with(address.as_str()) {
            return Err(unknown());
        }
        if let Some(venue) = VENUES.iter().position(|(name, _)| *name == place) {
            return Ok(Self::Venue {
                venue,
                key: address,
            });
        }
        let chain: ChainId = place.parse().map_err(|_| unknown())?;
        Self::of_account(&chain, &address).ok_or_else(unknown)
    }
}

impl Serialize for SequenceId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SequenceId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling_and_a_known_venue() {
        let address = format!("0x{}", "ab".repeat(20));
        for good in [
            format!("eip155:1:{address}"),
            format!("hyperliquid:{address}"),
        ] {
            assert_eq!(good.parse::<SequenceId>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "x",
            &address,
            &format!("eip155:01:{address}"),
            &format!("eip155:1:{}", address.to_uppercase().replace("0X", "0x")),
            &format!("quoin:{address}"),
            &format!("kraken:{address}"),
            &format!("hyperliquid:{address}0"),
            "hyperliquid:0x",
            &format!(":{address}"),
        ] {
            let refused = bad.parse::<SequenceId>();
            assert_eq!(refused, Err(SequenceError::UnknownSequence), "{bad}");
        }
    }
}
