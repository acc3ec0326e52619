//! Obligations: what a permit demands first. Several matching permits: the union, strictest of
//! each kind.

use quoin_core::{PrincipalId, RoleId, TimeMs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The longest delay that an annotation may ask for: 31 days.
const DELAY_MS_MAX: u64 = 31 * 24 * 60 * 60 * 1000;

/// `@approvals("2 of treasury")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalsObligation {
    /// How many distinct holders of the role must approve.
    pub count: u8,
    /// The role.
    pub role: RoleId,
}

impl ApprovalsObligation {
    /// Reads `<1 to 99> of <role>`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (count, role) = text.split_once(" of ")?;
        let count = u8::try_from(number(count, 99)?).ok()?;
        let role = role.parse().ok()?;
        Some(Self { count, role })
    }
}

/// Reads `<number><s|m|h|d>`, up to 31 days, as milliseconds; `None` for anything else.
pub(crate) fn parse_delay(text: &str) -> Option<u64> {
    let unit_ms = match text.as_bytes().last()? {
        b's' => 1_000,
        b'm' => 60_000,
        b'h' => 3_600_000,
        b'd' => 86_400_000,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1)?;
    let ms = number(digits, DELAY_MS_MAX)?.checked_mul(unit_ms)?;
    (ms <= DELAY_MS_MAX).then_some(ms)
}

/// A number from 1 to `max` in its one spelling: no sign, no leading zero.
fn number(text: &str, max: u64) -> Option<u64> {
    let value: u64 = text.parse().ok()?;
    ((1..=max).contains(&value) && value.to_string() == text).then_some(value)
}

/// The obligations of one policy, or the union of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Obligations {
    /// How many approvals of which role.
    pub approvals: BTreeMap<RoleId, u8>,
    /// How long to wait from this node's first sight, in milliseconds.
    pub delay_ms: u64,
    /// The roles of which a holder must have seen the request before the delay begins.
    pub notice: BTreeSet<RoleId>,
    /// Whether whoever asks counts among those who approve. Only true with `approvals`.
    pub initiator_counts: bool,
}

impl Obligations {
    /// Takes the stricter of each kind.
    pub(crate) fn merge(&mut self, other: &Self) {
        // A permit without approvals says nothing about who may give them.
        self.initiator_counts = match (self.approvals.is_empty(), other.approvals.is_empty()) {
            (true, _) => other.initiator_counts,
            (false, true) => self.initiator_counts,
            (false, false) => self.initiator_counts && other.initiator_counts,
        };
        for (role, count) in &other.approvals {
            let mine = self.approvals.entry(role.clone()).or_insert(0);
            *mine = (*mine).max(*count);
        }
        self.delay_ms = self.delay_ms.max(other.delay_ms);
        self.notice.extend(other.notice.iter().cloned());
    }

    /// What is demanded, in words.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let approvals = self.approvals.iter();
        let approvals = approvals.map(|(role, count)| format!("{count} approvals of `{role}`"));
        let mut all: Vec<String> = approvals.collect();
        if self.initiator_counts {
            all.push("whoever asks counts as approver".to_owned());
        }
        if self.delay_ms > 0 {
            all.push(format!("a delay of {} s", self.delay_ms / 1000));
        }
        let notice = self.notice.iter();
        all.extend(notice.map(|role| format!("a receipt of `{role}` before the delay begins")));
        all
    }

    /// Whether whoever asks could meet every demand for approvals alone.
    pub(crate) fn met_by_initiator(&self) -> bool {
        let alone = |count: &u8| self.initiator_counts && *count < 2;
        self.approvals.values().all(alone)
    }

    /// Whether nothing is demanded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.approvals.is_empty() && self.delay_ms == 0
    }
}

/// An obligation that is not met yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Unmet {
    /// Approvals are missing.
    Approvals {
        /// The role whose holders must approve.
        role: RoleId,
        /// How many approvals are needed.
        needed: u8,
        /// Who has approved.
        given: Vec<PrincipalId>,
    },
    /// Nobody of a role is known to have seen the notice, so the delay has not begun.
    Notice {
        /// The role.
        role: RoleId,
    },
    /// Time has to pass.
    Delay {
        /// From when on the request may be signed.
        until: TimeMs,
    },
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Approvals {
                role,
                needed,
                given,
            } => {
                write!(f, "{needed} approvals of `{role}`")?;
                let names: Vec<&str> = given.iter().map(PrincipalId::as_str).collect();
                if names.is_empty() {
                    f.write_str(", none given yet")
                } else {
                    write!(f, ", given by {}", names.join(", "))
                }
            }
            Self::Notice { role } => write!(f, "a receipt of `{role}`, from which a delay counts"),
            Self::Delay { until } => write!(f, "a delay until {} ms after 1970", until.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvals_read_one_spelling_only() {
        let read = ApprovalsObligation::parse("2 of treasury").unwrap();
        assert_eq!((read.count, read.role.as_str()), (2, "treasury"));
        for bad in [
            "",
            "2",
            "of treasury",
            "0 of treasury",
            "02 of treasury",
            "+2 of treasury",
            "2 of Treasury",
            "2  of treasury",
            "2 of ",
            "100 of treasury",
            "two of treasury",
            "2 of treasury ",
        ] {
            assert!(ApprovalsObligation::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn delays_read_one_spelling_only() {
        assert_eq!(parse_delay("24h"), Some(86_400_000));
        assert_eq!(parse_delay("90s"), Some(90_000));
        assert_eq!(parse_delay("31d"), Some(DELAY_MS_MAX));
        for bad in [
            "", "h", "0h", "01h", "-1h", "1.5h", "24", "24 h", "24H", "32d", "1w", "é",
        ] {
            assert!(parse_delay(bad).is_none(), "{bad}");
        }
        assert!(parse_delay("99999999999999999999d").is_none());
    }

    #[test]
    fn the_union_is_the_strictest_of_each_kind() {
        let one = Obligations {
            approvals: BTreeMap::from([("a".parse().unwrap(), 2), ("b".parse().unwrap(), 1)]),
            delay_ms: 5,
            ..Obligations::default()
        };
        let two = Obligations {
            approvals: BTreeMap::from([("a".parse().unwrap(), 1), ("c".parse().unwrap(), 3)]),
            delay_ms: 9,
            ..Obligations::default()
        };
        let (mut left, mut right) = (one.clone(), two.clone());
        left.merge(&two);
        right.merge(&one);
        assert_eq!(left, right);
        assert_eq!(
            left.approvals.values().copied().collect::<Vec<_>>(),
            [2, 1, 3]
        );
        assert_eq!(left.delay_ms, 9);
    }
}
