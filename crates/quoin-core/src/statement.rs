//! Signed statements: COSE_Sign1 (RFC 9052) over canonical CBOR, with a domain tag.
//!
//! A statement is valid because of its signatures, whoever delivers it. The domain tag of the
//! statement's type is the external additional data of the signature, so a signature over one type
//! can never be presented as one over another.
//!
//! A passkey signs no bytes of ours. Its envelope carries a Web Authentication assertion instead:
//! the authenticator data and the client data in the unprotected header, r and s as the signature.
//! The assertion's challenge stands for the statement: the hash of what another credential would
//! have signed, tag and header included, unless the type names another [challenge].
//!
//! [challenge]: Statement::challenge

use crate::cbor::{self, CborError};
use crate::credential::{CredentialSignature, PublicCredential, Signs};
use crate::ids::CredentialId;
use crate::tags::Tag;
use crate::webauthn::{
    AUTHENTICATOR_DATA_BYTES_MAX, Assertion, AssertionFault, CLIENT_DATA_BYTES_MAX, Passkey,
};
use minicbor::{Decode, Decoder, Encode, Encoder};
use sha2::{Digest, Sha256};

/// A type that can be signed: its domain tag and the largest encoding accepted.
pub trait Statement: Encode<()> + for<'b> Decode<'b, ()> {
    /// The domain tag, which enters every signature.
    const TAG: Tag;
    /// The largest canonical encoding that is decoded.
    const BYTES_MAX: usize;

    /// The challenge over which a passkey signs this statement, where that is not the hash of the
    /// statement itself.
    ///
    /// # Security
    /// What such a challenge does not cover, nobody has signed: whoever relies on the statement has
    /// to force every other field, and no two types may give one challenge. Leave it alone unless
    /// an approver's own screen has to show the challenge.
    fn challenge(&self) -> Option<[u8; 32]> {
        None
    }
}

/// Bytes that an envelope adds to its payload, at most: header, signature, lengths, and what a
/// passkey's assertion brings.
const ENVELOPE_BYTES_MAX: usize = 256 + AUTHENTICATOR_DATA_BYTES_MAX + CLIENT_DATA_BYTES_MAX;
/// The unprotected header of a passkey's envelope.
const ASSERTION_HEADER: &str = "webauthn";
/// The most signatures of one certificate.
pub const SIGNATURES_MAX: usize = 64;

/// Why a signed statement is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not an envelope, or not the canonical one.
    #[error("malformed envelope")]
    Envelope,
    /// The payload is not the canonical encoding of its type.
    #[error("malformed statement: {0}")]
    Payload(#[from] CborError),
    /// The envelope names another credential or algorithm than the one it is checked against.
    #[error("signed by another credential")]
    Credential,
    /// The signature does not verify.
    #[error("signature does not verify")]
    Signature,
    /// The passkey's assertion does not count.
    #[error("the passkey's assertion does not count: {0}")]
    Assertion(#[from] AssertionFault),
}

/// What shows that a credential signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// A signature over the statement, of an Ed25519 or a P-256 key.
    Signature(CredentialSignature),
    /// A passkey's assertion over the statement's challenge.
    Assertion(Assertion),
}

/// One signature, with the credential that made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endorsement {
    /// The fingerprint of the credential.
    pub credential: CredentialId,
    /// The COSE algorithm number.
    pub algorithm: i8,
    /// The signature or assertion.
    pub proof: Proof,
}

impl Endorsement {
    fn make(tag: Tag, payload: &[u8], identity: &dyn Signs) -> Self {
        let public = identity.public();
        let (credential, algorithm) = (public.id(), public.cose_algorithm());
        let signed = sig_structure(tag, &protected(algorithm, credential), payload);
        Self {
            credential,
            algorithm,
            proof: Proof::Signature(identity.sign(&signed)),
        }
    }

    /// Signs the detached `payload` of a statement type with this tag.
    #[must_use]
    pub fn detached(tag: Tag, payload: &[u8], identity: &dyn Signs) -> Self {
        Self::make(tag, payload, identity)
    }

    /// What `passkey` asserted, to be added to the certificate whose challenge it was.
    #[must_use]
    pub fn asserted(passkey: &Passkey, assertion: Assertion) -> Self {
        let public = PublicCredential::Passkey(passkey.clone());
        Self {
            credential: public.id(),
            algorithm: public.cose_algorithm(),
            proof: Proof::Assertion(assertion),
        }
    }

    /// The signature itself; a passkey's is not over the statement.
    #[must_use]
    pub const fn signature(&self) -> &CredentialSignature {
        match &self.proof {
            Proof::Signature(signature) => signature,
            Proof::Assertion(assertion) => assertion.signature(),
        }
    }

    /// The `COSE_Sign1` bytes with a detached payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.write(&mut Encoder::new(&mut out), None);
        out
    }

    /// Reads a `COSE_Sign1` with a detached payload.
    ///
    /// # Errors
    /// When it is malformed or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StatementError> {
        match Self::read(&mut Decoder::new(bytes)) {
            Ok((read, None)) if read.to_bytes() == bytes => Ok(read),
            _ => Err(StatementError::Envelope),
        }
    }

    /// Checks the signature over the detached `payload` of a type with no challenge of its own.
    ///
    /// # Errors
    /// When another credential signed, or the signature does not verify.
    pub fn verify(
        &self,
        tag: Tag,
        payload: &[u8],
        by: &PublicCredential,
    ) -> Result<(), StatementError> {
        self.check(tag, payload, None, by)
    }

    fn check(
        &self,
        tag: Tag,
        payload: &[u8],
        challenge: Option<[u8; 32]>,
        by: &PublicCredential,
    ) -> Result<(), StatementError> {
        if self.credential != by.id() || self.algorithm != by.cose_algorithm() {
            return Err(StatementError::Credential);
        }
        let signed = sig_structure(tag, &protected(self.algorithm, self.credential), payload);
        match (&self.proof, by) {
            (Proof::Assertion(assertion), PublicCredential::Passkey(passkey)) => {
                let challenge = challenge.unwrap_or_else(|| Sha256::digest(&signed).into());
                Ok(assertion.verify(passkey, &challenge)?)
            }
            (Proof::Signature(signature), by) if by.verifies(&signed, signature) => Ok(()),
            _ => Err(StatementError::Signature),
        }
    }

    /// Writes the `COSE_Sign1` array; a detached payload is `nil`.
    fn write(&self, e: &mut Encoder<&mut Vec<u8>>, payload: Option<&[u8]>) {
        let header = protected(self.algorithm, self.credential);
        // Writing to a `Vec` cannot fail.
        let _ = (|| {
            e.array(4)?.bytes(&header)?;
            let signature = match &self.proof {
                Proof::Signature(signature) => {
                    e.map(0)?;
                    signature
                }
                Proof::Assertion(assertion) => {
                    e.map(1)?.str(ASSERTION_HEADER)?.array(2)?;
                    e.bytes(assertion.authenticator_data())?;
                    e.bytes(assertion.client_data())?;
                    assertion.signature()
                }
            };
            match payload {
                Some(payload) => e.bytes(payload)?,
                None => e.null()?,
            };
            e.bytes(signature)?.ok()
        })();
    }

    fn read<'b>(d: &mut Decoder<'b>) -> Result<(Self, Option<&'b [u8]>), minicbor::decode::Error> {
        let shape = || minicbor::decode::Error::message("not a COSE_Sign1");
        if d.array()? != Some(4) {
            return Err(shape());
        }
        let (algorithm, credential) = read_protected(d.bytes()?)?;
        let asserted = read_unprotected(d)?;
        let payload = if d.datatype()? == minicbor::data::Type::Null {
            d.null()?;
            None
        } else {
            Some(d.bytes()?)
        };
        let signature = d.bytes()?.try_into().map_err(|_| shape())?;
        let proof = match asserted {
            None => Proof::Signature(signature),
            Some((authenticator_data, client_data)) => {
                let whole =
                    Assertion::new(authenticator_data.to_vec(), client_data.to_vec(), signature);
                Proof::Assertion(whole.map_err(|_| shape())?)
            }
        };
        Ok((
            Self {
                credential,
                algorithm,
                proof,
            },
            payload,
        ))
    }
}

/// Authenticator data and client data, as an envelope carries them.
type AssertedData<'b> = (&'b [u8], &'b [u8]);

/// The unprotected header: `{}`, or `{"webauthn": [authenticator data, client data]}`.
fn read_unprotected<'b>(
    d: &mut Decoder<'b>,
) -> Result<Option<AssertedData<'b>>, minicbor::decode::Error> {
    let shape = || minicbor::decode::Error::message("unexpected unprotected header");
    match d.map()? {
        Some(0) => Ok(None),
        Some(1) if d.str()? == ASSERTION_HEADER && d.array()? == Some(2) => {
            Ok(Some((d.bytes()?, d.bytes()?)))
        }
        _ => Err(shape()),
    }
}

/// The protected header: `{1: algorithm, 4: key id}`.
fn protected(algorithm: i8, credential: CredentialId) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    let mut e = Encoder::new(&mut out);
    let _ = (|| {
        e.map(2)?
            .u8(1)?
            .i8(algorithm)?
            .u8(4)?
            .bytes(credential.as_bytes())?
            .ok()
    })();
    out
}

fn read_protected(bytes: &[u8]) -> Result<(i8, CredentialId), minicbor::decode::Error> {
    let shape = || minicbor::decode::Error::message("unexpected protected header");
    let mut d = Decoder::new(bytes);
    if d.map()? != Some(2) || d.u8()? != 1 {
        return Err(shape());
    }
    let algorithm = d.i8()?;
    if d.u8()? != 4 {
        return Err(shape());
    }
    let credential = CredentialId(d.bytes()?.try_into().map_err(|_| shape())?);
    if d.position() == bytes.len() {
        Ok((algorithm, credential))
    } else {
        Err(shape())
    }
}

/// What is signed: `["Signature1", protected, external aad, payload]` (RFC 9052, section 4.4).
fn sig_structure(tag: Tag, protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 96);
    let mut e = Encoder::new(&mut out);
    let _ = (|| {
        e.array(4)?
            .str("Signature1")?
            .bytes(protected)?
            .bytes(tag.text().as_bytes())?;
        e.bytes(payload)?.ok()
    })();
    out
}

/// What `passkey` has to sign for `value`, whose encoding is `payload`.
fn challenge<T: Statement>(value: &T, payload: &[u8], passkey: &Passkey) -> [u8; 32] {
    value.challenge().unwrap_or_else(|| {
        let public = PublicCredential::Passkey(passkey.clone());
        let header = protected(public.cose_algorithm(), public.id());
        Sha256::digest(sig_structure(T::TAG, &header, payload)).into()
    })
}

/// A statement with one signature whose signer has not been checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    value: T,
    payload: Vec<u8>,
    endorsement: Endorsement,
}

impl<T: Statement> Signed<T> {
    /// Signs `value`.
    pub fn sign(value: T, identity: &dyn Signs) -> Self {
        let payload = cbor::encode(&value);
        let endorsement = Endorsement::make(T::TAG, &payload, identity);
        Self {
            value,
            payload,
            endorsement,
        }
    }

    /// The challenge over which `passkey` has to sign `value`.
    pub fn challenge(value: &T, passkey: &Passkey) -> [u8; 32] {
        challenge(value, &cbor::encode(value), passkey)
    }

    /// `value` with what `passkey` asserted over [its challenge](Self::challenge), unchecked.
    pub fn asserted(value: T, passkey: &Passkey, assertion: Assertion) -> Self {
        Self {
            payload: cbor::encode(&value),
            value,
            endorsement: Endorsement::asserted(passkey, assertion),
        }
    }

    /// The `COSE_Sign1` bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 128);
        self.endorsement
            .write(&mut Encoder::new(&mut out), Some(&self.payload));
        out
    }

    /// Reads the envelope and the statement, without checking the signature.
    ///
    /// # Errors
    /// When the envelope or the statement is malformed, not canonical, or over its size limit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StatementError> {
        if bytes.len() > T::BYTES_MAX.saturating_add(ENVELOPE_BYTES_MAX) {
            return Err(StatementError::Envelope);
        }
        let (endorsement, payload) =
            Endorsement::read(&mut Decoder::new(bytes)).map_err(|_| StatementError::Envelope)?;
        let payload = payload.ok_or(StatementError::Envelope)?.to_vec();
        let value = cbor::decode(&payload, T::BYTES_MAX)?;
        let read = Self {
            value,
            payload,
            endorsement,
        };
        if read.to_bytes() == bytes {
            Ok(read)
        } else {
            Err(StatementError::Envelope)
        }
    }

    /// The credential that the envelope claims to be signed by.
    #[must_use]
    pub fn credential(&self) -> CredentialId {
        self.endorsement.credential
    }

    /// The statement, whose signature nobody has checked.
    #[must_use]
    pub fn unverified(&self) -> &T {
        &self.value
    }

    /// The statement, once its signature verifies under `by`.
    ///
    /// # Errors
    /// When another credential signed, or the signature does not verify.
    pub fn verify(&self, by: &PublicCredential) -> Result<&T, StatementError> {
        let challenge = self.value.challenge();
        self.endorsement
            .check(T::TAG, &self.payload, challenge, by)?;
        Ok(&self.value)
    }
}

/// A statement with several detached signatures, such as a charter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate<T> {
    value: T,
    payload: Vec<u8>,
    endorsements: Vec<Endorsement>,
}

impl<T: Statement> Certificate<T> {
    /// A certificate of `value` that nobody has signed yet.
    pub fn unsigned(value: T) -> Self {
        let payload = cbor::encode(&value);
        Self {
            value,
            payload,
            endorsements: Vec::new(),
        }
    }

    /// Adds the signature of `identity`, replacing an earlier one of the same credential.
    pub fn endorse(&mut self, identity: &dyn Signs) {
        self.add(Endorsement::make(T::TAG, &self.payload, identity));
    }

    /// The challenge over which `passkey` has to sign.
    #[must_use]
    pub fn challenge(&self, passkey: &Passkey) -> [u8; 32] {
        challenge(&self.value, &self.payload, passkey)
    }

    /// Adds a signature made elsewhere.
    pub fn add(&mut self, endorsement: Endorsement) {
        self.endorsements
            .retain(|e| e.credential != endorsement.credential);
        self.endorsements.push(endorsement);
        self.endorsements.sort_unstable();
    }

    /// The canonical bytes of the statement, which is what is hashed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, none of which has been checked.
    #[must_use]
    pub fn endorsements(&self) -> &[Endorsement] {
        &self.endorsements
    }

    /// The statement, whose signatures nobody has checked.
    #[must_use]
    pub fn unverified(&self) -> &T {
        &self.value
    }

    /// Whether `by` signed.
    #[must_use]
    pub fn endorsed_by(&self, by: &PublicCredential) -> bool {
        let id = by.id();
        self.endorsements.iter().any(|e| {
            let challenge = self.value.challenge();
            e.credential == id && e.check(T::TAG, &self.payload, challenge, by).is_ok()
        })
    }

    /// `[payload, [COSE_Sign1 with detached payload, …]]`, signatures sorted by credential.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 128 * self.endorsements.len());
        let mut e = Encoder::new(&mut out);
        let _ = (|| {
            e.array(2)?
                .bytes(&self.payload)?
                .array(self.endorsements.len() as u64)?
                .ok()
        })();
        for endorsement in &self.endorsements {
            endorsement.write(&mut e, None);
        }
        out
    }

    /// Reads the certificate without checking its signatures.
    ///
    /// # Errors
    /// When it is malformed, not canonical, over its size limit, or has too many signatures.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StatementError> {
        let bytes_max = T::BYTES_MAX.saturating_add(ENVELOPE_BYTES_MAX * (SIGNATURES_MAX + 1));
        if bytes.len() > bytes_max {
            return Err(StatementError::Envelope);
        }
        let (payload, endorsements) =
            Self::read_parts(&mut Decoder::new(bytes)).map_err(|_| StatementError::Envelope)?;
        let value = cbor::decode(&payload, T::BYTES_MAX)?;
        let read = Self {
            value,
            payload,
            endorsements,
        };
        let sorted = read
            .endorsements
            .iter()
            .zip(read.endorsements.iter().skip(1))
            .all(|(a, b)| a.credential < b.credential);
        if sorted && read.to_bytes() == bytes {
            Ok(read)
        } else {
            Err(StatementError::Envelope)
        }
    }

    fn read_parts(
        d: &mut Decoder<'_>,
    ) -> Result<(Vec<u8>, Vec<Endorsement>), minicbor::decode::Error> {
        let shape = || minicbor::decode::Error::message("not a certificate");
        if d.array()? != Some(2) {
            return Err(shape());
        }
        let payload = d.bytes()?.to_vec();
        let count = d
            .array()?
            .filter(|n| *n <= SIGNATURES_MAX as u64)
            .ok_or_else(shape)?;
        let mut endorsements = Vec::new();
        for _ in 0..count {
            match Endorsement::read(d)? {
                (endorsement, None) => endorsements.push(endorsement),
                (_, Some(_)) => return Err(shape()),
            }
        }
        Ok((payload, endorsements))
    }
}

#[cfg(test)]
mod tests;
