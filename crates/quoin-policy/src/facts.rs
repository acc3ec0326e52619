//! Facts: what feeds say of the world, and what a node believes of it.
//!
//! A statement is signed by a principal with the role `feed`. A node keeps the newest of each feed,
//! by its sequence number, and uses a value only inside its age and when enough operators agree;
//! of those that agree it takes the one that is worst for the spender. Source: the design, section
//! 6, "facts".
//!
//! What agrees, exactly: a value `v` has the *backing* of every operator that states a value between
//! `v` and the deviation away from it, on the side that is better for the spender. Believed is the
//! value with the backing of a quorum that is best for the spender: of prices the lowest whose
//! quorum states nothing higher. Two things follow. With fewer lying operators than the quorum, an
//! honest one is among those who back the value, and the value is as bad for the spender as what
//! that one states, or worse. And a statement more adds backing and takes none away, so a statement
//! less, which any gateway can bring about, makes the value worse or unknown: losing sources
//! tightens. To take the worst of all statements would be no safer, because whoever withholds the
//! worst one gets the better value all the same, and it would let each feed stop everything.

use crate::charter::BookKind;
use crate::constitution::Constitution;
use minicbor::{Decode, Encode};
use quoin_core::cbor::Version;
use quoin_core::intent::AssetAmount;
use quoin_core::tags::{self, Tag};
use quoin_core::{
    Address, Amount, AssetId, BookName, ChainId, ClusterId, Intent, PrincipalId, Statement, TimeMs,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The role whose holders state facts.
pub const FEED_ROLE: &str = "feed";
/// The most facts of one statement.
pub const FACTS_MAX: usize = 64;
/// How far ahead of this node's time a statement may claim to be: as much as two clocks of good
/// nodes may differ.
pub const AHEAD_MS_MAX: u64 = 2_000;
/// How far a feed's number may jump above its last one and above the time in milliseconds, which some
/// feeds use: a number at the end of all numbers would silence the feed for ever.
const SEQ_JUMP_MAX: u64 = 1 << 32;

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

/// What an account holds of an asset, of which enough feeds agree: the highest of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceView {
    /// In smallest units.
    pub amount: Amount,
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

/// Why a statement of facts is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactFault {
    /// It is for another cluster.
    #[error("`cluster`: the statement is for another cluster")]
    WrongCluster,
    /// The charter does not know the feed.
    #[error("`feed`: the charter does not know `{0}`")]
    UnknownFeed(PrincipalId),
    /// The principal is no feed.
    #[error("`feed`: `{0}` does not hold the role `feed`")]
    NoFeed(PrincipalId),
    /// The feed's grant has ended.
    #[error("`feed`: the grant of `{0}` has ended")]
    Expired(PrincipalId),
    /// The feed has said something later already.
    #[error("`seq`: number {found} of the feed follows number {known}, and the higher one holds")]
    NotNewer {
        /// The number of what is known.
        known: u64,
        /// The number of the statement.
        found: u64,
    },
    /// Its number would leave the feed none to speak with again.
    #[error(
        "`seq`: {found} is more than 2^32 above both this node's time and what the feed said last; \
         count up, or use the time in milliseconds"
    )]
    SeqJump {
        /// The number of the statement.
        found: u64,
    },
    /// It claims to be from the future.
    #[error("`at`: {ahead_ms} ms ahead of this node, which is over the limit of {AHEAD_MS_MAX}")]
    Ahead {
        /// How far ahead.
        ahead_ms: u64,
    },
    /// There are too many facts.
    #[error("`facts`: {0} facts, which is over the limit of {FACTS_MAX}")]
    TooMany(usize),
    /// Two facts are about the same.
    #[error("`facts`: two are about the same thing")]
    Twice,
}

/// The newest statement of each feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactStore {
    newest: BTreeMap<PrincipalId, FactStatement>,
}

/// Which of two values is worse for the spender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worse {
    Higher,
    Lower,
}

/// One statement of a value.
struct Claim<'a> {
    operator: &'a str,
    value: Amount,
    age_ms: u64,
}

/// What a quorum backs.
struct Belief {
    value: Amount,
    age_ms: u64,
    sources: u8,
}

impl FactStore {
    /// Takes a statement whose signature the caller has verified, for the statement's feed.
    ///
    /// # Errors
    /// When it is for another cluster, not of a feed in good standing, not newer than what the feed
    /// has said, from the future, or malformed.
    pub fn accept(
        &mut self,
        constitution: &Constitution,
        statement: FactStatement,
        now: TimeMs,
    ) -> Result<(), FactFault> {
        if statement.cluster != constitution.cluster() {
            return Err(FactFault::WrongCluster);
        }
        let feed = constitution.principal(&statement.feed);
        let feed = feed.ok_or_else(|| FactFault::UnknownFeed(statement.feed.clone()))?;
        if !feed.holds(FEED_ROLE) {
            return Err(FactFault::NoFeed(statement.feed));
        }
        if feed.is_expired(now) {
            return Err(FactFault::Expired(statement.feed));
        }
        if statement.facts.len() > FACTS_MAX {
            return Err(FactFault::TooMany(statement.facts.len()));
        }
        let ahead_ms = statement.at.since(now);
        if ahead_ms > AHEAD_MS_MAX {
            return Err(FactFault::Ahead { ahead_ms });
        }
        let kinds: BTreeSet<FactKind> = statement.facts.iter().map(Fact::kind).collect();
        if kinds.len() < statement.facts.len() {
            return Err(FactFault::Twice);
        }
        let (found, known) = (statement.seq, self.newest.get(&statement.feed));
        let before = known.map_or(0, |known| known.seq).max(now.0);
        if found.saturating_sub(before) > SEQ_JUMP_MAX {
            return Err(FactFault::SeqJump { found });
        }
        match known.map(|known| known.seq).filter(|known| *known >= found) {
            Some(known) => Err(FactFault::NotNewer { known, found }),
            None => {
                self.restore(statement);
                Ok(())
            }
        }
    }

    /// Puts back what this node's own journal holds; of one feed the highest number stays.
    pub fn restore(&mut self, statement: FactStatement) {
        let known = self.newest.get(&statement.feed);
        if known.is_none_or(|known| known.seq < statement.seq) {
            self.newest.insert(statement.feed.clone(), statement);
        }
    }

    /// The newest statements, one of each feed.
    pub fn newest(&self) -> impl Iterator<Item = &FactStatement> {
        self.newest.values()
    }

    /// The price of an asset, when it is believed at `now`: the worst is the highest. A price of
    /// nothing is too small to be stated, and no price.
    #[must_use]
    pub fn price(
        &self,
        constitution: &Constitution,
        asset: &AssetId,
        now: TimeMs,
    ) -> Option<PriceView> {
        let kind = FactKind::Price(asset.clone());
        let found = self.believed(constitution, &kind, now, Worse::Higher, |fact| match fact {
            Fact::Price { usd_micro, .. } if *usd_micro > 0 => Some(Amount::from(*usd_micro)),
            _ => None,
        })?;
        Some(PriceView {
            usd_micro: to_u64(found.value)?,
            age_ms: found.age_ms,
            sources: found.sources,
        })
    }

    /// The state of an own margin account, when both its ratio and its exposure are believed: the
    /// worst are the lowest ratio and the highest exposure.
    #[must_use]
    pub fn margin(
        &self,
        constitution: &Constitution,
        account: &BookName,
        now: TimeMs,
    ) -> Option<MarginView> {
        let kind = FactKind::Margin(account.clone());
        let ratio = self.believed(constitution, &kind, now, Worse::Lower, |fact| match fact {
            Fact::Margin { ratio_bp, .. } => Some(Amount::from(u64::from(*ratio_bp))),
            _ => None,
        })?;
        let exposure =
            self.believed(constitution, &kind, now, Worse::Higher, |fact| match fact {
                Fact::Margin {
                    exposure_usd_micro, ..
                } => Some(Amount::from(*exposure_usd_micro)),
                _ => None,
            })?;
        Some(MarginView {
            ratio_bp: u32::try_from(to_u64(ratio.value)?).ok()?,
            exposure_usd_micro: to_u64(exposure.value)?,
            age_ms: ratio.age_ms.max(exposure.age_ms),
            sources: ratio.sources.min(exposure.sources),
        })
    }

    /// The height of a chain, when it is believed: the worst is the lowest.
    #[must_use]
    pub fn height(
        &self,
        constitution: &Constitution,
        chain: &ChainId,
        now: TimeMs,
    ) -> Option<CountView> {
        self.count(constitution, &FactKind::Height(chain.clone()), now)
    }

    /// The lowest nonce of an account that may still execute, when it is believed: the worst is the
    /// lowest.
    #[must_use]
    pub fn nonce(
        &self,
        constitution: &Constitution,
        chain: &ChainId,
        account: &Address,
        now: TimeMs,
    ) -> Option<CountView> {
        let kind = FactKind::Nonce(chain.clone(), account.clone());
        self.count(constitution, &kind, now)
    }

    fn count(
        &self,
        constitution: &Constitution,
        kind: &FactKind,
        now: TimeMs,
    ) -> Option<CountView> {
        let found = self.believed(constitution, kind, now, Worse::Lower, |fact| match fact {
            Fact::Height { height, .. } => Some(Amount::from(*height)),
            Fact::Nonce { next, .. } => Some(Amount::from(*next)),
            _ => None,
        })?;
        Some(CountView {
            number: to_u64(found.value)?,
            age_ms: found.age_ms,
            sources: found.sources,
        })
    }

    /// What an account holds of an asset, when it is believed: the highest, as for an alarm that an
    /// account holds anything at all.
    #[must_use]
    pub fn balance(
        &self,
        constitution: &Constitution,
        asset: &AssetId,
        account: &Address,
        now: TimeMs,
    ) -> Option<BalanceView> {
        let kind = FactKind::Balance(asset.clone(), account.clone());
        let found = self.believed(constitution, &kind, now, Worse::Higher, |fact| match fact {
            Fact::Balance { amount, .. } => Some(*amount),
            _ => None,
        })?;
        Some(BalanceView {
            amount: found.value,
            age_ms: found.age_ms,
            sources: found.sources,
        })
    }

    /// What an amount is worth in millionths of a dollar, rounded up; `None` when no price is
    /// believed, or over 256 bits. Nothing is worth nothing at any price.
    #[must_use]
    pub fn usd_micro(
        &self,
        constitution: &Constitution,
        value: &AssetAmount,
        now: TimeMs,
    ) -> Option<Amount> {
        if value.amount.is_zero() {
            return Some(Amount::ZERO);
        }
        let decimals = constitution.asset(&value.asset)?.decimals;
        let price = self.price(constitution, &value.asset, now)?;
        let scaled = value.amount.checked_mul(Amount::from(price.usd_micro))?;
        // Rounding up twice equals rounding up once by the product, and each power fits 64 bits.
        let first = decimals.min(18);
        let scaled = div_up(scaled, 10u64.checked_pow(u32::from(first))?)?;
        div_up(scaled, 10u64.checked_pow(u32::from(decimals - first))?)
    }

    /// What is believed for a request.
    #[must_use]
    pub fn view(&self, constitution: &Constitution, intent: &Intent, now: TimeMs) -> FactView {
        let (value, to) = (intent.action.value(), intent.action.counterparty());
        let entry = to.and_then(|to| constitution.book_entry(&intent.chain, to));
        let margin = entry.filter(|entry| entry.kind == BookKind::Margin);
        let mut parts = value.into_iter().chain(&intent.fee_max);
        let usd = parts.try_fold(Amount::ZERO, |sum, part| {
            sum.checked_add(self.usd_micro(constitution, part, now)?)
        });
        FactView {
            price: value.and_then(|v| self.price(constitution, &v.asset, now)),
            margin: margin.and_then(|entry| self.margin(constitution, &entry.name, now)),
            height: self.height(constitution, &intent.chain, now),
            value_usd_micro: usd.and_then(to_u64),
        }
    }

    /// The value that a quorum backs, the best of them for the spender.
    fn believed(
        &self,
        constitution: &Constitution,
        kind: &FactKind,
        now: TimeMs,
        worse: Worse,
        read: impl Fn(&Fact) -> Option<Amount>,
    ) -> Option<Belief> {
        let mut rules = constitution.charter().facts.iter();
        let rule = rules.find(|rule| rule.kind == *kind)?;
        let claims: Vec<Claim<'_>> = self
            .newest
            .values()
            .filter_map(|statement| claim(constitution, rule, statement, now, &read))
            .collect();
        let backed = claims
            .iter()
            .filter_map(|claim| backing(&claims, claim.value, rule, worse));
        match worse {
            Worse::Higher => backed.min_by_key(|belief| belief.value),
            Worse::Lower => backed.max_by_key(|belief| belief.value),
        }
    }
}

/// What a feed in good standing states of a kind, inside its age.
fn claim<'a>(
    constitution: &'a Constitution,
    rule: &FactRule,
    statement: &'a FactStatement,
    now: TimeMs,
    read: &impl Fn(&Fact) -> Option<Amount>,
) -> Option<Claim<'a>> {
    let feed = constitution.principal(&statement.feed)?;
    let age_ms = now.since(statement.at);
    if !feed.holds(FEED_ROLE) || feed.is_expired(now) || age_ms > rule.age_ms_max {
        return None;
    }
    let mut facts = statement.facts.iter();
    let fact = facts.find(|fact| fact.kind() == rule.kind)?;
    Some(Claim {
        operator: constitution.operator_of(&feed.id),
        value: read(fact)?,
        age_ms,
    })
}

/// What backs a value: the operators that state it, or one better for the spender by no more than
/// the deviation. An operator counts once, however many feeds it has.
fn backing(claims: &[Claim<'_>], value: Amount, rule: &FactRule, worse: Worse) -> Option<Belief> {
    let mut ages: BTreeMap<&str, u64> = BTreeMap::new();
    for claim in claims {
        let (low, high) = match worse {
            Worse::Higher => (claim.value, value),
            Worse::Lower => (value, claim.value),
        };
        if within(low, high, rule.deviation_bp_max) {
            let age = ages.entry(claim.operator).or_insert(claim.age_ms);
            *age = (*age).min(claim.age_ms);
        }
    }
    let quorum = usize::from(rule.quorum.max(1));
    let mut freshest: Vec<u64> = ages.values().copied().collect();
    freshest.sort_unstable();
    // The quorum is as old as the oldest of its freshest members: an older one more does not age it.
    let age_ms = *freshest.get(quorum - 1)?;
    Some(Belief {
        value,
        age_ms,
        sources: u8::try_from(ages.len()).unwrap_or(u8::MAX),
    })
}

/// Whether `high` is not below `low`, and above it by no more than so many hundredths of a percent.
fn within(low: Amount, high: Amount, deviation_bp_max: u32) -> bool {
    let allowed = low.checked_mul(Amount::from(u64::from(deviation_bp_max)));
    let apart = high.checked_sub(low);
    let apart = apart.and_then(|apart| apart.checked_mul(Amount::from(10_000u64)));
    // What does not fit 256 bits agrees with nothing.
    apart
        .zip(allowed)
        .is_some_and(|(apart, allowed)| apart <= allowed)
}

fn div_up(amount: Amount, divisor: u64) -> Option<Amount> {
    let quotient = amount.checked_div(divisor)?;
    if quotient.checked_mul(Amount::from(divisor))? == amount {
        Some(quotient)
    } else {
        quotient.checked_add(Amount::from(1u64))
    }
}

fn to_u64(amount: Amount) -> Option<u64> {
    u64::try_from(amount.to_i64()?).ok()
}
