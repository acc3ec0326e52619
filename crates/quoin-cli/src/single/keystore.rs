//! Web3 Secret Storage, version 3: one private key of secp256k1 under a password, as JSON.
//!
//! `dk = kdf(password)`; the key is encrypted by AES-128-CTR under the first half of `dk`, and
//! `mac = Keccak-256(dk[16..32] || ciphertext)` is checked before anything is decrypted.
//! Source: the Web3 Secret Storage Definition of ethereum.org.

use super::SingleFault;
use aes::Aes128;
use ctr::cipher::{KeyIvInit, StreamCipher};
use quoin_core::SecretBytes;
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sha3::{Digest, Keccak256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// The most memory that scrypt may be told to take: 1 GiB. Geth's standard takes 256 MiB.
const SCRYPT_BYTES_MAX: u64 = 1 << 30;
/// The most blocks of scrypt's work, over all lanes: 32 times Geth's standard.
const SCRYPT_WORK_MAX: u64 = 1 << 26;
/// The most iterations of PBKDF2; the definition's own example has 2^18.
const PBKDF2_ITERATIONS_MAX: u32 = 1 << 26;

/// How long a password guess takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strength {
    /// The base-2 logarithm of scrypt's cost.
    pub log_n: u8,
}

impl Strength {
    /// Geth's standard: about a second and 256 MiB.
    pub const STANDARD: Self = Self { log_n: 18 };
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Keystore {
    version: u8,
    id: String,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParams,
    mac: String,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum KdfParams {
    Scrypt {
        dklen: u8,
        n: u64,
        p: u32,
        r: u32,
        salt: String,
    },
    Pbkdf2 {
        c: u32,
        dklen: u8,
        prf: String,
        salt: String,
    },
}

/// Opens a keystore.
///
/// # Errors
/// When it is malformed, asks for more work than the limits here, or the password is wrong.
pub fn open(json: &str, password: &[u8]) -> Result<SecretBytes<32>, SingleFault> {
    let malformed = SingleFault::Malformed("not a keystore of version 3");
    let Ok(file) = serde_json::from_str::<Keystore>(json) else {
        return Err(malformed);
    };
    if file.version != 3 || file.crypto.cipher != "aes-128-ctr" {
        return Err(malformed);
    }
    let crypto = &file.crypto;
    let iv: [u8; 16] = bytes(&crypto.cipherparams.iv)?;
    let ciphertext: [u8; 32] = bytes(&crypto.ciphertext)?;
    let expected: [u8; 32] = bytes(&crypto.mac)?;
    let derived = derive(&crypto.kdf, &crypto.kdfparams, password)?;
    if !bool::from(mac(&derived, &ciphertext).ct_eq(&expected)) {
        return Err(SingleFault::WrongPassword);
    }
    let mut key = Zeroizing::new(ciphertext);
    crypt(&derived, &iv, key.as_mut_slice())?;
    let key = SecretBytes::take(&mut key);
    super::extended::public_of(&key)?;
    Ok(key)
}

/// Seals a key under a password, with scrypt.
///
/// # Errors
/// When the key is not one of secp256k1.
pub fn seal(
    key: &SecretBytes<32>,
    password: &[u8],
    strength: Strength,
    rng: &mut impl CryptoRngCore,
) -> Result<String, SingleFault> {
    let (mut salt, mut iv, mut id) = ([0u8; 32], [0u8; 16], [0u8; 16]);
    rng.fill_bytes(&mut salt);
    rng.fill_bytes(&mut iv);
    rng.fill_bytes(&mut id);
    let public = super::extended::public_of(key)?;
    let not_a_key = |_| SingleFault::NotAKey;
    let public = public
        .as_slice()
        .try_into()
        .map_err(|_| SingleFault::NotAKey)?;
    let address = quoin_chain::address::evm_address(public).map_err(not_a_key)?;
    let params = KdfParams::Scrypt {
        dklen: 32,
        n: 1 << strength.log_n.min(24),
        p: 1,
        r: 8,
        salt: hex::encode(salt),
    };
    let derived = derive("scrypt", &params, password)?;
    let mut ciphertext = Zeroizing::new(*key.expose());
    crypt(&derived, &iv, ciphertext.as_mut_slice())?;
    let file = Keystore {
        version: 3,
        id: uuid(id),
        address: Some(address.as_str().trim_start_matches("0x").to_owned()),
        crypto: Crypto {
            cipher: "aes-128-ctr".to_owned(),
            cipherparams: CipherParams {
                iv: hex::encode(iv),
            },
            ciphertext: hex::encode(*ciphertext),
            kdf: "scrypt".to_owned(),
            kdfparams: params,
            mac: hex::encode(mac(&derived, ciphertext.as_slice())),
        },
    };
    serde_json::to_string_pretty(&file)
        .map_err(|_| SingleFault::Malformed("the keystore cannot be written"))
}

/// The derived key of 32 bytes: half for the cipher, half for the mac.
fn derive(
    kdf: &str,
    params: &KdfParams,
    password: &[u8],
) -> Result<Zeroizing<[u8; 32]>, SingleFault> {
    let excessive = || SingleFault::Malformed("the keystore's key derivation is out of limits");
    let mut derived = Zeroizing::new([0u8; 32]);
    match (kdf, params) {
        (
            "scrypt",
            KdfParams::Scrypt {
                dklen: 32,
                n,
                p,
                r,
                salt,
            },
        ) => {
            let memory = n.saturating_mul(u64::from(*r)).saturating_mul(128);
            let work = n
                .saturating_mul(u64::from(*r))
                .saturating_mul(u64::from(*p));
            let small = memory <= SCRYPT_BYTES_MAX && work <= SCRYPT_WORK_MAX;
            if !n.is_power_of_two() || *n < 2 || !small {
                return Err(excessive());
            }
            let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| excessive())?;
            let params = scrypt::Params::new(log_n, *r, *p, 32).map_err(|_| excessive())?;
            let salt = hex::decode(salt).map_err(|_| excessive())?;
            scrypt::scrypt(password, &salt, &params, derived.as_mut_slice())
                .map_err(|_| excessive())?;
        }
        (
            "pbkdf2",
            KdfParams::Pbkdf2 {
                c,
                dklen: 32,
                prf,
                salt,
            },
        ) if prf == "hmac-sha256" => {
            if *c == 0 || *c > PBKDF2_ITERATIONS_MAX {
                return Err(excessive());
            }
            let salt = hex::decode(salt).map_err(|_| excessive())?;
            pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, *c, derived.as_mut_slice());
        }
        _ => {
            return Err(SingleFault::Malformed(
                "the keystore's key derivation is unknown",
            ));
        }
    }
    Ok(derived)
}

fn mac(derived: &[u8; 32], ciphertext: &[u8]) -> [u8; 32] {
    let (_, half) = derived.split_at(16);
    Keccak256::new()
        .chain_update(half)
        .chain_update(ciphertext)
        .finalize()
        .into()
}

fn crypt(derived: &[u8; 32], iv: &[u8; 16], data: &mut [u8]) -> Result<(), SingleFault> {
    let (half, _) = derived.split_at(16);
    let cipher = ctr::Ctr128BE::<Aes128>::new_from_slices(half, iv);
    let mut cipher = cipher.map_err(|_| SingleFault::Malformed("the cipher's key is malformed"))?;
    cipher.apply_keystream(data);
    Ok(())
}

/// A random id in the form of RFC 4122, version 4.
fn uuid(mut random: [u8; 16]) -> String {
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut random;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    let digits = hex::encode(random);
    let mut rest = digits.as_str();
    let mut parts = Vec::new();
    for length in [8, 4, 4, 4, 12] {
        let (part, left) = rest.split_at_checked(length).unwrap_or((rest, ""));
        parts.push(part);
        rest = left;
    }
    parts.join("-")
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], SingleFault> {
    let mut bytes = [0u8; N];
    let text = text.strip_prefix("0x").unwrap_or(text);
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| SingleFault::Malformed("a field of the keystore is not hex of its length"))?;
    Ok(bytes)
}
