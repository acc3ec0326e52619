//! What every command that talks to a cluster shares: the pinned charter, verified keys, stamped
//! requests and the patience to retry them.
//!
//! The gateway is convenience, never authority: charters, keys and signatures are verified here
//! against the genesis pinned in the data folder. A request keeps its id over every retry, so that
//! it is signed and charged once.

mod decision;
mod direct;
pub mod freezes;
pub mod keys;
pub mod proposals;
pub mod standing;
mod wire;

use crate::clock;
use crate::failure::Failure;
use crate::folder::{ClusterFile, Folder};
pub use direct::{Delivery, Statement};
use keys::VerifiedKey;
use quoin_chain::Decoded;
use quoin_core::cbor::{self, Version};
use quoin_core::stamp::Account;
use quoin_core::{
    CustodyMethod, KeyId, Payload, PrincipalId, Purpose, RequestId, Signed, SigningIdentity, Stamp,
};
use quoin_policy::{Constitution, verify_successor};
use std::time::{Duration, Instant};
pub use wire::{
    Answer, ChangedAnswer, CharterReport, Gateway, PendingAsk, Refused, SignedAnswer, http_client,
};

/// How long a stamp is good for: long enough for approvals of the same hour.
pub const STAMP_LIFE_MS: u64 = 60 * 60 * 1000;
/// How long one request is retried while the cluster says that it cannot sign now.
pub const RETRY_LIMIT: Duration = Duration::from_secs(30);
/// How long a gateway is waited for where one can do without it.
const FOLLOW_LIMIT: Duration = Duration::from_secs(2);
/// The first pause between two tries; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A data folder, its verified charter and its gateway.
#[derive(Debug)]
pub struct Session {
    folder: Folder,
    file: ClusterFile,
    constitution: Constitution,
    gateway: Gateway,
}

/// A request as it travels, and what it means.
#[derive(Debug)]
pub struct Stamped {
    /// The stamp.
    pub stamp: Signed<Stamp>,
    /// The payload.
    pub payload: Payload,
    /// What the payload means, decoded here.
    pub decoded: Decoded,
}

impl Stamped {
    /// The request's id.
    pub fn request_id(&self) -> RequestId {
        self.stamp.unverified().request_id
    }

    /// The payload's canonical bytes.
    pub fn payload_bytes(&self) -> Vec<u8> {
        cbor::encode(&self.payload)
    }
}

/// Who asks, and under which request id.
#[derive(Debug)]
pub struct Asker<'a> {
    /// The principal.
    pub principal: &'a PrincipalId,
    /// Its credential.
    pub identity: &'a SigningIdentity,
    /// The request's id.
    pub request_id: RequestId,
}

/// What is asked for beside the payload.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The key; none when the request makes one.
    pub key: Option<KeyId>,
    /// The account that the payload speaks for.
    pub account: Account,
    /// The key's purpose.
    pub purpose: Purpose,
    /// The key's scheme.
    pub scheme: quoin_core::Scheme,
    /// How the signature shall be made.
    pub custody: CustodyMethod,
}

impl Session {
    /// Opens the data folder and catches up with the charter in force.
    pub async fn open(folder: &Folder) -> Result<Self, Failure> {
        let mut session = Self::unasked(folder)?;
        session.follow_charter().await?;
        Ok(session)
    }

    /// Opens the data folder without asking anybody: for what must not wait for a gateway. The newest
    /// charter that was verified here counts.
    pub fn unasked(folder: &Folder) -> Result<Self, Failure> {
        let file = folder.cluster()?;
        Ok(Self {
            gateway: Gateway::new(&file.gateway)?,
            constitution: folder.constitution()?,
            folder: folder.clone(),
            file,
        })
    }

    /// Opens the data folder and catches up with the charter in force when the gateway answers soon;
    /// without that, the newest charter that was verified here counts.
    pub async fn open_if_asked(folder: &Folder) -> Result<Self, Failure> {
        let mut session = Self::unasked(folder)?;
        let followed = tokio::time::timeout(FOLLOW_LIMIT, session.follow_charter()).await;
        let why = match followed {
            Ok(Ok(())) => return Ok(session),
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => format!("no answer within {} s", FOLLOW_LIMIT.as_secs()),
        };
        crate::say::progress(format!(
            "the gateway does not show its charter, so the newest one known here counts ({why})"
        ));
        Ok(session)
    }

    /// The pin.
    pub const fn file(&self) -> &ClusterFile {
        &self.file
    }

    /// The folder.
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The charter in force, verified from the genesis on.
    pub const fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    /// The gateway.
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Takes over the gateway's charter when it follows the newest one that is known here.
    pub async fn follow_charter(&mut self) -> Result<(), Failure> {
        let certificate = self.gateway.charter().await?;
        let offered = certificate.unverified();
        let (known, number) = (self.constitution.number(), offered.number);
        if number < known || (number == known && offered.hash() == self.constitution.hash()) {
            return Ok(());
        }
        let unfit = |why: String| {
            Failure::new("the gateway's charter does not follow from the pinned genesis")
                .because(why)
                .next("fetch the charters in between from a governor into `charters/` here")
        };
        if number.0 != known.0.saturating_add(1) {
            return Err(unfit(format!(
                "it has number {}, and the newest known here is {}",
                number.0, known.0
            )));
        }
        let next = verify_successor(&self.constitution, &certificate, clock::now())
            .map_err(|e| unfit(e.to_string()))?;
        self.folder.save_charter(&certificate)?;
        self.constitution = next;
        Ok(())
    }

    /// All keys, each verified.
    pub async fn keys(&self) -> Result<Vec<VerifiedKey>, Failure> {
        let chain_id = self.file.chain_id;
        let mut keys = Vec::new();
        for listed in self.gateway.keys().await? {
            let (bytes, charter) = (&listed.certificate, &self.constitution);
            let key = VerifiedKey::from_certificate(bytes, charter, chain_id)?;
            keys.push(key.with_statements(&listed.statements, charter)?);
        }
        keys.sort_by(|a, b| a.public().name.cmp(&b.public().name));
        Ok(keys)
    }

    /// The key with this name, verified.
    pub async fn key(&self, name: &str) -> Result<VerifiedKey, Failure> {
        let keys = self.keys().await?;
        let names: Vec<String> = keys
            .iter()
            .map(|k| format!("`{}`", k.public().name))
            .collect();
        let mut found = keys
            .into_iter()
            .filter(|k| k.public().name.as_str() == name);
        let first = found.next();
        // A key whose making was given up, and whose certificate appeared after all, may share its
        // name with the key that was made instead.
        let others: Vec<String> = found.map(|k| k.public().key.to_string()).collect();
        if let Some(key) = first.as_ref().filter(|_| !others.is_empty()) {
            let ids = format!("{}, {}", key.public().key, others.join(", "));
            let failure = Failure::new(format!("more than one key is named `{name}`"));
            return Err(failure
                .because(format!("the keys with this name are {ids}"))
                .next("retire those that are not meant; a retired key signs nothing"));
        }
        first.ok_or_else(|| {
            Failure::new(format!("there is no key `{name}`"))
                .because(format!(
                    "the cluster's keys are {}",
                    or_none(&names.join(", "))
                ))
                .next(format!(
                    "`quoin key create {name} --scheme ecdsa --purpose trading`"
                ))
        })
    }

    /// Decodes and stamps a payload.
    pub fn stamp(
        &self,
        asker: &Asker<'_>,
        subject: &Subject,
        payload: Payload,
    ) -> Result<Stamped, Failure> {
        let decoded = quoin_chain::decode(&payload, &subject.account, subject.scheme)
            .map_err(Failure::from_error("the payload cannot be signed"))?;
        let stamp = Stamp {
            version: Version,
            cluster: self.constitution.cluster(),
            charter_number_floor: self.constitution.number(),
            charter_hash_floor: self.constitution.hash(),
            principal: asker.principal.clone(),
            credential: asker.identity.id(),
            custody: subject.custody,
            key: subject.key,
            account: subject.account.clone(),
            purpose: subject.purpose,
            payload_hash: payload.hash(),
            request_id: asker.request_id,
            not_after: clock::now().plus(STAMP_LIFE_MS),
        };
        Ok(Stamped {
            stamp: Signed::sign(stamp, asker.identity),
            payload,
            decoded,
        })
    }

    /// Asks, and asks again under the same id while the cluster cannot answer.
    pub async fn ask(&self, request: &Stamped) -> Result<Answer, Failure> {
        let (stamp, payload) = (request.stamp.to_bytes(), request.payload_bytes());
        self.gateway
            .ask_patiently(&stamp, &payload, RETRY_LIMIT)
            .await
    }
}

impl Subject {
    /// A verified key on a chain.
    pub fn of_key(key: &VerifiedKey, chain: quoin_core::ChainId) -> Result<Self, Failure> {
        Self::of_child(key, chain, &quoin_core::DerivationPath::ROOT)
    }

    /// A verified key's child at `path` on a chain.
    pub fn of_child(
        key: &VerifiedKey,
        chain: quoin_core::ChainId,
        path: &quoin_core::DerivationPath,
    ) -> Result<Self, Failure> {
        let public = key.public();
        Ok(Self {
            key: Some(public.key),
            account: key.account_at(chain, path)?,
            purpose: public.purpose,
            scheme: public.scheme,
            custody: key.custody(),
        })
    }
}

/// Pauses that double, until a limit of time.
#[derive(Debug)]
pub struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    /// Patience for this long.
    pub fn of(limit: Duration) -> Self {
        Self {
            until: Instant::now() + limit,
            pause: PAUSE_MIN,
        }
    }

    /// Pauses; false once patience has run out.
    pub async fn pause(&mut self) -> bool {
        if Instant::now() + self.pause > self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
