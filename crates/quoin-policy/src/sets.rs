//! Numbered signer sets: what lets a `sticky` budget be spent by one set up to its whole cap.
//!
//! Source: the design, section 6, "limits without a coordinator".

/// How the request's signer set stands to the numbered set of this node, as sticky budgets see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetStanding {
    /// No set is in force: every node keeps to its strict part.
    #[default]
    Moving,
    /// The request is for the set in force, of which this node is a member.
    Serving,
    /// The request is for another set than the one in force.
    OtherSet,
}
