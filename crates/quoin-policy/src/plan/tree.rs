//! Grants as a tree: who has rights, from whom, and until when.

use crate::charter::{Charter, Principal};
use quoin_core::{PrincipalId, RoleId, TimeMs};
use serde::{Deserialize, Serialize};

/// One grant, in the order of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantLine {
    /// How many delegations it is away from a grant of the charter itself.
    pub depth: usize,
    /// Who has it.
    pub principal: PrincipalId,
    /// From whom; `None` from the charter itself.
    pub granted_by: Option<PrincipalId>,
    /// The roles.
    pub roles: Vec<RoleId>,
    /// When it ends.
    pub expires: TimeMs,
}

/// All grants of a charter that was checked, each below the one that it comes from.
#[must_use]
pub fn grants(charter: &Charter) -> Vec<GrantLine> {
    let mut lines = Vec::with_capacity(charter.principals.len());
    below(charter, None, 0, &mut lines);
    lines
}

fn below(charter: &Charter, from: Option<&PrincipalId>, depth: usize, out: &mut Vec<GrantLine>) {
    // A charter that was not checked may hold a circle, which no path from the top reaches, and more
    // delegations in a row than a tree shows.
    if depth > charter.principals.len() {
        return;
    }
    let all = charter.principals.iter();
    let mut own: Vec<&Principal> = all.filter(|p| p.granted_by.as_ref() == from).collect();
    own.sort_by(|a, b| a.id.cmp(&b.id));
    for p in own {
        out.push(GrantLine {
            depth,
            principal: p.id.clone(),
            granted_by: p.granted_by.clone(),
            roles: p.roles.clone(),
            expires: p.expires,
        });
        below(charter, Some(&p.id), depth + 1, out);
    }
}
