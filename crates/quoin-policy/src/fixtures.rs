//! Shared fixtures of the unit tests: a small desk on a development chain.

use crate::budget::{Budget, Measure, Mode, Scope};
use crate::charter::{Asset, BookEntry, Charter, GatewayEntry, KeyGrant, NodeEntry, Principal};
use crate::constitution::Constitution;
use crate::judge::{Judgement, KeyFacts, Request};
use crate::ledger::Ledger;
use crate::{Approval, Denial, Pending, Warrant};
use quoin_chain::Decoded;
use quoin_core::cbor::Version;
use quoin_core::payload::CreateKey;
use quoin_core::stamp::Account;
use quoin_core::{
    Address, Amount, AssetId, Certificate, CharterNumber, CustodyMethod, IntentHash, KeyId,
    NodeIndex, Payload, Purpose, RequestId, Scheme, SecretBytes, Signed, SigningIdentity, Stamp,
    TimeMs,
};

pub(crate) const CHAIN: u64 = 31_337;
pub(crate) const NOW: TimeMs = TimeMs(1_700_000_000_000);
pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const ETHER: u128 = 1_000_000_000_000_000_000;
/// 21,000 gas at 10 gwei.
pub(crate) const FEE: u128 = 21_000 * 10_000_000_000;

pub(crate) fn identity(seed: u8) -> SigningIdentity {
    SigningIdentity::from_seed(&SecretBytes::take(&mut [seed; 32]))
}

/// The credential seed of a principal of [`charter`].
pub(crate) fn seed_of(principal: &str) -> u8 {
    match principal {
        "bot" => 21,
        "ann" => 22,
        "ben" => 23,
        "cid" => 24,
        _ => 25,
    }
}

pub(crate) fn native() -> AssetId {
    format!("eip155:{CHAIN}/native").parse().unwrap()
}

pub(crate) fn own_address() -> Address {
    Address::evm([0xaa; 20])
}

pub(crate) fn exchange() -> Address {
    Address::evm([0xee; 20])
}

pub(crate) fn stranger() -> Address {
    Address::evm([0x55; 20])
}

pub(crate) fn account() -> Account {
    Account {
        chain: format!("eip155:{CHAIN}").parse().unwrap(),
        address: own_address(),
        path: quoin_core::DerivationPath::ROOT,
    }
}

pub(crate) fn principal(id: &str, roles: &[&str]) -> Principal {
    Principal {
        id: id.parse().unwrap(),
        roles: roles.iter().map(|r| r.parse().unwrap()).collect(),
        credentials: vec![identity(seed_of(id)).public()],
        expires: NOW.plus(1000 * HOUR_MS),
        operator: None,
        granted_by: None,
    }
}

pub(crate) fn node(index: u8) -> NodeEntry {
    NodeEntry {
        index: NodeIndex::new(index).unwrap(),
        credential: identity(index).public(),
        tls_key_hash: [index; 32],
        operator: format!("operator {index}"),
        cloud: String::new(),
        region: String::new(),
    }
}

pub(crate) fn budget(id: &str, scope: Scope, measure: Measure, cap: u128) -> Budget {
    Budget {
        id: id.parse().unwrap(),
        scope,
        measure,
        cap: Amount::from(cap),
        window_ms: HOUR_MS,
        mode: Mode::Strict,
    }
}

/// 2 of 3, a bot, three people, ether, one exchange.
pub(crate) fn charter(policies: &str) -> Charter {
    Charter {
        version: Version,
        name: "desk".into(),
        number: CharterNumber(0),
        cluster: None,
        previous: None,
        nodes: (1..=3).map(node).collect(),
        threshold: 2,
        f_tol: 0,
        dangerous_disjoint_signers: false,
        gateways: vec![GatewayEntry {
            id: "gateway".parse().unwrap(),
            tls_key_hash: [0x60; 32],
        }],
        principals: vec![
            principal("bot", &["desk"]),
            principal("ann", &["governor", "treasury"]),
            principal("ben", &["governor", "treasury"]),
            principal("cid", &["treasury", "risk"]),
        ],
        governor_quorum: 2,
        budgets: Vec::new(),
        assets: vec![Asset {
            asset: native(),
            symbol: "ETH".into(),
            decimals: 18,
        }],
        book: vec![BookEntry {
            name: "exchange".parse().unwrap(),
            chain: account().chain,
            address: exchange(),
            assets: Vec::new(),
            kind: crate::BookKind::Counterparty,
        }],
        policies: format!("{policies}{GOVERN}"),
        backup: None,
        facts: Vec::new(),
        keys: vec![KeyGrant {
            key: "hot".parse().unwrap(),
            dangerous_digest_account: false,
        }],
        cooling_off_ms: 0,
        payload_retention_days: None,
        recovery: None,
        dangerous_single_failure_domain: true,
    }
}

/// Without this no charter is valid: nobody could ever change it.
pub(crate) const GOVERN: &str = r#"
@id("govern")
permit (principal in Role::"governor", action == Action::"change_charter", resource);
"#;

pub(crate) fn constitution(policies: &str) -> Constitution {
    charter(policies).check().unwrap()
}

/// As [`charter`], but the bot may read policies.
pub(crate) fn readable(policies: &str) -> Charter {
    let mut charter = charter(policies);
    let bot = charter
        .principals
        .iter_mut()
        .find(|p| p.id.as_str() == "bot");
    bot.unwrap().roles.push("policy-reader".parse().unwrap());
    charter
}

/// A certificate of the charter signed by these seeds.
pub(crate) fn certified(charter: Charter, seeds: &[u8]) -> Certificate<Charter> {
    let mut certificate = Certificate::unsigned(charter);
    seeds
        .iter()
        .for_each(|s| certificate.endorse(&identity(*s)));
    certificate
}

fn rlp_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes {
        [single] if *single < 0x80 => out.push(*single),
        _ => {
            rlp_header(out, 0x80, bytes.len());
            out.extend(bytes);
        }
    }
}

fn rlp_header(out: &mut Vec<u8>, base: u8, len: usize) {
    if len < 56 {
        out.push(base + u8::try_from(len).unwrap());
    } else {
        let len = len.to_be_bytes();
        let len: Vec<u8> = len.into_iter().skip_while(|b| *b == 0).collect();
        out.push(base + 55 + u8::try_from(len.len()).unwrap());
        out.extend(len);
    }
}

fn rlp_number(out: &mut Vec<u8>, number: Amount) {
    let bytes = number.to_be_bytes();
    let start = bytes.iter().position(|b| *b != 0).unwrap_or(32);
    rlp_bytes(out, &bytes[start..]);
}

/// An unsigned EIP-1559 transaction.
#[derive(Clone)]
pub(crate) struct Tx {
    pub(crate) nonce: u64,
    pub(crate) fee_per_gas: u64,
    pub(crate) to: Option<Address>,
    pub(crate) value: Amount,
    pub(crate) data: Vec<u8>,
}

impl Tx {
    pub(crate) fn pay(nonce: u64, to: &Address, value: u128) -> Self {
        Self {
            nonce,
            fee_per_gas: 10_000_000_000,
            to: Some(to.clone()),
            value: Amount::from(value),
            data: Vec::new(),
        }
    }

    pub(crate) fn payload(&self) -> Payload {
        let mut fields = Vec::new();
        for number in [CHAIN, self.nonce, 1, self.fee_per_gas, 21_000] {
            rlp_number(&mut fields, Amount::from(number));
        }
        let to = self.to.as_ref().map(|to| to.to_evm().unwrap());
        rlp_bytes(&mut fields, to.as_ref().map_or(&[], |to| to.as_slice()));
        rlp_number(&mut fields, self.value);
        rlp_bytes(&mut fields, &self.data);
        fields.push(0xc0);
        let mut out = vec![2];
        rlp_header(&mut out, 0xc0, fields.len());
        out.extend(fields);
        Payload::EvmTransaction(out)
    }
}

pub(crate) fn key_facts() -> KeyFacts {
    KeyFacts {
        id: KeyId([9; 16]),
        name: "hot".parse().unwrap(),
        purpose: Purpose::Trading,
        scheme: Scheme::Ecdsa,
        addresses: vec![own_address(), KeyId([9; 16]).to_string().parse().unwrap()],
        threshold: 2,
        holders: 3,
        state: quoin_core::KeyState::Active,
    }
}

/// A request of `bot` for the key `hot`, to be varied by tests.
pub(crate) struct Ask {
    pub(crate) payload: Payload,
    pub(crate) stamp: Stamp,
    pub(crate) key: Option<KeyFacts>,
    pub(crate) approvals: Vec<Signed<Approval>>,
    pub(crate) first_seen: TimeMs,
    pub(crate) now: TimeMs,
}

impl Ask {
    pub(crate) fn new(constitution: &Constitution, id: u64, payload: Payload) -> Self {
        let mut request_id = [0; 16];
        request_id[8..].copy_from_slice(&id.to_be_bytes());
        let stamp = Stamp {
            version: Version,
            cluster: constitution.cluster(),
            charter_number_floor: constitution.number(),
            charter_hash_floor: constitution.hash(),
            principal: "bot".parse().unwrap(),
            credential: identity(seed_of("bot")).id(),
            custody: CustodyMethod::Mpc,
            key: Some(key_facts().id),
            account: account(),
            purpose: Purpose::Trading,
            payload_hash: payload.hash(),
            request_id: RequestId(request_id),
            not_after: NOW.plus(100 * HOUR_MS),
        };
        Self {
            payload,
            stamp,
            key: Some(key_facts()),
            approvals: Vec::new(),
            first_seen: NOW,
            now: NOW,
        }
    }

    pub(crate) fn pay(constitution: &Constitution, id: u64, value: u128) -> Self {
        Self::new(constitution, id, Tx::pay(id, &exchange(), value).payload())
    }

    /// A request to make a key.
    pub(crate) fn create(constitution: &Constitution, id: u64) -> Self {
        let create = CreateKey {
            name: "cold".parse().unwrap(),
            scheme: Scheme::Ed25519,
            purpose: Purpose::Treasury,
        };
        let mut ask = Self::new(constitution, id, Payload::CreateKey(create));
        ask.stamp.account.chain = "quoin".parse().unwrap();
        ask.stamp.purpose = Purpose::Treasury;
        ask.stamp.key = None;
        ask.key = None;
        ask
    }

    pub(crate) fn at(mut self, now: TimeMs) -> Self {
        self.now = now;
        self
    }

    pub(crate) fn decoded(&self) -> Decoded {
        let scheme = self.key.as_ref().map_or(Scheme::Ecdsa, |k| k.scheme);
        quoin_chain::decode(&self.payload, &self.stamp.account, scheme).unwrap()
    }

    pub(crate) fn request<'a>(&'a self, conditions: crate::Conditions<'a>) -> Request<'a> {
        Request {
            decoded: self.decoded(),
            stamp: &self.stamp,
            key: self.key.as_ref(),
            approvals: &self.approvals,
            first_seen: self.first_seen,
            now: self.now,
            conditions,
        }
    }

    pub(crate) fn judge(&self, constitution: &Constitution, ledger: &mut Ledger) -> Judgement {
        let calm = crate::Calm::default();
        constitution.judge(self.request(calm.conditions()), ledger)
    }

    pub(crate) fn permitted(&self, constitution: &Constitution, ledger: &mut Ledger) -> Warrant {
        match self.judge(constitution, ledger) {
            Judgement::Permitted(warrant) => warrant,
            other => panic!("not permitted: {other:?}"),
        }
    }

    pub(crate) fn denied(&self, constitution: &Constitution, ledger: &mut Ledger) -> Denial {
        match self.judge(constitution, ledger) {
            Judgement::Denied(denial) => denial,
            other => panic!("not denied: {other:?}"),
        }
    }

    pub(crate) fn pending(&self, constitution: &Constitution) -> Pending {
        match self.judge(constitution, &mut Ledger::new()) {
            Judgement::Pending(pending) => pending,
            other => panic!("not pending: {other:?}"),
        }
    }

    /// The approval of a principal, to be varied by tests.
    pub(crate) fn approval(
        &self,
        constitution: &Constitution,
        principal: &str,
        intent_hash: IntentHash,
    ) -> Approval {
        Approval {
            version: Version,
            cluster: constitution.cluster(),
            intent_hash,
            principal: principal.parse().unwrap(),
            request_id: self.stamp.request_id,
            not_after: NOW.plus(HOUR_MS),
        }
    }

    pub(crate) fn approve(&mut self, constitution: &Constitution, principal: &str) {
        let intent_hash = self.pending(constitution).intent_hash;
        let approval = self.approval(constitution, principal, intent_hash);
        let signed = Signed::sign(approval, &identity(seed_of(principal)));
        self.approvals.push(signed);
    }
}

/// Permits every transfer of the bot.
pub(crate) const OPEN: &str = r#"
@id("open")
permit (principal == Principal::"bot", action == Action::"transfer", resource);
"#;
