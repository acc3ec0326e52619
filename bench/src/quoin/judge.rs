//! Warrants, made the only way there is: a charter judges a stamped request.
//!
//! Judging is no part of a protocol and is in no figure.

use super::cluster::Cluster;
use crate::plan::Size;
use anyhow::{Result, anyhow, bail};
use quoin_core::cbor::Version;
use quoin_core::stamp::Account;
use quoin_core::{
    ChainId, CharterNumber, CustodyMethod, KeyState, Payload, Purpose, RequestId, Signed,
    SigningIdentity, Stamp, TimeMs,
};
use quoin_policy::{
    Charter, Constitution, Judgement, KeyFacts, Ledger, NodeEntry, Principal, Request, Warrant,
};
use quoin_protocol::KeyShare;
use rand_core::OsRng;

const NOW: TimeMs = TimeMs(1_800_000_000_000);

/// The rules of the charter.
const POLICY: &str = "@id(\"texts\")\npermit (principal, action == Action::\"message\", resource);\n\
     @id(\"govern\")\npermit (principal in Role::\"governor\", action == \
     Action::\"change_charter\", resource);";

/// A charter that lets one principal sign texts.
pub struct Judge {
    constitution: Constitution,
    caller: SigningIdentity,
}

fn wrong(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("{error:?}")
}

impl Judge {
    /// The charter of a cluster.
    pub fn new(cluster: &Cluster, size: Size) -> Result<Self> {
        let caller = SigningIdentity::generate(&mut OsRng);
        let entry = |(index, credential): (&quoin_core::NodeIndex, &_)| NodeEntry {
            index: *index,
            credential: Clone::clone(credential),
            tls_key_hash: [index.get(); 32],
            operator: "bench".to_owned(),
            cloud: String::new(),
            region: String::new(),
        };
        let charter = Charter {
            version: Version,
            name: "bench".to_owned(),
            number: CharterNumber(0),
            cluster: None,
            previous: None,
            nodes: cluster.nodes.iter().map(entry).collect(),
            threshold: size.t,
            f_tol: 0,
            dangerous_disjoint_signers: false,
            gateways: Vec::new(),
            principals: vec![Principal {
                id: "bench".parse().map_err(wrong)?,
                roles: vec!["governor".parse().map_err(wrong)?],
                credentials: vec![caller.public()],
                expires: TimeMs(4_000_000_000_000),
                operator: None,
                granted_by: None,
            }],
            governor_quorum: 1,
            budgets: Vec::new(),
            assets: Vec::new(),
            book: Vec::new(),
            policies: POLICY.to_owned(),
            backup: None,
            facts: Vec::new(),
            keys: Vec::new(),
            cooling_off_ms: 0,
            payload_retention_days: None,
            recovery: None,
            dangerous_single_failure_domain: true,
        };
        Ok(Self {
            constitution: charter.check().map_err(wrong)?,
            caller,
        })
    }

    /// A warrant to sign `text` with the key of `share`.
    pub fn warrant(&self, share: &KeyShare, text: String) -> Result<Warrant> {
        let key = share.public.key;
        let payload = Payload::Text(text);
        let account = Account {
            chain: ChainId::Quoin,
            address: key.to_string().parse().map_err(wrong)?,
            path: quoin_core::DerivationPath::ROOT,
        };
        let stamp = Stamp {
            version: Version,
            cluster: self.constitution.cluster(),
            charter_number_floor: CharterNumber(0),
            charter_hash_floor: self.constitution.hash(),
            principal: "bench".parse().map_err(wrong)?,
            credential: self.caller.id(),
            custody: CustodyMethod::Mpc,
            key: Some(key),
            account: account.clone(),
            purpose: Purpose::Trading,
            payload_hash: payload.hash(),
            request_id: RequestId([1; 16]),
            not_after: NOW.plus(60_000),
        };
        let scheme = share.public.scheme;
        let facts = KeyFacts {
            id: key,
            name: share.public.name.clone(),
            purpose: Purpose::Trading,
            scheme,
            addresses: vec![account.address.clone()],
            threshold: share.public.threshold,
            holders: u8::try_from(share.public.public_shares.len())?,
            state: KeyState::Active,
        };
        let signed = Signed::sign(stamp, &self.caller);
        let request = Request {
            decoded: quoin_chain::decode(&payload, &account, scheme).map_err(wrong)?,
            stamp: self.constitution.verify_stamp(&signed).map_err(wrong)?,
            key: Some(&facts),
            approvals: &[],
            first_seen: NOW,
            now: NOW,
        };
        match self.constitution.judge(request, &mut Ledger::new()) {
            Judgement::Permitted(warrant) => Ok(warrant),
            other => bail!("refused: {other:?}"),
        }
    }
}
