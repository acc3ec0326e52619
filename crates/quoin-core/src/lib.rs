//! The words of Quoin: ids, units, [`Intent`], canonical encoding, signed statements, domain tags,
//! secret types and error classes.
//!
//! Every other crate speaks in these types. There is no IO, no clock, no async and no threshold
//! cryptography here; time and randomness always arrive as parameters.

pub mod amount;
pub mod cbor;
pub mod credential;
pub mod error;
pub mod hash;
pub mod ids;
pub mod intent;
pub mod path;
pub mod payload;
pub mod secret;
pub mod signer_set;
pub mod stamp;
pub mod statement;
pub mod tags;
pub mod time;
pub mod webauthn;

pub use amount::Amount;
pub use credential::{P256Identity, PublicCredential, SigningIdentity, Signs};
pub use error::{Class, Field, Rejection};
pub use ids::*;
pub use intent::{Action, Address, AssetId, ChainId, Intent};
pub use path::DerivationPath;
pub use payload::{Payload, PayloadKind};
pub use secret::SecretBytes;
pub use signer_set::SignerSet;
pub use stamp::{CustodyMethod, KeyOrigin, KeyState, Purpose, Scheme, Stamp};
pub use statement::{Certificate, Signed, Statement};
pub use time::TimeMs;
pub use webauthn::{Assertion, AssertionFault, Passkey};
