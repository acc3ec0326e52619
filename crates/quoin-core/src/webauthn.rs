//! Passkeys: statements that people sign on a phone, a security key or a laptop.
//!
//! A passkey never signs our bytes. An authenticator signs its own data (which page's host asked,
//! whether a person was there) beside the hash of what the browser says (which page, which
//! challenge), so a statement enters as the *challenge* and everything else is checked here, after
//! Web Authentication level 3, section 7.2 ("Verifying an Authentication Assertion"). Registration
//! is no business of this module: the charter, which governors sign, says which key is whose.
//!
//! What is pinned is the relying party id, a host name, because the key is bound to it by the
//! authenticator; the origins that may use it follow from it. The rest of an origin is not pinned:
//! a page, even the right one, shows what it likes, and what stands between it and an approval of
//! something else is that every node computes the challenge for itself.
//!
//! The signature counter is not looked at. It tells a relying party with one login page that a key
//! was copied; nodes see assertions in no particular order, synchronised passkeys always report 0,
//! and an assertion that is shown twice is the same statement twice, which changes nothing.

use crate::credential::{CredentialSignature, read_p256, verify_p256};
use crate::error::Rejection;
use minicbor::{Decode, Decoder, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The largest authenticator data: 37 bytes, and extensions that are not read.
pub const AUTHENTICATOR_DATA_BYTES_MAX: usize = 512;
/// The largest client data; browsers write about 200 bytes.
pub const CLIENT_DATA_BYTES_MAX: usize = 2048;
/// The longest host name of DNS.
const HOST_BYTES_MAX: usize = 253;
/// The longest label of a host name.
const LABEL_BYTES_MAX: usize = 63;
/// The hash of the relying party id, the flags and the signature counter.
const AUTHENTICATOR_DATA_BYTES_MIN: usize = 37;

/// The flags of authenticator data that are read (level 3, section 6.1).
mod flags {
    pub(super) const USER_PRESENT: u8 = 1;
    pub(super) const USER_VERIFIED: u8 = 1 << 2;
    pub(super) const BACKUP_ELIGIBLE: u8 = 1 << 3;
    pub(super) const BACKED_UP: u8 = 1 << 4;
    pub(super) const ATTESTED: u8 = 1 << 6;
    pub(super) const EXTENSIONS: u8 = 1 << 7;
}

/// A relying party id: the host name that a passkey is bound to.
///
/// Lower-case letters, digits and `-` in labels of 1 to 63 bytes, two labels at least unless it is
/// `localhost`, 253 bytes at most, and no IP address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
#[cbor(transparent)]
pub struct RpId(#[n(0)] String);

impl RpId {
    /// The host name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a page of this origin may use passkeys of this relying party: `https` on the host
    /// itself or below it, on any port, because relying party ids have none; for `localhost`,
    /// which never leaves the machine, plain `http` on exactly it too.
    fn covers(&self, origin: &str) -> bool {
        let (rest, plain) = match (origin.strip_prefix("https://"), self.as_str()) {
            (Some(rest), _) => (rest, false),
            (None, "localhost") => match origin.strip_prefix("http://") {
                Some(rest) => (rest, true),
                None => return false,
            },
            (None, _) => return false,
        };
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        if !is_host(host) || port.is_some_and(|p| !is_port(p)) {
            return false;
        }
        let parent = host.strip_suffix(self.as_str());
        match parent {
            Some("") => true,
            Some(sub) => sub.ends_with('.') && !plain,
            None => false,
        }
    }
}

impl std::fmt::Display for RpId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for RpId {
    type Err = Rejection;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let last = text.rsplit('.').next().unwrap_or_default();
        // A last label of digits would make it an IPv4 address, for which there are no passkeys.
        let named = !last.bytes().all(|b| b.is_ascii_digit());
        if is_host(text) && named && (text.contains('.') || text == "localhost") {
            Ok(Self(text.to_owned()))
        } else {
            Err(Rejection::caller(
                "credential",
                "a relying party id is a lower-case host name such as `approve.example.com`",
            ))
        }
    }
}

impl<'b, C> Decode<'b, C> for RpId {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let parsed = d.str()?.parse();
        parsed.map_err(|_| minicbor::decode::Error::message("not a relying party id"))
    }
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    text.len() <= HOST_BYTES_MAX && text.split('.').all(label)
}

/// Whether a browser writes a port so: digits without leading zeros, in range.
fn is_port(text: &str) -> bool {
    text.parse::<u16>()
        .is_ok_and(|port| port.to_string() == text)
}

/// The public half of a passkey: a P-256 key and the relying party that it is bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode)]
pub struct Passkey {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: [u8; 33],
    #[n(1)]
    rp_id: RpId,
}

impl Passkey {
    /// A passkey with this compressed public key.
    ///
    /// # Errors
    /// When the bytes are no point of the curve.
    pub fn new(key: [u8; 33], rp_id: RpId) -> Result<Self, Rejection> {
        match read_p256(&key) {
            Some(_) => Ok(Self { key, rp_id }),
            None => Err(Rejection::caller(
                "credential",
                "the passkey's public key is no compressed point of P-256",
            )),
        }
    }

    /// The compressed public key.
    #[must_use]
    pub const fn key(&self) -> &[u8; 33] {
        &self.key
    }

    /// The relying party that the key is bound to.
    #[must_use]
    pub const fn rp_id(&self) -> &RpId {
        &self.rp_id
    }
}

impl<'b, C> Decode<'b, C> for Passkey {
    fn decode(d: &mut Decoder<'b>, c: &mut C) -> Result<Self, minicbor::decode::Error> {
        let shape = || minicbor::decode::Error::message("not a passkey");
        if d.array()? != Some(2) {
            return Err(shape());
        }
        let key = d.bytes()?.try_into().map_err(|_| shape())?;
        Self::new(key, RpId::decode(d, c)?).map_err(|_| shape())
    }
}

/// Why an assertion does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum AssertionFault {
    /// The client data are no JSON object with the members that every browser writes, or over
    /// their size.
    #[error("its client data cannot be read")]
    ClientData,
    /// The client data are of a registration, or of something else that is no assertion.
    #[error("its client data are not of an assertion")]
    Type,
    /// Made for another statement.
    #[error("made for another statement")]
    Challenge,
    /// Made on a page that has no business with this passkey.
    #[error("made on a page of another origin")]
    Origin,
    /// Made in a page that another page has framed.
    #[error("made in a page that another origin had framed")]
    CrossOrigin,
    /// The authenticator data are too short, too long, or of a registration.
    #[error("its authenticator data cannot be read")]
    AuthenticatorData,
    /// Made for another relying party.
    #[error("made for another relying party")]
    RpId,
    /// Nobody was there.
    #[error("made without a person present")]
    UserPresence,
    /// The authenticator did not check who was there.
    #[error("made without verifying the person")]
    UserVerification,
    /// It claims a backup of a key that cannot be backed up.
    #[error("its backup flags contradict each other")]
    BackupState,
    /// The signature is not spelt as it has to be, or does not verify.
    #[error("its signature does not verify")]
    Signature,
}

/// What an authenticator signed, and its signature.
///
/// Beside a statement's payload this is all that a node needs to check a passkey's signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assertion {
    authenticator_data: Vec<u8>,
    client_data: Vec<u8>,
    signature: CredentialSignature,
}

impl Assertion {
    /// An assertion in the form that envelopes carry: `signature` is r and s, and s is low.
    ///
    /// # Errors
    /// When the authenticator data or the client data exceed their bounds.
    pub fn new(
        authenticator_data: Vec<u8>,
        client_data: Vec<u8>,
        signature: CredentialSignature,
    ) -> Result<Self, AssertionFault> {
        if authenticator_data.len() > AUTHENTICATOR_DATA_BYTES_MAX {
            return Err(AssertionFault::AuthenticatorData);
        }
        if client_data.len() > CLIENT_DATA_BYTES_MAX {
            return Err(AssertionFault::ClientData);
        }
        Ok(Self {
            authenticator_data,
            client_data,
            signature,
        })
    }

    /// Reads what `navigator.credentials.get` returned: `authenticatorData`, `clientDataJSON` and
    /// `signature`, of which the last is DER.
    ///
    /// Authenticators return a high s about half the time, and (r, s) verifies exactly when (r, -s)
    /// does. So whoever puts the assertion into an envelope turns s low, once, and nodes accept no
    /// other spelling: they need no DER, and nobody on the way can respell a signature. A passkey's
    /// owner can still sign the same statement many times over, as with every ECDSA; what a
    /// statement *is*, its payload, never depends on the signature.
    ///
    /// # Errors
    /// When a part exceeds its bound, or the signature is not DER in its one canonical spelling.
    pub fn from_browser(
        authenticator_data: Vec<u8>,
        client_data: Vec<u8>,
        der: &[u8],
    ) -> Result<Self, AssertionFault> {
        let signature =
            p256::ecdsa::Signature::from_der(der).map_err(|_| AssertionFault::Signature)?;
        let low = signature.normalize_s().unwrap_or(signature);
        Self::new(authenticator_data, client_data, low.to_bytes().into())
    }

    /// The authenticator data.
    #[must_use]
    pub fn authenticator_data(&self) -> &[u8] {
        &self.authenticator_data
    }

    /// The client data, in JSON.
    #[must_use]
    pub fn client_data(&self) -> &[u8] {
        &self.client_data
    }

    /// The signature: r and s.
    #[must_use]
    pub const fn signature(&self) -> &CredentialSignature {
        &self.signature
    }

    /// Checks that `passkey` signed `challenge`, on a page of its relying party, with its person
    /// present and verified.
    ///
    /// # Errors
    /// The first check of section 7.2 that fails, in its order.
    pub fn verify(&self, passkey: &Passkey, challenge: &[u8; 32]) -> Result<(), AssertionFault> {
        ClientData::read(&self.client_data)?.check(passkey.rp_id(), challenge)?;
        check_authenticator_data(&self.authenticator_data, passkey.rp_id())?;
        let mut message = self.authenticator_data.clone();
        message.extend(Sha256::digest(&self.client_data));
        if verify_p256(passkey.key(), &message, &self.signature) {
            Ok(())
        } else {
            Err(AssertionFault::Signature)
        }
    }
}

/// The members of client data that are read. A browser may write others, now or later, so those
/// are passed over; one of these written twice is refused, because two readers could then see two
/// different values.
#[derive(Deserialize)]
struct ClientData<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    challenge: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    origin: std::borrow::Cow<'a, str>,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: Option<bool>,
    #[serde(rename = "topOrigin", default)]
    top_origin: Option<serde::de::IgnoredAny>,
}

impl<'a> ClientData<'a> {
    /// Steps 5 and 6: UTF-8 and JSON. Serde would take an array for a struct, hence the brace.
    fn read(json: &'a [u8]) -> Result<Self, AssertionFault> {
        if json.first() != Some(&b'{') {
            return Err(AssertionFault::ClientData);
        }
        serde_json::from_slice(json).map_err(|_| AssertionFault::ClientData)
    }

    fn check(&self, rp_id: &RpId, challenge: &[u8; 32]) -> Result<(), AssertionFault> {
        // A registration can be signed by the same key ("self attestation"), with a challenge that
        // whoever registers it chooses.
        if self.kind != "webauthn.get" {
            return Err(AssertionFault::Type);
        }
        if self.challenge != base64url(challenge) {
            return Err(AssertionFault::Challenge);
        }
        if !rp_id.covers(&self.origin) {
            return Err(AssertionFault::Origin);
        }
        // A framed page can be hidden under something harmless to click on.
        if self.cross_origin == Some(true) || self.top_origin.is_some() {
            return Err(AssertionFault::CrossOrigin);
        }
        Ok(())
    }
}

/// The steps of section 7.2 about authenticator data. Extensions are signed and not read.
fn check_authenticator_data(data: &[u8], rp_id: &RpId) -> Result<(), AssertionFault> {
    let (Some((rp_id_hash, rest)), true) = (
        data.split_first_chunk::<32>(),
        data.len() >= AUTHENTICATOR_DATA_BYTES_MIN,
    ) else {
        return Err(AssertionFault::AuthenticatorData);
    };
    let flags = rest.first().copied().unwrap_or_default();
    let has = |flag: u8| flags & flag != 0;
    // Attested credential data belong to registrations; without them, and without extensions,
    // nothing follows the counter.
    let longer = data.len() > AUTHENTICATOR_DATA_BYTES_MIN;
    if has(flags::ATTESTED) || longer != has(flags::EXTENSIONS) {
        return Err(AssertionFault::AuthenticatorData);
    }
    let expected: [u8; 32] = Sha256::digest(rp_id.as_str()).into();
    if *rp_id_hash != expected {
        return Err(AssertionFault::RpId);
    }
    if !has(flags::USER_PRESENT) {
        return Err(AssertionFault::UserPresence);
    }
    // A stolen security key that only wants a touch must not be worth an approval.
    if !has(flags::USER_VERIFIED) {
        return Err(AssertionFault::UserVerification);
    }
    if has(flags::BACKED_UP) && !has(flags::BACKUP_ELIGIBLE) {
        return Err(AssertionFault::BackupState);
    }
    Ok(())
}

/// Base64url without padding (RFC 4648, section 5), as browsers write a challenge.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |i: usize| u32::from(group.get(i).copied().unwrap_or_default());
        let word = (at(0) << 16) | (at(1) << 8) | at(2);
        // A group of k bytes makes k + 1 digits.
        for shift in [18u32, 12, 6, 0].into_iter().take(group.len() + 1) {
            let digit = ALPHABET.get(((word >> shift) & 63) as usize);
            out.extend(digit.map(|d| char::from(*d)));
        }
    }
    out
}

#[cfg(test)]
mod tests;
