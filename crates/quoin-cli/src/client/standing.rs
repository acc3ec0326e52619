//! What the nodes state of keys and of each other, each statement verified here.
//!
//! A statement holds for its node alone: a key's state is what its nodes say one by one, and where
//! they differ all of it is shown.

use crate::failure::Failure;
use quoin_api::statements::{EpochRange, KeyStatement, NodeStatement, UnfreezeStatement};
use quoin_core::payload::Unfreeze;
use quoin_core::{
    ClusterId, FreezeId, KeyId, KeyState, NodeIndex, PrincipalId, RequestId, Signed, Statement,
    TimeMs,
};
use quoin_policy::{Constitution, state_name};
use serde::Serialize;

/// What one node says of a key.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStanding {
    /// The node.
    pub node: NodeIndex,
    /// The key's state on it.
    pub state: KeyState,
    /// The newest epoch of its shares there.
    pub epoch: u32,
    /// When the key came into use there, in milliseconds since 1970.
    pub created: TimeMs,
    /// When its state changed last.
    pub changed: TimeMs,
    /// The epochs whose shares the node has erased.
    pub erased: Vec<String>,
    /// The epochs of which the node has sealed backups to officers.
    pub backups: Vec<String>,
}

impl NodeStanding {
    /// Verifies a statement about a key.
    pub fn of_key(bytes: &[u8], key: KeyId, constitution: &Constitution) -> Result<Self, Failure> {
        let said = verified::<KeyStatement>(bytes, constitution, |s| (s.cluster, s.boot.node))?;
        if said.key != key {
            return Err(strange("it is about another key"));
        }
        Ok(Self {
            node: said.boot.node,
            state: said.state,
            epoch: said.epoch.0,
            created: said.created,
            changed: said.changed,
            erased: ranges(&said.erased),
            backups: ranges(&said.backups),
        })
    }
}

/// What one node says of another.
#[derive(Clone, Debug, Serialize)]
pub struct NodeOpinion {
    /// The node.
    pub node: NodeIndex,
    /// How many strikes it has ever written against the other one.
    pub strikes: u64,
}

impl NodeOpinion {
    /// Verifies a statement about a node.
    pub fn of_node(
        bytes: &[u8],
        wanted: quoin_core::payload::ChangeNode,
        constitution: &Constitution,
    ) -> Result<Self, Failure> {
        let said = verified::<NodeStatement>(bytes, constitution, |s| (s.cluster, s.boot.node))?;
        if (said.node, said.change) != (wanted.node, wanted.change) {
            return Err(strange("it is about another node or change"));
        }
        Ok(Self {
            node: said.boot.node,
            strikes: said.strikes,
        })
    }
}

/// What one node says it has lifted.
#[derive(Clone, Debug, Serialize)]
pub struct NodeLifted {
    /// The node.
    pub node: NodeIndex,
    /// The freezes that it ended.
    pub lifts: Vec<FreezeId>,
    /// Whose freezes count no longer.
    pub suspends: Vec<PrincipalId>,
    /// The hash of what it knows of freezes since then.
    pub freezes: String,
}

impl NodeLifted {
    /// Verifies a statement about lifted freezes.
    pub fn of_request(
        bytes: &[u8],
        request: RequestId,
        wanted: &Unfreeze,
        constitution: &Constitution,
    ) -> Result<Self, Failure> {
        let said =
            verified::<UnfreezeStatement>(bytes, constitution, |s| (s.cluster, s.boot.node))?;
        if said.request != request
            || (&said.lifts, &said.suspends) != (&wanted.lifts, &wanted.suspends)
        {
            return Err(strange("it is about other freezes"));
        }
        Ok(Self {
            node: said.boot.node,
            lifts: said.lifts,
            suspends: said.suspends,
            freezes: hex::encode(said.freezes),
        })
    }
}

/// The state that the nodes agree on; where they differ, what most of them say, and the others
/// after it. A key of which nobody says anything is in use: its certificate says that.
pub fn agreed(said: &[NodeStanding]) -> (KeyState, Vec<(NodeIndex, KeyState)>) {
    let count = |state| said.iter().filter(|s| s.state == state).count();
    let most = said.iter().map(|s| s.state).max_by_key(|s| (count(*s), *s));
    let most = most.unwrap_or(KeyState::Active);
    let others = said.iter().filter(|s| s.state != most);
    (most, others.map(|s| (s.node, s.state)).collect())
}

/// The state in words, with the nodes that say something else.
pub fn state_line(said: &[NodeStanding]) -> String {
    let (state, others) = agreed(said);
    let mut text = state_name(state).to_owned();
    for (node, other) in others {
        text.push_str(&format!(" (node {node}: {})", state_name(other)));
    }
    text
}

/// A time as people read it: `2026-11-22 20:15 UTC`.
pub fn date(at: TimeMs) -> String {
    let minutes = at.0 / 60_000;
    let (days, minute) = (minutes / 1_440, minutes % 1_440);
    // Days since 1 March of year 0 make every leap day the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_of_year = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_of_year + 2) / 5 + 1;
    let month = if month_of_year < 10 {
        month_of_year + 3
    } else {
        month_of_year - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (minute / 60, minute % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

fn ranges(all: &[EpochRange]) -> Vec<String> {
    let text = |range: &EpochRange| match (range.first.0, range.last.0) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    all.iter().map(text).collect()
}

/// A statement that its node has signed, of the pinned cluster.
fn verified<T: Statement + Clone>(
    bytes: &[u8],
    constitution: &Constitution,
    origin: fn(&T) -> (ClusterId, NodeIndex),
) -> Result<T, Failure> {
    let signed = Signed::<T>::from_bytes(bytes).map_err(|e| strange(&e.to_string()))?;
    let (cluster, node) = origin(signed.unverified());
    if cluster != constitution.cluster() {
        return Err(strange("it is of another cluster"));
    }
    let Some(entry) = constitution.node(node) else {
        return Err(strange("it is of a node that the charter does not name"));
    };
    let said = signed.verify(&entry.credential);
    said.cloned().map_err(|e| strange(&e.to_string()))
}

fn strange(why: &str) -> Failure {
    Failure::new("a node's statement was not accepted")
        .because(why)
        .next("ask the operators of the gateway and of that node")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399_999, "2000-02-28 23:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00 UTC"),
            (1_709_251_199_000, "2024-02-29 23:59 UTC"),
            (1_709_251_200_000, "2024-03-01 00:00 UTC"),
            (1_800_000_000_000, "2027-01-15 08:00 UTC"),
            (4_102_444_800_000, "2100-01-01 00:00 UTC"),
        ] {
            assert_eq!(date(TimeMs(ms)), text);
        }
    }

    #[test]
    fn nodes_that_differ_are_named() {
        let said = |node: u8, state| NodeStanding {
            node: NodeIndex::new(node).unwrap(),
            state,
            epoch: 0,
            created: TimeMs(0),
            changed: TimeMs(0),
            erased: Vec::new(),
            backups: Vec::new(),
        };
        assert_eq!(state_line(&[]), "active");
        let all = [
            said(1, KeyState::Suspended),
            said(2, KeyState::Active),
            said(3, KeyState::Suspended),
        ];
        assert_eq!(state_line(&all), "suspended (node 2: active)");
    }
}
