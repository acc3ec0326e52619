//! EIP-712 typed data as JSON, as wallets receive it.
//!
//! `alloy` computes the digest, after this module has made sure that there is one way to read the
//! JSON: no unknown or repeated key anywhere, every value in an unambiguous spelling, the domain's
//! type exactly that of its fields in the standard order, and the domain's chain the account's.

mod json;
mod permit;
mod types;
mod value;

use super::EvmAccount;
use crate::decoded::{Digest, Meaning};
use crate::shown::{is_hidden, shown};
use alloy_dyn_abi::Eip712Domain;
use alloy_dyn_abi::eip712::{Eip712Types, PropertyDef, Resolver, TypedData};
use alloy_primitives::B256;
use quoin_core::Rejection;
use quoin_core::intent::{Action, Address, Horizon, Intent, RiskEffect};
use quoin_core::stamp::{Account, Scheme};
use serde_json::Value;
use std::collections::BTreeMap;
use types::Types;

/// The longest typed data: far over any real one, and cheap to hash at its worst.
pub const TYPED_DATA_BYTES_MAX: usize = 64 * 1024;

/// The longest name or version of a domain, which policies and approvers see.
const DOMAIN_TEXT_BYTES_MAX: usize = 128;

const DOMAIN_TYPE: &str = "EIP712Domain";
/// The fields that a domain may have, in EIP-712's order, and their types.
const DOMAIN_FIELDS: [(&str, &str); 5] = [
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
    ("salt", "bytes32"),
];

/// Typed data that has one reading.
struct Parsed<'a> {
    types: Types,
    primary_type: &'a str,
    domain: Eip712Domain,
    verifying_contract: Option<Address>,
    message: &'a Value,
}

pub(crate) fn decode(json: &[u8], account: &Account, scheme: Scheme) -> Result<Meaning, Rejection> {
    let account = EvmAccount::new(account, scheme)?;
    if json.len() > TYPED_DATA_BYTES_MAX {
        return Err(Rejection::caller(
            "typed_data",
            format!(
                "typed data has `{}` bytes, which is over the limit of `{TYPED_DATA_BYTES_MAX}`",
                json.len()
            ),
        ));
    }
    let document = json::parse(json, "typed_data")?;
    let parsed = Parsed::new(&document, &account)?;
    let (action, horizon) = if parsed.primary_type == permit::PRIMARY_TYPE {
        permit::explain(&parsed, &account)?
    } else {
        (parsed.plain_action(), Horizon::Unbounded)
    };
    let intent = Intent {
        action,
        chain: account.chain(),
        slot: None,
        fee_max: None,
        risk: RiskEffect::Increases,
        horizon,
    };
    Ok((intent, Digest::Prehash(parsed.digest()?)))
}

impl<'a> Parsed<'a> {
    fn new(document: &'a Value, account: &EvmAccount) -> Result<Self, Rejection> {
        let names = ["types", "primaryType", "domain", "message"];
        let [types, primary_type, domain, message] = fields(document, "typed_data", names)?;
        let types = Types::parse(types)?;
        let domain = parse_domain(domain, &types, account)?;
        let bad_primary = |why: String| Rejection::caller("typed_data.primaryType", why);
        let primary_type = primary_type
            .as_str()
            .ok_or_else(|| bad_primary("expected the name of a type".to_owned()))?;
        if primary_type == DOMAIN_TYPE {
            return Err(bad_primary(
                "the domain alone says nothing: name the type of the message".to_owned(),
            ));
        }
        let members = types.members(primary_type).ok_or_else(|| {
            bad_primary(format!("`{}` is not among the types", shown(primary_type)))
        })?;
        value::check_struct(&types, members, message, "typed_data.message")?;
        let verifying_contract = domain
            .verifying_contract
            .map(|contract| Address::evm(contract.into_array()));
        Ok(Self {
            types,
            primary_type,
            domain,
            verifying_contract,
            message,
        })
    }

    fn plain_action(&self) -> Action {
        Action::TypedData {
            domain_name: self.domain.name.as_ref().map(ToString::to_string),
            verifying_contract: self.verifying_contract.clone(),
            primary_type: self.primary_type.to_owned(),
        }
    }

    fn digest(&self) -> Result<[u8; 32], Rejection> {
        let disagrees = |path: &'static str| {
            move |e: alloy_dyn_abi::Error| {
                // The text may repeat the whole input.
                let why = shown(&e.to_string());
                Rejection::caller(path, format!("cannot be hashed: {why}"))
            }
        };
        let mut types: BTreeMap<String, Vec<PropertyDef>> = BTreeMap::new();
        for (name, members) in self.types.iter() {
            let members = members
                .iter()
                .map(|m| PropertyDef::new(m.type_text.as_str(), m.name.as_str()))
                .collect::<Result<_, _>>()
                .map_err(disagrees(types::PATH))?;
            types.insert(name.clone(), members);
        }
        let typed_data = TypedData {
            domain: self.domain.clone(),
            resolver: Resolver::from(Eip712Types::from(types)),
            primary_type: self.primary_type.to_owned(),
            message: self.message.clone(),
        };
        typed_data
            .eip712_signing_hash()
            .map(|digest| digest.0)
            .map_err(disagrees("typed_data.message"))
    }
}

fn parse_domain(
    value: &Value,
    types: &Types,
    account: &EvmAccount,
) -> Result<Eip712Domain, Rejection> {
    const PATH: &str = "typed_data.domain";
    let object = value
        .as_object()
        .ok_or_else(|| Rejection::caller(PATH, "expected an object"))?;
    let present: Vec<(&str, &str)> = DOMAIN_FIELDS
        .into_iter()
        .filter(|(name, _)| object.contains_key(*name))
        .collect();
    if let Some(unknown) = object
        .keys()
        .find(|key| !present.iter().any(|(name, _)| name == key))
    {
        return Err(unknown_key(PATH, unknown));
    }
    check_domain_type(types, &present)?;
    let chain_id = object
        .get("chainId")
        .ok_or_else(|| missing(&at(PATH, "chainId")))?;
    let chain_id = value::uint(chain_id)
        .ok_or_else(|| Rejection::caller(at(PATH, "chainId"), "expected a whole number"))?;
    if u64::try_from(chain_id) != Ok(account.chain_id) {
        return Err(Rejection::caller(
            at(PATH, "chainId"),
            format!(
                "typed data is for chain `{chain_id}`, the account is on chain `{}`",
                account.chain_id
            ),
        ));
    }
    let parse_hex = |name: &str, bytes: usize| {
        object.get(name).map(|value| {
            let text = value
                .as_str()
                .filter(|_| value::hex_length(value) == Some(bytes));
            text.ok_or_else(|| {
                let digits = bytes.saturating_mul(2);
                Rejection::caller(
                    at(PATH, name),
                    format!("expected `0x` and {digits} hex digits"),
                )
            })
        })
    };
    let contract = parse_hex("verifyingContract", 20).transpose()?;
    let salt = parse_hex("salt", 32).transpose()?;
    Ok(Eip712Domain {
        name: domain_text(object.get("name"), &at(PATH, "name"))?.map(Into::into),
        version: domain_text(object.get("version"), &at(PATH, "version"))?.map(Into::into),
        chain_id: Some(chain_id),
        verifying_contract: contract.and_then(|text| text.parse().ok()),
        salt: salt.and_then(|text| text.parse::<B256>().ok()),
    })
}

/// The domain's declared type must be that of the fields it has, because encoders hash either the
/// declared type or the present fields.
fn check_domain_type(types: &Types, present: &[(&str, &str)]) -> Result<(), Rejection> {
    let path = at(types::PATH, DOMAIN_TYPE);
    let members = types.members(DOMAIN_TYPE).ok_or_else(|| missing(&path))?;
    let declared = members
        .iter()
        .map(|m| (m.name.as_str(), m.type_text.as_str()));
    if declared.eq(present.iter().copied()) {
        return Ok(());
    }
    Err(Rejection::caller(
        path,
        "expected the fields of `domain` in the order name, version, chainId, \
         verifyingContract, salt",
    ))
}

fn domain_text(value: Option<&Value>, path: &str) -> Result<Option<String>, Rejection> {
    let Some(value) = value else { return Ok(None) };
    value
        .as_str()
        .filter(|text| text.len() <= DOMAIN_TEXT_BYTES_MAX && !text.chars().any(is_hidden))
        .map(|text| Some(text.to_owned()))
        .ok_or_else(|| {
            Rejection::caller(
                path.to_owned(),
                format!("expected at most {DOMAIN_TEXT_BYTES_MAX} bytes of visible text"),
            )
        })
}

/// The values of `names` in the object `value`, which must have exactly those keys.
fn fields<'a, const N: usize>(
    value: &'a Value,
    path: &str,
    names: [&str; N],
) -> Result<[&'a Value; N], Rejection> {
    fields_of(value, path, &names)?
        .try_into()
        .map_err(|_| Rejection::caller(path.to_owned(), "expected other fields"))
}

/// The same for a number of names that is not known beforehand.
fn fields_of<'a>(
    value: &'a Value,
    path: &str,
    names: &[&str],
) -> Result<Vec<&'a Value>, Rejection> {
    let object = value
        .as_object()
        .ok_or_else(|| Rejection::caller(path.to_owned(), "expected an object"))?;
    if let Some(unknown) = object.keys().find(|key| !names.contains(&key.as_str())) {
        return Err(unknown_key(path, unknown));
    }
    names
        .iter()
        .map(|name| object.get(*name).ok_or_else(|| missing(&at(path, name))))
        .collect()
}

fn unknown_key(path: &str, key: &str) -> Rejection {
    Rejection::caller(at(path, key), "unknown field")
}

fn missing(path: &str) -> Rejection {
    Rejection::caller(path.to_owned(), "field is missing")
}

/// The path of `key` below `path`.
fn at(path: &str, key: &str) -> String {
    format!("{path}.{}", shown(key))
}
