//! Cases: requests as people write them down, with what they expect a charter to say of them.
//!
//! The form is described in `docs/policy.md`; [`super::trial`] judges them.

use super::payloads::PayloadForm;
use crate::clock;
use crate::failure::Failure;
use quoin_core::{
    Address, ChainId, CustodyMethod, DerivationPath, KeyName, KeyState, PrincipalId, Purpose,
    Scheme, TimeMs,
};
use quoin_policy::{DenialReason, Fact, FreezeLevel, FreezeScope, Judgement, Unmet};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The fields of a case, for whoever misspells one.
const FIELDS: &str = "`name`, `note`, `principal`, `key`, `custody`, `path`, `chain`, `payload`, \
                      `nonce`, `approvals`, `facts`, `time`, `first_seen_s`, `freezes`, `vetoes`, \
                      `receipts`, `lease`, `clock`, `after`, `expect`, `rules`, `reason`";

/// What a charter says, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// It is signed.
    Permit,
    /// It is, once something else has happened.
    Pending,
    /// It is refused.
    Deny,
}

impl Decision {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Pending => "pending",
            Self::Deny => "deny",
        }
    }
}

/// What somebody expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// The decision.
    #[serde(rename = "expect")]
    pub decision: Decision,
    /// All rules that decide, in any order; nothing is expected of them when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<BTreeSet<String>>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DenialReason>,
}

/// What a charter says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The decision.
    #[serde(rename = "decision")]
    pub decision: Decision,
    /// The rules that decide.
    pub rules: BTreeSet<String>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DenialReason>,
    /// What has to happen first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<Unmet>,
    /// In words.
    pub message: String,
}

impl Found {
    /// What a judgement comes to.
    pub fn of(judgement: Judgement) -> Self {
        let named = |rules: &[quoin_core::RuleId]| rules.iter().map(ToString::to_string).collect();
        match judgement {
            Judgement::Permitted(warrant) => Self {
                decision: Decision::Permit,
                rules: named(warrant.rules()),
                reason: None,
                unmet: Vec::new(),
                message: String::new(),
            },
            Judgement::Pending(pending) => Self {
                decision: Decision::Pending,
                rules: named(&pending.rules),
                reason: None,
                unmet: pending.unmet,
                message: pending.summary,
            },
            Judgement::Denied(denial) => Self {
                decision: Decision::Deny,
                rules: named(denial.rule.as_slice()),
                reason: Some(denial.reason),
                unmet: Vec::new(),
                message: denial.message,
            },
        }
    }

    /// Whether it is what was expected.
    pub fn is(&self, expected: &Expected) -> bool {
        let rules = expected.rules.as_ref();
        self.decision == expected.decision
            && rules.is_none_or(|rules| *rules == self.rules)
            && (expected.reason.is_none() || expected.reason == self.reason)
    }
}

/// Where a case stands, for messages.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The case.
    pub case: String,
}

impl Place {
    /// What is wrong with a field.
    pub fn fault(&self, field: &str, why: impl std::fmt::Display) -> Failure {
        let Self { file, case } = self;
        Failure::new(format!("`{file}`: {case}: `{field}` is not right")).because(why)
    }
}

/// A key as a case names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyForm {
    /// Its name.
    pub name: KeyName,
    /// What it is for.
    #[serde(default = "trading")]
    pub purpose: Purpose,
    /// Its scheme.
    #[serde(default = "ecdsa")]
    pub scheme: Scheme,
    /// Its state.
    #[serde(default = "active")]
    pub state: KeyState,
    /// Its address; one is made up when there is none.
    pub address: Option<Address>,
}

const fn trading() -> Purpose {
    Purpose::Trading
}

const fn ecdsa() -> Scheme {
    Scheme::Ecdsa
}

const fn active() -> KeyState {
    KeyState::Active
}

/// A key by its name, or in full.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum KeyChoice {
    Name(KeyName),
    Full(KeyForm),
}

/// What a feed has said.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaidForm {
    /// Who said it.
    pub feed: PrincipalId,
    /// How many seconds ago.
    #[serde(default)]
    pub age_s: u64,
    /// What.
    pub says: Vec<Fact>,
}

/// A freeze in force.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezeForm {
    /// Who freezes.
    pub by: PrincipalId,
    /// What stops.
    pub scope: FreezeScope,
    /// How much of it.
    #[serde(default = "risk")]
    pub level: FreezeLevel,
}

const fn risk() -> FreezeLevel {
    FreezeLevel::Risk
}

/// A watcher's receipt.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptForm {
    /// Whose.
    pub by: PrincipalId,
    /// How many seconds ago a node heard of it.
    #[serde(default)]
    pub age_s: u64,
}

/// A case as it was read.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it stands.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// What is expected.
    pub expected: Expected,
    /// Cases of the same file that were signed before it.
    pub after: Vec<String>,
    /// Who asks.
    pub principal: PrincipalId,
    /// With which key.
    pub key: Option<KeyForm>,
    /// How the signature is made.
    pub custody: CustodyMethod,
    /// Of which child of the key.
    pub path: DerivationPath,
    /// On which chain, when the payload leaves it open.
    pub chain: Option<ChainId>,
    /// For what.
    pub payload: PayloadForm,
    /// The nonce of a transaction.
    pub nonce: u64,
    /// Who approves.
    pub approvals: Vec<PrincipalId>,
    /// What feeds have said.
    pub facts: Vec<SaidForm>,
    /// When.
    pub time: TimeMs,
    /// How many seconds before that a node saw it first.
    pub first_seen_s: u64,
    /// The freezes in force.
    pub freezes: Vec<FreezeForm>,
    /// Who has vetoed.
    pub vetoes: Vec<PrincipalId>,
    /// Who has seen the notice.
    pub receipts: Vec<ReceiptForm>,
    /// Whether the node has a lease.
    pub lease: bool,
    /// Whether its clock is right.
    pub clock: bool,
}

/// The fields that are still to be read.
struct Fields {
    place: Place,
    map: Map<String, Value>,
}

impl Fields {
    fn optional<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(value) = self.map.remove(name) else {
            return Ok(None);
        };
        let read = serde_json::from_value(value);
        read.map(Some).map_err(|e| self.place.fault(name, e))
    }

    fn or<T: DeserializeOwned>(&mut self, name: &str, default: T) -> Result<T, Failure> {
        Ok(self.optional(name)?.unwrap_or(default))
    }

    fn needed<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Failure> {
        let read = self.optional(name)?;
        read.ok_or_else(|| self.place.fault(name, "it is missing"))
    }

    fn end(self) -> Result<(), Failure> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => Err(self
                .place
                .fault(name, format!("a case has no such field, only {FIELDS}"))),
        }
    }
}

/// Reads the cases of a file.
pub fn read_cases(file: &str, text: &[u8]) -> Result<Vec<Case>, Failure> {
    let malformed = |why: String| Failure::new(format!("`{file}` holds no cases")).because(why);
    let all: Vec<Value> = serde_json::from_slice(text)
        .map_err(|e| malformed(format!("expected a JSON array of cases: {e}")))?;
    let mut cases: Vec<Case> = Vec::new();
    for (number, value) in (0u64..).zip(all) {
        let case = Case::read(file, number, value)?;
        if cases.iter().any(|c| c.name == case.name) {
            return Err(case.place.fault("name", "another case has it"));
        }
        cases.push(case);
    }
    if cases.is_empty() {
        return Err(malformed("the array is empty".to_owned()));
    }
    Ok(cases)
}

impl Case {
    fn read(file: &str, number: u64, value: Value) -> Result<Self, Failure> {
        let place = Place {
            file: file.to_owned(),
            case: format!("case {}", number.saturating_add(1)),
        };
        let Value::Object(map) = value else {
            let case = &place.case;
            return Err(Failure::new(format!("`{file}`: {case} is no JSON object")));
        };
        let mut fields = Fields { place, map };
        let name: String = fields.needed("name")?;
        fields.place.case = format!("case `{name}`");
        let _: Option<String> = fields.optional("note")?;
        let key = fields.optional::<KeyChoice>("key")?.map(|key| match key {
            KeyChoice::Full(key) => key,
            KeyChoice::Name(name) => KeyForm {
                name,
                purpose: trading(),
                scheme: ecdsa(),
                state: active(),
                address: None,
            },
        });
        let case = Self {
            expected: Expected {
                decision: fields.needed("expect")?,
                rules: fields.optional("rules")?,
                reason: fields.optional("reason")?,
            },
            after: fields.or("after", Vec::new())?,
            principal: fields.needed("principal")?,
            key,
            custody: fields.or("custody", CustodyMethod::Mpc)?,
            path: fields.or("path", DerivationPath::ROOT)?,
            chain: fields.optional("chain")?,
            payload: fields.needed("payload")?,
            nonce: fields.or("nonce", number)?,
            approvals: fields.or("approvals", Vec::new())?,
            facts: fields.or("facts", Vec::new())?,
            time: fields.or("time", clock::now())?,
            first_seen_s: fields.or("first_seen_s", 0)?,
            freezes: fields.or("freezes", Vec::new())?,
            vetoes: fields.or("vetoes", Vec::new())?,
            receipts: fields.or("receipts", Vec::new())?,
            lease: fields.or("lease", true)?,
            clock: fields.or("clock", true)?,
            place: fields.place.clone(),
            name,
        };
        fields.end()?;
        if case.expected.reason.is_some() && case.expected.decision != Decision::Deny {
            let why = "only what is denied has one";
            return Err(case.place.fault("reason", why));
        }
        Ok(case)
    }
}
