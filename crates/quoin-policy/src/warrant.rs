//! The warrant: what judgement makes and signing consumes.

use crate::ledger::{Charge, Reservation};
use quoin_chain::Decoded;
use quoin_core::{
    CharterHash, CustodyMethod, Intent, KeyId, PrincipalId, Purpose, RequestId, RuleId,
};

/// The permission to sign one decoded payload with one key, once.
///
/// Only [`crate::Constitution::judge`] makes one: its fields are private, and it has no
/// constructor, no `Clone`, no `Default` and no `Deserialize`. Signing takes it by value.
///
/// ```compile_fail,E0451
/// # fn forge(decoded: quoin_chain::Decoded, honest: quoin_policy::Warrant)
/// #     -> quoin_policy::Warrant {
/// quoin_policy::Warrant { decoded, ..honest }
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # fn copy(honest: &quoin_policy::Warrant) -> quoin_policy::Warrant {
/// honest.clone()
/// # }
/// ```
///
/// ```compile_fail,E0599
/// let nothing_judged = quoin_policy::Warrant::default();
/// ```
///
/// ```compile_fail,E0382
/// fn sign(_: quoin_policy::Warrant) {}
/// # fn twice(warrant: quoin_policy::Warrant) {
/// sign(warrant);
/// sign(warrant);
/// # }
/// ```
pub struct Warrant {
    pub(crate) decoded: Decoded,
    pub(crate) key: Option<KeyId>,
    pub(crate) principal: PrincipalId,
    pub(crate) purpose: Purpose,
    pub(crate) custody: CustodyMethod,
    pub(crate) charter: CharterHash,
    pub(crate) rules: Vec<RuleId>,
    pub(crate) reservation: Reservation,
}

impl Warrant {
    /// What is permitted: meaning, digest and account.
    #[must_use]
    pub const fn decoded(&self) -> &Decoded {
        &self.decoded
    }

    /// The meaning of what is permitted.
    #[must_use]
    pub const fn intent(&self) -> &Intent {
        self.decoded.intent()
    }

    /// The key that may sign; `None` for the making of a key.
    #[must_use]
    pub const fn key(&self) -> Option<KeyId> {
        self.key
    }

    /// Who asked.
    #[must_use]
    pub const fn principal(&self) -> &PrincipalId {
        &self.principal
    }

    /// The key's purpose, which decides the profile of signing.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// How the signature shall be made.
    #[must_use]
    pub const fn custody(&self) -> CustodyMethod {
        self.custody
    }

    /// The request.
    #[must_use]
    pub const fn request_id(&self) -> RequestId {
        self.reservation.request_id
    }

    /// The charter under which this was judged.
    #[must_use]
    pub const fn charter(&self) -> CharterHash {
        self.charter
    }

    /// All policies that permit it, sorted.
    #[must_use]
    pub fn rules(&self) -> &[RuleId] {
        &self.rules
    }

    /// What it costs each budget.
    #[must_use]
    pub fn charges(&self) -> &[Charge] {
        &self.reservation.charges
    }

    /// All that the ledger holds for it: to be journaled before anything leaves, and handed to
    /// [`crate::Ledger::restore`] after a restart.
    #[must_use]
    pub const fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Ends the warrant and gives back what was decoded.
    #[must_use]
    pub fn into_decoded(self) -> Decoded {
        self.decoded
    }
}

impl std::fmt::Debug for Warrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warrant")
            .field("request_id", &self.request_id())
            .field("key", &self.key)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
