//! A trial: cases judged by a charter, with the engine of the nodes and nothing else:
//! [`quoin_policy::Constitution::judge`].
//!
//! Who stamps and who approves needs a credential, and nobody has those of other people. So every
//! principal of the charter gets another one here, whose seed everybody can compute: decisions depend
//! on whose credential it is, and not on its bytes.

use super::cases::{Case, Found, KeyForm, Place};
use super::payloads::Maker;
use crate::failure::Failure;
use quoin_chain::Decoded;
use quoin_core::cbor::Version;
use quoin_core::stamp::Account;
use quoin_core::{
    Address, CharterHash, CustodyMethod, FreezeId, KeyId, KeyName, Payload, PrincipalId, Purpose,
    RequestId, Scheme, SecretBytes, Signed, SigningIdentity, Stamp, TimeMs,
};
use quoin_policy::{
    Approval, Charter, Conditions, Constitution, FactStatement, FactStore, Freeze, FreezeSet,
    Judgement, KeyFacts, Ledger, Notices, Request, SetStanding, Subject,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// How long the stamp of a case is good for.
const STAMP_MS: u64 = 60 * 60 * 1000;

/// A charter under test: as it is, but that everybody's credential can be used here.
#[derive(Debug)]
pub struct Trial {
    constitution: Constitution,
    identities: BTreeMap<PrincipalId, SigningIdentity>,
}

/// A case as a node would have it before it.
#[derive(Debug)]
pub struct Prepared {
    place: Place,
    payload: Payload,
    stamp: Stamp,
    key: Option<KeyFacts>,
    approvals: Vec<PrincipalId>,
    first_seen: TimeMs,
    now: TimeMs,
    freezes: FreezeSet,
    facts: FactStore,
    notices: Notices,
    lease: bool,
    clock: bool,
}

impl Prepared {
    fn decoded(&self) -> Result<Decoded, Failure> {
        let scheme = self.key.as_ref().map_or(Scheme::Ecdsa, |k| k.scheme);
        let decoded = quoin_chain::decode(&self.payload, &self.stamp.account, scheme);
        decoded.map_err(|e| self.place.fault("payload", e))
    }

    /// The request, with these approvals.
    pub fn request<'a>(
        &'a self,
        approvals: &'a [Signed<Approval>],
    ) -> Result<Request<'a>, Failure> {
        Ok(Request {
            decoded: self.decoded()?,
            stamp: &self.stamp,
            key: self.key.as_ref(),
            approvals,
            first_seen: self.first_seen,
            now: self.now,
            conditions: Conditions {
                freezes: &self.freezes,
                facts: &self.facts,
                notices: &self.notices,
                lease: self.lease,
                clock: self.clock,
                set: SetStanding::Moving,
            },
        })
    }
}

impl Trial {
    /// The charter with credentials that everybody has.
    pub fn of(charter: &Charter) -> Result<Self, Failure> {
        let mut charter = charter.clone();
        let mut identities = BTreeMap::new();
        for principal in &mut charter.principals {
            let mut seed = made_up("principal", principal.id.as_str());
            let identity = SigningIdentity::from_seed(&SecretBytes::take(&mut seed));
            principal.credentials = vec![identity.public()];
            identities.insert(principal.id.clone(), identity);
        }
        let checked = charter.check();
        Ok(Self {
            constitution: checked
                .map_err(Failure::from_error("the charter does not hold together"))?,
            identities,
        })
    }

    /// The charter as it is judged by.
    pub const fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    /// The case as a node would have it before it.
    pub fn prepare(&self, case: &Case) -> Result<Prepared, Failure> {
        let key = case
            .key
            .as_ref()
            .map(|key| self.key_facts(key, case.custody));
        let own = key.as_ref().and_then(|k| k.addresses.first());
        let maker = Maker {
            charter: self.constitution.charter(),
            chain: case.chain.as_ref(),
            own,
            key: key.as_ref().map(|k| k.id),
            nonce: case.nonce,
            place: &case.place,
        };
        let (payload, chain, address) = maker.make(&case.payload)?;
        let account = Account {
            chain,
            address,
            path: case.path.clone(),
        };
        let about_key = !matches!(
            payload,
            Payload::CreateKey(_) | Payload::ChangeNode(_) | Payload::Unfreeze(_)
        );
        if about_key && key.is_none() {
            return Err(case.place.fault("key", "it is missing"));
        }
        let purpose = match (&payload, &key) {
            (Payload::CreateKey(create), _) => create.purpose,
            (_, Some(key)) => key.purpose,
            (_, None) => Purpose::Treasury,
        };
        let mut key = key.filter(|_| about_key);
        if let Some(key) = &mut key
            && !key.addresses.contains(&account.address)
        {
            // On Quoin a key's account is its id.
            key.addresses.push(account.address.clone());
        }
        let stamp = self.stamp(case, &payload, account, purpose, key.as_ref())?;
        let request = Subject::Request(stamp.request_id);
        Ok(Prepared {
            facts: self.facts(case)?,
            freezes: self.freezes(case)?,
            notices: self.notices(case, request)?,
            place: case.place.clone(),
            approvals: case.approvals.clone(),
            first_seen: TimeMs(case.time.0.saturating_sub(ms(case.first_seen_s))),
            now: case.time,
            lease: case.lease,
            clock: case.clock,
            payload,
            stamp,
            key,
        })
    }

    /// What the charter says, with `ledger` as it is and as it becomes.
    pub fn judge(&self, prepared: &Prepared, ledger: &mut Ledger) -> Result<Found, Failure> {
        let approvals = self.approvals(prepared)?;
        let request = prepared.request(&approvals)?;
        Ok(Found::of(self.constitution.judge(request, ledger)))
    }

    /// The approvals of a case, of what the policies that permit it make of it.
    pub fn approvals(&self, prepared: &Prepared) -> Result<Vec<Signed<Approval>>, Failure> {
        let mut signed = Vec::new();
        if prepared.approvals.is_empty() {
            return Ok(signed);
        }
        let request = prepared.request(&[])?;
        let judged = self.constitution.judge(request, &mut Ledger::new());
        let Judgement::Pending(pending) = judged else {
            return Ok(signed);
        };
        for principal in &prepared.approvals {
            let approval = Approval {
                version: Version,
                cluster: prepared.stamp.cluster,
                intent_hash: pending.intent_hash,
                principal: principal.clone(),
                request_id: prepared.stamp.request_id,
                not_after: prepared.stamp.not_after,
            };
            let identity = self.identity(principal, "approvals", &prepared.place)?;
            signed.push(Signed::sign(approval, identity));
        }
        Ok(signed)
    }

    fn identity(
        &self,
        id: &PrincipalId,
        field: &str,
        place: &Place,
    ) -> Result<&SigningIdentity, Failure> {
        let found = self.identities.get(id);
        found.ok_or_else(|| place.fault(field, format!("the charter does not know `{id}`")))
    }

    fn key_facts(&self, key: &KeyForm, custody: CustodyMethod) -> KeyFacts {
        let charter = self.constitution.charter();
        // A local key is whole on every node, and one of them serves it.
        let (threshold, holders) = match custody {
            CustodyMethod::Local => (1, 1),
            CustodyMethod::Mpc => (charter.threshold, charter.nodes.len()),
        };
        let made_up = || Address::evm(short(&made_up("account", key.name.as_str())));
        KeyFacts {
            id: KeyId(short(&made_up_key(&key.name))),
            name: key.name.clone(),
            purpose: key.purpose,
            scheme: key.scheme,
            addresses: vec![key.address.clone().unwrap_or_else(made_up)],
            threshold,
            holders: u8::try_from(holders).unwrap_or(u8::MAX),
            state: key.state,
        }
    }

    fn stamp(
        &self,
        case: &Case,
        payload: &Payload,
        account: Account,
        purpose: Purpose,
        key: Option<&KeyFacts>,
    ) -> Result<Stamp, Failure> {
        // A principal that the charter does not know is a case too.
        let known = self.identities.get(&case.principal);
        let mut seed = made_up("principal", case.principal.as_str());
        let stranger = SigningIdentity::from_seed(&SecretBytes::take(&mut seed));
        let (number, hash): (_, CharterHash) =
            (self.constitution.number(), self.constitution.hash());
        Ok(Stamp {
            version: Version,
            cluster: self.constitution.cluster(),
            charter_number_floor: number,
            charter_hash_floor: hash,
            principal: case.principal.clone(),
            credential: known.unwrap_or(&stranger).id(),
            custody: case.custody,
            key: key.map(|k| k.id),
            account,
            purpose,
            payload_hash: payload.hash(),
            request_id: RequestId(short(&made_up("request", &case.name))),
            not_after: case.time.plus(STAMP_MS),
        })
    }

    fn facts(&self, case: &Case) -> Result<FactStore, Failure> {
        let mut store = FactStore::default();
        for (seq, said) in (1u64..).zip(&case.facts) {
            let statement = FactStatement {
                version: Version,
                cluster: self.constitution.cluster(),
                feed: said.feed.clone(),
                seq,
                at: TimeMs(case.time.0.saturating_sub(ms(said.age_s))),
                facts: said.says.clone(),
            };
            let taken = store.accept(&self.constitution, statement, case.time);
            taken.map_err(|e| case.place.fault("facts", e))?;
        }
        Ok(store)
    }

    fn freezes(&self, case: &Case) -> Result<FreezeSet, Failure> {
        let mut set = FreezeSet::default();
        for (number, form) in (0u64..).zip(&case.freezes) {
            let id = made_up("freeze", &format!("{}/{number}", case.name));
            let freeze = Freeze {
                version: Version,
                cluster: self.constitution.cluster(),
                id: FreezeId(short(&id)),
                principal: form.by.clone(),
                scope: form.scope.clone(),
                level: form.level,
                at: case.time,
                reason: "a case".to_owned(),
            };
            let identity = self.identity(&form.by, "freezes", &case.place)?;
            let signed = Signed::sign(freeze, identity);
            let taken = self.constitution.accept_freeze(&signed, &set, case.time);
            let freeze = taken.map_err(|e| case.place.fault("freezes", e))?.clone();
            set.insert(freeze);
        }
        Ok(set)
    }

    fn notices(&self, case: &Case, subject: Subject) -> Result<Notices, Failure> {
        let mut notices = Notices::default();
        for id in &case.vetoes {
            self.identity(id, "vetoes", &case.place)?;
            let known = self.constitution.principal(id);
            let roles = known.into_iter().flat_map(|p| p.roles.iter().cloned());
            notices.veto(subject, id.clone(), roles);
        }
        for receipt in &case.receipts {
            self.identity(&receipt.by, "receipts", &case.place)?;
            let seen = TimeMs(case.time.0.saturating_sub(ms(receipt.age_s)));
            notices.receipt(subject, receipt.by.clone(), seen);
        }
        Ok(notices)
    }
}

const fn ms(seconds: u64) -> u64 {
    seconds.saturating_mul(1000)
}

/// Bytes that belong to a name, and that anybody can compute.
fn made_up(kind: &str, name: &str) -> [u8; 32] {
    let text = format!("quoin policy case\n{kind}\n{name}");
    Sha256::digest(text.as_bytes()).into()
}

fn made_up_key(name: &KeyName) -> [u8; 32] {
    made_up("key", name.as_str())
}

/// The first bytes.
fn short<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut out = [0u8; N];
    out.iter_mut().zip(bytes).for_each(|(o, b)| *o = *b);
    out
}
