//! The states of a key and what leads from one to the next, after NIST SP 800-57 part 1, section 7.
//!
//! A change to the state that a key has already is allowed and changes nothing: nodes that missed
//! the first request are brought into line by asking again.

use quoin_core::KeyState;
use quoin_core::payload::KeyChange;

/// The state that a change leads to; `None` when it is not allowed in this state.
///
/// New shares change no state, and are made for keys that sign or may sign again.
#[must_use]
pub const fn state_after(state: KeyState, change: &KeyChange) -> Option<KeyState> {
    use KeyState::{Active, Compromised, Deactivated, Destroyed, Suspended};
    match (change, state) {
        (KeyChange::Refresh | KeyChange::Reshare { .. }, Active | Suspended) => Some(state),
        (KeyChange::Suspend, Active | Suspended) => Some(Suspended),
        (KeyChange::Resume, Active | Suspended) => Some(Active),
        (KeyChange::Retire, Active | Suspended | Deactivated) => Some(Deactivated),
        (KeyChange::Compromise, Active | Suspended | Deactivated | Compromised) => {
            Some(Compromised)
        }
        (KeyChange::Destroy, Deactivated | Compromised | Destroyed) => Some(Destroyed),
        _ => None,
    }
}

/// The state in words: `the key is suspended`.
#[must_use]
pub const fn state_name(state: KeyState) -> &'static str {
    match state {
        KeyState::PreActive => "pre-active",
        KeyState::Active => "active",
        KeyState::Suspended => "suspended",
        KeyState::Deactivated => "deactivated",
        KeyState::Compromised => "compromised",
        KeyState::Destroyed => "destroyed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use KeyState::{Active, Compromised, Deactivated, Destroyed, PreActive, Suspended};

    const STATES: [KeyState; 6] = [
        PreActive,
        Active,
        Suspended,
        Deactivated,
        Compromised,
        Destroyed,
    ];

    #[test]
    fn every_transition_is_in_the_table() {
        let reshare = KeyChange::Reshare {
            dealers: Vec::new(),
        };
        // What each change makes of the six states, in their order.
        let table = [
            (
                KeyChange::Refresh,
                [None, Some(Active), Some(Suspended), None, None, None],
            ),
            (
                reshare,
                [None, Some(Active), Some(Suspended), None, None, None],
            ),
            (
                KeyChange::Suspend,
                [None, Some(Suspended), Some(Suspended), None, None, None],
            ),
            (
                KeyChange::Resume,
                [None, Some(Active), Some(Active), None, None, None],
            ),
            (
                KeyChange::Retire,
                [
                    None,
                    Some(Deactivated),
                    Some(Deactivated),
                    Some(Deactivated),
                    None,
                    None,
                ],
            ),
            (
                KeyChange::Compromise,
                [
                    None,
                    Some(Compromised),
                    Some(Compromised),
                    Some(Compromised),
                    Some(Compromised),
                    None,
                ],
            ),
            (
                KeyChange::Destroy,
                [
                    None,
                    None,
                    None,
                    Some(Destroyed),
                    Some(Destroyed),
                    Some(Destroyed),
                ],
            ),
        ];
        for (change, results) in table {
            for (state, result) in STATES.into_iter().zip(results) {
                assert_eq!(
                    state_after(state, &change),
                    result,
                    "{} of a key that is {}",
                    change.name(),
                    state_name(state)
                );
            }
        }
    }
}
