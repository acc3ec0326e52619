//! Texts under Quoin's own domain tag, which no chain gives a meaning to.
//!
//! These are not EIP-191 messages: a signature over a text can never be a transaction, a message
//! or typed data of any chain.

use crate::decoded::{Digest, Meaning, needs_quoin, quoin_intent, refuse_model};
use crate::shown::is_hidden;
use quoin_core::intent::Action;
use quoin_core::stamp::{Account, Scheme};
use quoin_core::{Rejection, hash, tags};

/// The longest text: more than a person reads before signing.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;

/// The version of the signed form.
const VERSION: u8 = 1;

pub(crate) fn decode(text: &str, account: &Account, scheme: Scheme) -> Result<Meaning, Rejection> {
    needs_quoin(account, "a text")?;
    refuse_model(scheme, "scheme")?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(Rejection::caller(
            "text",
            format!(
                "text has `{}` bytes, which is over the limit of `{TEXT_BYTES_MAX}`",
                text.len()
            ),
        ));
    }
    if let Some((at, c)) = text.char_indices().find(|(_, c)| is_hidden(*c)) {
        return Err(Rejection::caller(
            "text",
            format!(
                "character `U+{:04X}` at byte `{at}` cannot be seen: only newline and tab are \
                 allowed beside visible characters",
                u32::from(c)
            ),
        ));
    }
    let action = Action::Message {
        bytes: text.len() as u64,
        readable: true,
    };
    Ok((quoin_intent(action), digest(text, scheme)))
}

fn digest(text: &str, scheme: Scheme) -> Digest {
    let prehash = |scheme_byte: u8| {
        let parts: [&[u8]; 3] = [&[VERSION], &[scheme_byte], text.as_bytes()];
        Digest::Prehash(hash::tagged(tags::MESSAGE, &parts))
    };
    match scheme {
        Scheme::Ecdsa => prehash(0),
        Scheme::Taproot => prehash(1),
        Scheme::Ed25519 => {
            // A Solana message opens with a count of signatures or a version byte, and the
            // runtime knows no version that `0xff` would be; neither tag nor text holds the
            // version byte, so tag and text cannot run into each other.
            let tag = tags::MESSAGE.text().as_bytes();
            Digest::Message([&[0xff], tag, &[VERSION], text.as_bytes()].concat())
        }
        Scheme::Model => prehash(15),
    }
}
