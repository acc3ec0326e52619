//! Facts: what feeds say of the world, and what a node believes of it.
//!
//! A statement is signed by a principal with the role `feed`. A node keeps the newest of each feed,
//! by its sequence number, and uses a value only inside its age and when enough operators agree;
//! among those that agree it takes the one that is worst for the spender. Losing sources tightens.
//! Source: the design, section 6, "facts".

use crate::constitution::Constitution;
use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::tags::{self, Tag};
use quoin_core::{
    Address, Amount, AssetId, BookName, ChainId, ClusterId, PrincipalId, Statement, TimeMs,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The role whose holders state facts.
pub const FEED_ROLE: &str = "feed";
/// The most facts of one statement.
pub const FACTS_MAX: usize = 64;

/// A feed's statement.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactStatement {
    /// The form's version.
    #[n(0)]
    #[serde(skip)]
    pub version: Version<1>,
    /// The cluster.
    #[n(1)]
    pub cluster: ClusterId,
    /// Who states it.
    #[n(2)]
    pub feed: PrincipalId,
    /// Counts the feed's statements; a higher one replaces all that the feed has said before.
    #[n(3)]
    pub seq: u64,
    /// When the feed observed it.
    #[n(4)]
    pub at: TimeMs,
    /// The facts, one of each kind at most.
    #[n(5)]
    pub facts: Vec<Fact>,
}

impl Statement for FactStatement {
    const TAG: Tag = tags::FACTS;
    const BYTES_MAX: usize = 16 * 1024;
}

/// What a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FactKind {
    /// The price of an asset in dollars.
    #[n(0)]
    Price(#[n(0)] AssetId),
    /// The state of an own margin account at a venue, by its name in the address book.
    #[n(1)]
    Margin(#[n(0)] BookName),
    /// The height of a chain.
    #[n(2)]
    Height(#[n(0)] ChainId),
    /// The next nonce of an account on a chain.
    #[n(3)]
    Nonce(#[n(0)] ChainId, #[n(1)] Address),
    /// The balance of an account in an asset.
    #[n(4)]
    Balance(#[n(0)] AssetId, #[n(1)] Address),
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fact {
    /// The price of an asset.
    #[n(0)]
    Price {
        /// The asset.
        #[n(0)]
        asset: AssetId,
        /// Millionths of a dollar for one whole unit.
        #[n(1)]
        usd_micro: u64,
    },
    /// The state of an own margin account.
    #[n(1)]
    Margin {
        /// The account's name in the address book.
        #[n(0)]
        account: BookName,
        /// Equity over maintenance margin, in hundredths of a percent: higher is safer.
        #[n(1)]
        ratio_bp: u32,
        /// The open exposure in millionths of a dollar.
        #[n(2)]
        exposure_usd_micro: u64,
    },
    /// The height of a chain.
    #[n(2)]
    Height {
        /// The chain.
        #[n(0)]
        chain: ChainId,
        /// The number of its newest block.
        #[n(1)]
        height: u64,
    },
    /// The next nonce of an account.
    #[n(3)]
    Nonce {
        /// The chain.
        #[n(0)]
        chain: ChainId,
        /// The account.
        #[n(1)]
        account: Address,
        /// The lowest nonce that no executed transaction has.
        #[n(2)]
        next: u64,
    },
    /// A balance.
    #[n(4)]
    Balance {
        /// The asset.
        #[n(0)]
        asset: AssetId,
        /// The account.
        #[n(1)]
        account: Address,
        /// In smallest units.
        #[n(2)]
        amount: Amount,
    },
}

impl Fact {
    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> FactKind {
        match self {
            Self::Price { asset, .. } => FactKind::Price(asset.clone()),
            Self::Margin { account, .. } => FactKind::Margin(account.clone()),
            Self::Height { chain, .. } => FactKind::Height(chain.clone()),
            Self::Nonce { chain, account, .. } => FactKind::Nonce(chain.clone(), account.clone()),
            Self::Balance { asset, account, .. } => {
                FactKind::Balance(asset.clone(), account.clone())
            }
        }
    }
}

/// When a charter's nodes believe a fact.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactRule {
    /// What it is about.
    #[n(0)]
    pub kind: FactKind,
    /// How many distinct operators of feeds have to agree.
    #[n(1)]
    pub quorum: u8,
    /// How old a statement may be.
    #[n(2)]
    pub age_ms_max: u64,
    /// How far the values of those that agree may be apart, in hundredths of a percent.
    #[n(3)]
    pub deviation_bp_max: u32,
}

/// A price that enough feeds agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceView {
    /// Millionths of a dollar for one whole unit: the highest of those that agree.
    pub usd_micro: u64,
    /// The age of the oldest of them.
    pub age_ms: u64,
    /// How many operators agree.
    pub sources: u8,
}

/// A margin state that enough feeds agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarginView {
    /// The lowest of those that agree.
    pub ratio_bp: u32,
    /// The highest of those that agree.
    pub exposure_usd_micro: u64,
    /// The age of the oldest of them.
    pub age_ms: u64,
    /// How many operators agree.
    pub sources: u8,
}

/// A chain's height or an account's next nonce that enough feeds agree on: the lowest of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountView {
    /// The number.
    pub number: u64,
    /// The age of the oldest statement.
    pub age_ms: u64,
    /// How many operators agree.
    pub sources: u8,
}

/// What is believed for one request; `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactView {
    /// The price of the asset that the action moves.
    pub price: Option<PriceView>,
    /// The state of the margin account that receives it.
    pub margin: Option<MarginView>,
    /// The height of the chain.
    pub height: Option<CountView>,
    /// What the action and its maximum fee may cost in millionths of a dollar, rounded up.
    pub value_usd_micro: Option<u64>,
}

/// The newest statement of each feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactStore {
    newest: BTreeMap<PrincipalId, FactStatement>,
}

impl FactStore {
    /// Takes a statement whose signature the caller has verified; whether it is newer than what the
    /// feed has said before.
    pub fn accept(&mut self, statement: FactStatement) -> bool {
        let known = self.newest.get(&statement.feed);
        if known.is_some_and(|known| known.seq >= statement.seq) {
            return false;
        }
        self.newest.insert(statement.feed.clone(), statement);
        true
    }

    /// The newest statements, one of each feed.
    pub fn newest(&self) -> impl Iterator<Item = &FactStatement> {
        self.newest.values()
    }

    /// The price of an asset, when it is believed at `now`.
    #[must_use]
    pub fn price(
        &self,
        constitution: &Constitution,
        asset: &AssetId,
        now: TimeMs,
    ) -> Option<PriceView> {
        let _ = (constitution, asset, now);
        None
    }
}
