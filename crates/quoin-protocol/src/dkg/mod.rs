//! The life of a key's shares: generation, refresh and reshare by Feldman secret sharing, one
//! ceremony of three rounds for every scheme and every kind.
//!
//! Source: the construction's sections 19.1 to 19.4, as amended by section 21 (4 to 8, 14). The
//! written specification is `docs/spec/share-life.md`.
//!
//! 1. Every dealer signs a commitment to its polynomial, and everyone one encryption key for each
//!    dealer.
//! 2. Dealers open their commitments and broadcast all dealings encrypted; where a key is born,
//!    each proves possession of its part. Everyone names the hash of round 1.
//! 3. Everyone signs the transcript and the public half of its own share.
//!
//! | kind | who deals | constant term of a dealer | new share |
//! |---|---|---|---|
//! | generation | everyone | random, with proof of possession | sum of dealings |
//! | refresh | everyone | zero, not on the wire | old share and sum of dealings |
//! | reshare | t old holders | its old share, weighted; checked against the certified record | sum of dealings |
//!
//! All n take part and any fault ends the ceremony; the [`crate::Abort`] names the culprits, and
//! carries a [`Complaint`] against each dealer whose dealing failed in private. Commitments stop a
//! last mover from choosing its part after seeing the others'; it can still abort and so make the
//! others draw again, which is why a node logs and bounds restarts.
//!
//! No message of the ceremony endorses the key, so no certificate can exist before every node has
//! stored its share: were an endorsement part of the echo, a cheat that withholds its own echo
//! would hold a whole certificate of a key that the others draw anew under the same id.
//!
//! What is not here: storing the share, the endorsement over the record, activation, and the end
//! of the old share, which are the node's, in that order.

pub mod certificate;
pub mod complaint;
mod context;
mod deal;
mod dealer;
mod echo;
pub mod group;
mod group_ed25519;
#[cfg(any(test, feature = "model"))]
pub mod group_model;
mod group_secp256k1;
pub(crate) mod guard;
mod outcome;
mod plan;
mod polynomial;
mod rounds;
mod seal;
pub mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use certificate::{CertificateFault, Inherited, verify_certificate, verify_succession};
pub use complaint::{AccuserFault, Complaint, Verdict, VoidReason, Witnessed};
#[cfg(any(test, feature = "model"))]
pub use deal::deal_for_tests;
pub use group::Group;
pub use group_ed25519::Ed25519;
#[cfg(any(test, feature = "model"))]
pub use group_model::{MODEL_ORDER, Model, ModelScalar};
pub use group_secp256k1::Secp256k1;
pub use plan::{DkgParams, Succession, SuccessionParams};
pub use polynomial::lagrange;

use crate::abort::{Abort, Fault};
use crate::roster::Roster;
use crate::round::{Outbox, Round};
use crate::share::KeyShare;
use quoin_core::{Scheme, SecretBytes};
use rand_core::CryptoRngCore;
use std::sync::Arc;

/// Evaluates an expression with the group of a scheme, or another one when the build has none.
macro_rules! for_scheme {
    ($scheme:expr, $group:ident => $body:expr, $otherwise:expr) => {
        match $scheme {
            quoin_core::Scheme::Ecdsa | quoin_core::Scheme::Taproot => {
                type $group = $crate::dkg::Secp256k1;
                $body
            }
            quoin_core::Scheme::Ed25519 => {
                type $group = $crate::dkg::Ed25519;
                $body
            }
            #[cfg(any(test, feature = "model"))]
            quoin_core::Scheme::Model => {
                type $group = $crate::dkg::Model;
                $body
            }
            #[cfg_attr(
                any(test, feature = "model"),
                expect(
                    unreachable_patterns,
                    reason = "only a build without the toy scheme gets here"
                )
            )]
            _ => $otherwise,
        }
    };
}
pub(crate) use deal::deal;
pub(crate) use for_scheme;
pub(crate) use plan::threshold_fits;
pub(crate) use polynomial::{Polynomial, evaluate, interpolate_scalars};

/// What a finished ceremony gives a node.
#[derive(Debug)]
pub struct Generated {
    /// This node's share with the key's public record. It is to be durable before the node makes
    /// its endorsement over the record.
    pub share: KeyShare,
}

/// The public share that belongs to a share; `None` when the bytes are not one of the scheme.
pub(crate) fn public_point(scheme: Scheme, secret: &SecretBytes<32>) -> Option<Vec<u8>> {
    fn point<G: Group>(secret: &SecretBytes<32>) -> Option<Vec<u8>> {
        let scalar = G::decode_scalar(secret.expose())?;
        Some(G::encode_point(&G::generate(&scalar)))
    }
    for_scheme!(scheme, G => point::<G>(secret), None)
}

/// Starts a ceremony among all nodes of the roster.
///
/// # Errors
/// When the parameters do not fit the roster, or this build has no such scheme.
pub fn start(
    params: DkgParams,
    roster: Arc<Roster>,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Box<dyn Round<Generated>>, Outbox), Abort> {
    for_scheme!(
        params.scheme,
        G => rounds::start::<G>(params.into(), roster, None, rng),
        Err(Abort::one(None, Fault::SchemeRefused))
    )
}

/// Starts the move of a key to its next epoch, among all nodes of the roster, who are the holders
/// of that epoch.
///
/// `share` is this node's share of the old epoch; a node that holds none passes `None`, which only
/// somebody who does not deal can.
///
/// # Errors
/// When the parameters do not fit base record and roster, the share is not the certified one, or
/// this build has no such scheme.
pub fn start_succession(
    params: SuccessionParams,
    roster: Arc<Roster>,
    share: Option<&KeyShare>,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Box<dyn Round<Generated>>, Outbox), Abort> {
    for_scheme!(
        params.base.scheme,
        G => rounds::start::<G>(params.into(), roster, share, rng),
        Err(Abort::one(None, Fault::SchemeRefused))
    )
}
