//! [`Decoded`]: the only proof that an intent and a digest belong to the same bytes.
//!
//! It is not a decision: whether the intent may be signed is for the policy engine to say.
//! Source: invariant 3 of the design.

use crate::{evm, text};
use quoin_core::intent::{Action, ChainId, Horizon, Intent, RiskEffect};
use quoin_core::payload::{ChangeKey, ChangeNode, CreateKey, KeyChange, LIFTS_MAX, Unfreeze};
use quoin_core::stamp::{Account, Scheme};
use quoin_core::{Payload, PayloadHash, Rejection};

/// What the key signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// A 32-byte hash: ECDSA signs it as it is; for BIP-340 it is the message.
    Prehash([u8; 32]),
    /// A message, which Ed25519 hashes itself.
    Message(Vec<u8>),
    /// Nothing is signed: the payload asks for a ceremony.
    Ceremony,
}

/// A payload that this crate has decoded for an account: its meaning and what to sign for it.
///
/// Its fields are private and [`decode`] is its only maker: it has no constructor, no `Default`,
/// no `Clone` and no `Deserialize`, so holding one proves that intent and digest match.
///
/// ```compile_fail,E0451
/// # fn forge(intent: quoin_core::Intent, honest: quoin_chain::Decoded) -> quoin_chain::Decoded {
/// quoin_chain::Decoded { intent, ..honest }
/// # }
/// ```
///
/// ```compile_fail,E0616
/// # fn alter(mut honest: quoin_chain::Decoded) {
/// honest.digest = quoin_chain::Digest::Prehash([0; 32]);
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # fn copy(honest: &quoin_chain::Decoded) -> quoin_chain::Decoded {
/// honest.clone()
/// # }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    intent: Intent,
    digest: Digest,
    payload_hash: PayloadHash,
    account: Account,
    scheme: Scheme,
}

impl Decoded {
    /// What signing the payload would do.
    #[must_use]
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }

    /// What the key signs.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The hash of the payload, which must equal the stamp's.
    #[must_use]
    pub const fn payload_hash(&self) -> PayloadHash {
        self.payload_hash
    }

    /// The account that the payload was decoded for.
    #[must_use]
    pub const fn account(&self) -> &Account {
        &self.account
    }

    /// The scheme of the account's key; for key creation, that of the key to be made.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }
}

/// An intent and what to sign for it, as each payload's decoder returns them.
pub(crate) type Meaning = (Intent, Digest);

/// Works out what `payload` means for `account`, whose key has `scheme`.
///
/// For a payload that makes a key there is no key yet: `scheme` is not consulted, and
/// [`Decoded::scheme`] is that of the key to be made.
///
/// # Errors
/// Always of the caller's class, with the path of the field at fault: malformed or oversized
/// bytes, a chain other than the account's, or a scheme that the chain does not verify.
pub fn decode(payload: &Payload, account: &Account, scheme: Scheme) -> Result<Decoded, Rejection> {
    let mut scheme = scheme;
    let (intent, digest) = match payload {
        Payload::EvmTransaction(bytes) => evm::transaction::decode(bytes, account, scheme)?,
        Payload::EvmTypedData(json) => evm::typed_data::decode(json, account, scheme)?,
        Payload::EvmMessage(bytes) => evm::message::decode(bytes, account, scheme)?,
        Payload::Text(text) => text::decode(text, account, scheme)?,
        Payload::CreateKey(create) => {
            scheme = create.scheme;
            create_key(create, account)?
        }
        Payload::ChangeKey(wish) => change_key(wish, account)?,
        Payload::ChangeNode(wish) => change_node(*wish, account)?,
        Payload::Unfreeze(wish) => unfreeze(wish, account)?,
    };
    Ok(Decoded {
        intent,
        digest,
        payload_hash: payload.hash(),
        account: account.clone(),
        scheme,
    })
}

fn create_key(create: &CreateKey, account: &Account) -> Result<Meaning, Rejection> {
    needs_quoin(account, "a request to make a key")?;
    needs_root(account)?;
    refuse_model(create.scheme, "create_key.scheme")?;
    let action = Action::CreateKey {
        name: create.name.clone(),
        scheme: create.scheme,
        purpose: create.purpose,
    };
    Ok((quoin_intent(action), Digest::Ceremony))
}

fn change_key(wish: &ChangeKey, account: &Account) -> Result<Meaning, Rejection> {
    needs_quoin(account, "a request about a key")?;
    needs_root(account)?;
    if let KeyChange::Reshare { dealers } = &wish.change
        && !dealers.is_sorted_by(|a, b| a < b)
    {
        return Err(Rejection::caller(
            "change_key.change.reshare.dealers",
            "expected node indices in ascending order, each once",
        ));
    }
    let action = Action::ChangeKey {
        key: wish.key,
        change: wish.change.clone(),
    };
    Ok((quoin_intent(action), Digest::Ceremony))
}

fn change_node(wish: ChangeNode, account: &Account) -> Result<Meaning, Rejection> {
    needs_quoin(account, "a request about a node")?;
    needs_root(account)?;
    let action = Action::ChangeNode {
        node: wish.node,
        change: wish.change,
    };
    Ok((quoin_intent(action), Digest::Ceremony))
}

fn unfreeze(wish: &Unfreeze, account: &Account) -> Result<Meaning, Rejection> {
    needs_quoin(account, "a request to lift freezes")?;
    needs_root(account)?;
    let ascending = wish.lifts.is_sorted_by(|a, b| a < b);
    if !ascending || wish.lifts.is_empty() || wish.lifts.len() > LIFTS_MAX {
        return Err(Rejection::caller(
            "unfreeze.lifts",
            "expected 1 to 64 ids of freezes in ascending order, each once",
        ));
    }
    if !wish.suspends.is_sorted_by(|a, b| a < b) || wish.suspends.len() > LIFTS_MAX {
        return Err(Rejection::caller(
            "unfreeze.suspends",
            "expected at most 64 principals in ascending order, each once",
        ));
    }
    let action = Action::Unfreeze {
        lifts: wish.lifts.clone(),
        suspends: wish.suspends.clone(),
    };
    Ok((quoin_intent(action), Digest::Ceremony))
}

/// An intent that concerns Quoin itself: no slot, no fee, no effect on risk.
pub(crate) const fn quoin_intent(action: Action) -> Intent {
    Intent {
        action,
        chain: ChainId::Quoin,
        slot: None,
        fee_max: None,
        risk: RiskEffect::Neutral,
        horizon: Horizon::Unbounded,
    }
}

/// Refuses an account on any chain but Quoin's own.
pub(crate) fn needs_quoin(account: &Account, what: &str) -> Result<(), Rejection> {
    if account.chain == ChainId::Quoin {
        return Ok(());
    }
    Err(Rejection::caller(
        "account.chain",
        format!(
            "{what} belongs to no chain: give the account's chain as `quoin`, not `{}`",
            account.chain
        ),
    ))
}

/// Refuses a derived account where a key or the cluster itself is meant.
fn needs_root(account: &Account) -> Result<(), Rejection> {
    if account.path.is_root() {
        return Ok(());
    }
    Err(Rejection::caller(
        "account.path",
        "the request is about Quoin itself, which has no derived accounts: leave the path out",
    ))
}

/// Refuses the simulator's scheme in every build that was not made for simulation.
pub(crate) fn refuse_model(scheme: Scheme, field: &'static str) -> Result<(), Rejection> {
    if scheme == Scheme::Model && !cfg!(feature = "model") {
        return Err(Rejection::caller(
            field,
            "the model scheme exists only in the simulator",
        ));
    }
    Ok(())
}
