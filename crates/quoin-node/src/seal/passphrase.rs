//! A master key under a passphrase: where the passphrase comes from, and how it is stretched.

use super::SealError;
use super::envelope::{decrypt, encrypt, fill, nonce};
use argon2::{Algorithm, Argon2, Block, Params, Version as Argon2Version};
use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::{SecretBytes, tags};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// The shortest passphrase that is taken for a new key. Stretching slows guessing down, it does
/// not replace length.
pub const PASSPHRASE_BYTES_MIN: usize = 12;

/// The longest; more is a wrong file.
const PASSPHRASE_BYTES_MAX: usize = 1024;

/// Header bytes: fixed fields and one wrapped key.
const HEADER_BYTES_MAX: usize = 512;

const SALT_BYTES: usize = 16;

/// Where a passphrase comes from. Never from the command line or the environment: both can be read
/// by other processes.
pub enum PassphraseSource {
    /// A file, a named pipe, or `/dev/fd/N` for a file descriptor that the parent has opened. One
    /// line end at its end is not part of the passphrase.
    File(PathBuf),
    /// Already asked for, at a prompt.
    Given(Zeroizing<Vec<u8>>),
}

impl PassphraseSource {
    pub(super) fn read(&self) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let mut passphrase = match self {
            Self::File(path) => read_file(path)?,
            Self::Given(bytes) => bytes.clone(),
        };
        for end in [b'\n', b'\r'] {
            if passphrase.last() == Some(&end) {
                passphrase.pop();
            }
        }
        if passphrase.is_empty() || passphrase.len() > PASSPHRASE_BYTES_MAX {
            return Err(SealError::PassphraseLength {
                min: 1,
                max: PASSPHRASE_BYTES_MAX,
            });
        }
        Ok(passphrase)
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let name = path.display().to_string();
    let what = || format!("read passphrase file `{name}`");
    let file = std::fs::File::open(path).map_err(SealError::io(what()))?;
    let metadata = file.metadata().map_err(SealError::io(what()))?;
    // A pipe has the mode of whoever made it and cannot be read twice, so only files are judged.
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(SealError::OpenToOthers(name, metadata.mode() & 0o777));
    }
    // Room for everything at once, so that no half of it is left behind by a reallocation.
    let mut passphrase = Zeroizing::new(Vec::with_capacity(PASSPHRASE_BYTES_MAX + 64));
    file.take(PASSPHRASE_BYTES_MAX as u64 + 3)
        .read_to_end(&mut passphrase)
        .map_err(SealError::io(what()))?;
    Ok(passphrase)
}

/// What guessing one passphrase costs: Argon2id, version 1.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KdfParams {
    /// Memory in KiB.
    #[n(0)]
    pub memory_kib: u32,
    /// Passes over the memory.
    #[n(1)]
    pub passes: u32,
    /// Lanes.
    #[n(2)]
    pub lanes: u32,
}

impl KdfParams {
    /// 64 MiB and three passes: the second recommended choice of RFC 9106, section 4, with one lane
    /// because a node opens its key alone and once. It takes about a fifth of a second here.
    pub const PRODUCTION: Self = Self {
        memory_kib: 64 << 10,
        passes: 3,
        lanes: 1,
    };

    /// A header asking for more would let whoever can write it stop the node's start.
    const MAX: Self = Self {
        memory_kib: 2 << 20,
        passes: 16,
        lanes: 8,
    };

    /// Costs below production are refused as well: a header could be exchanged for a weaker one
    /// before a passphrase is changed.
    fn check(self) -> Result<(), SealError> {
        let (least, most) = (Self::PRODUCTION, Self::MAX);
        let ok = (least.memory_kib..=most.memory_kib).contains(&self.memory_kib)
            && (least.passes..=most.passes).contains(&self.passes)
            && (least.lanes..=most.lanes).contains(&self.lanes);
        if ok {
            return Ok(());
        }
        Err(SealError::CostsOutOfBounds {
            memory_kib: self.memory_kib,
            passes: self.passes,
        })
    }

    fn stretch(self, passphrase: &[u8], salt: &[u8]) -> Result<SecretBytes<32>, SealError> {
        let failed = |e: argon2::Error| SealError::Stretching(e.to_string());
        self.check()?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(failed)?;
        // Our own memory, because the library's would be freed without being overwritten.
        let mut memory = vec![Block::default(); params.block_count()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Argon2Version::V0x13, params);
        let mut key = Zeroizing::new([0u8; 32]);
        let done = argon2.hash_password_into_with_memory(
            passphrase,
            salt,
            key.as_mut_slice(),
            &mut memory,
        );
        memory.iter_mut().for_each(Zeroize::zeroize);
        done.map_err(failed)?;
        Ok(SecretBytes::take(&mut key))
    }
}

/// The header: everything but the passphrase.
#[derive(Encode, Decode)]
struct Header {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    params: KdfParams,
    #[cbor(n(2), with = "minicbor::bytes")]
    salt: [u8; SALT_BYTES],
    #[cbor(n(3), with = "minicbor::bytes")]
    nonce: [u8; 24],
    #[cbor(n(4), with = "minicbor::bytes")]
    wrapped_key: Vec<u8>,
    /// Over all of the above. It has no key and stops nobody; it tells a damaged file from a wrong
    /// passphrase.
    #[cbor(n(5), with = "minicbor::bytes")]
    checksum: [u8; 32],
}

impl Header {
    fn bound(&self) -> [u8; 32] {
        let params = cbor::encode(&self.params);
        tagged(tags::SEAL, &[b"master", &params, &self.salt])
    }

    fn sum(&self) -> [u8; 32] {
        let parts: [&[u8]; 4] = [b"header", &self.bound(), &self.nonce, &self.wrapped_key];
        tagged(tags::SEAL, &parts)
    }
}

/// Wraps `master` under a passphrase; returns the header's bytes.
pub(super) fn wrap(
    master: &SecretBytes<32>,
    params: KdfParams,
    passphrase: &[u8],
) -> Result<Vec<u8>, SealError> {
    if passphrase.len() < PASSPHRASE_BYTES_MIN {
        return Err(SealError::PassphraseLength {
            min: PASSPHRASE_BYTES_MIN,
            max: PASSPHRASE_BYTES_MAX,
        });
    }
    let mut salt = [0u8; SALT_BYTES];
    fill(&mut salt)?;
    let key = params.stretch(passphrase, &salt)?;
    let mut header = Header {
        version: Version,
        params,
        salt,
        nonce: nonce()?,
        wrapped_key: Vec::new(),
        checksum: [0; 32],
    };
    header.wrapped_key = encrypt(&key, &header.nonce, master.expose(), &header.bound())?;
    header.checksum = header.sum();
    Ok(cbor::encode(&header))
}

/// Opens a header; `name` is its file, for errors.
pub(super) fn unwrap(
    name: &str,
    bytes: &[u8],
    source: &PassphraseSource,
) -> Result<SecretBytes<32>, SealError> {
    let header: Header = cbor::decode(bytes, HEADER_BYTES_MAX)
        .map_err(|_| SealError::NotAMasterKey(name.to_owned()))?;
    if header.sum() != header.checksum {
        return Err(SealError::MasterKeyDamaged(name.to_owned()));
    }
    // Before the passphrase is asked for: a header that cannot be used should not cost one.
    header.params.check()?;
    let passphrase = source.read()?;
    let key = header.params.stretch(&passphrase, &header.salt)?;
    let master = decrypt(&key, &header.nonce, &header.wrapped_key, &header.bound())
        .ok_or_else(|| SealError::WrongPassphrase(name.to_owned()))?;
    let mut raw = Zeroizing::new([0u8; 32]);
    let whole = master.first_chunk::<32>().filter(|_| master.len() == 32);
    raw.copy_from_slice(whole.ok_or_else(|| SealError::MasterKeyDamaged(name.to_owned()))?);
    Ok(SecretBytes::take(&mut raw))
}
