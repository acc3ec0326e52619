//! What the rounds of a key ceremony broadcast, in canonical CBOR.
//!
//! Every form is read whole and only in its one spelling; whether its content is right is for the
//! rounds to judge.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use quoin_core::NodeIndex;
use quoin_core::cbor::Version;

/// The longest broadcast of any round: 15 nodes and threshold 7 need about 1,700 bytes.
pub const BODY_BYTES_MAX: usize = 4096;

/// The body of a broadcast with its sender's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedBody {
    /// The body.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub body: Vec<u8>,
    /// The sender's signature over the tagged hash of (sid, round, sender, body).
    #[cbor(n(1), with = "minicbor::bytes")]
    pub signature: [u8; 64],
}

/// Round 1: a commitment, and one encryption key for each dealer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CommitBody {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The sender's ceremony in the clear: whoever built another one from its own state (a charter
    /// or a restart that it has not heard of yet) can be told from whoever signs wrongly.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sid: [u8; 32],
    /// The hash of what round 2 opens; `None` from somebody who does not deal.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub commitment: Option<[u8; 32]>,
    /// One key for each other dealer, ascending.
    #[n(3)]
    pub keys: Vec<DealerKey>,
}

/// The key to which one dealer encrypts its dealing for the sender.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DealerKey {
    /// The dealer.
    #[n(0)]
    pub dealer: NodeIndex,
    /// The X25519 public key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: [u8; 32],
}

/// Round 2: what the commitment of round 1 hid, and all encrypted dealings.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DealBody {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The hash of every round-1 broadcast as the sender saw them.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub round1: [u8; 32],
    /// The opened commitment; `None` from somebody who does not deal.
    #[n(2)]
    pub opening: Option<Opening>,
    /// One encrypted dealing for each other node, ascending; none from somebody who does not deal.
    #[n(3)]
    pub dealings: Vec<EncryptedDealing>,
}

/// A dealer's public polynomial.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Opening {
    /// The Feldman commitment, constant term first. A refresh leaves the constant term out, since
    /// it is zero: what is not sent cannot be wrong.
    #[n(0)]
    pub coefficients: Vec<ByteVec>,
    /// What hides the commitment until it is opened.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// At a key's birth: the proof that the dealer knows the constant term.
    #[n(2)]
    pub proof: Option<Possession>,
}

/// A Schnorr proof that a dealer knows the constant term of its polynomial.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Possession {
    /// The proof's nonce point.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub nonce: Vec<u8>,
    /// The proof's response.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub response: [u8; 32],
}

/// One dealing under HPKE.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EncryptedDealing {
    /// For whom it is.
    #[n(0)]
    pub receiver: NodeIndex,
    /// HPKE's encapsulated key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub encapsulated: [u8; 32],
    /// The ciphertext, 48 bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub ciphertext: Vec<u8>,
}

/// Round 3: the sender's word on what came out. It is signed as every broadcast is, and it is not
/// an endorsement of the key: that is made only once the share is durable, by the node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EchoBody {
    /// The form's version.
    #[n(0)]
    pub version: Version<1>,
    /// The hash of all broadcasts of rounds 1 and 2.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub transcript: [u8; 32],
    /// The sender's own share times the generator, computed from the share itself.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub share_point: Vec<u8>,
}
