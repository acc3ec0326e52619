//! What policies can see: one table of attributes, from which both the Cedar schema and the
//! context of every request are built, so that the two cannot drift apart.
//!
//! Amounts appear in millionths of a whole unit, rounded up against the spender; what does not fit
//! 63 bits is denied with the field named, never wrapped.

use crate::constitution::Constitution;
use crate::denial::{Denial, DenialReason};
use crate::facts::FactView;
use cedar_policy::RestrictedExpression;
use quoin_core::intent::{AssetAmount, Horizon, RiskEffect, Unexplained};
use quoin_core::{Action, Address, Amount, CharterNumber, CustodyMethod, Intent, Purpose, Scheme};
use std::collections::BTreeSet;
use std::fmt::Write;

/// What an attribute is read from.
pub(crate) struct View<'a> {
    pub(crate) constitution: &'a Constitution,
    pub(crate) intent: &'a Intent,
    pub(crate) custody: CustodyMethod,
    /// What is believed of the world; without it every fact is unknown.
    pub(crate) facts: Option<&'a FactView>,
}

/// A value as policies see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Long(i64),
    Bool(bool),
    Texts(Vec<String>),
    Record(Vec<(&'static str, i64)>),
}

impl Seen {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn expression(&self) -> Result<RestrictedExpression, String> {
        Ok(match self {
            Self::Text(text) => RestrictedExpression::new_string(text.clone()),
            Self::Long(number) => RestrictedExpression::new_long(*number),
            Self::Bool(truth) => RestrictedExpression::new_bool(*truth),
            Self::Texts(texts) => {
                let texts = texts.iter().cloned();
                RestrictedExpression::new_set(texts.map(RestrictedExpression::new_string))
            }
            Self::Record(fields) => {
                let fields = fields.iter();
                let fields =
                    fields.map(|(n, v)| ((*n).to_owned(), RestrictedExpression::new_long(*v)));
                RestrictedExpression::new_record(fields).map_err(|e| e.to_string())?
            }
        })
    }
}

/// Names and values: the context of a request, or the attributes of its account.
pub(crate) type Pairs = Vec<(&'static str, Seen)>;

type Read<T> = fn(&View<'_>) -> Result<T, Denial>;
/// How a fact is read: it can be unknown, but never wrong.
type Believe<T> = fn(&FactView) -> Option<T>;

/// An attribute's type and how it is read.
enum Kind {
    Text(Read<String>),
    Long(Read<i64>),
    Bool(Read<bool>),
    Texts(Read<Vec<String>>),
    /// A number that feeds say.
    FactLong(Believe<i64>),
    /// Several numbers, in the order of their names.
    FactRecord(&'static [&'static str], Believe<Vec<i64>>),
}

struct Attribute {
    name: &'static str,
    kind: Kind,
}

const fn text(name: &'static str, read: Read<String>) -> Attribute {
    Attribute {
        name,
        kind: Kind::Text(read),
    }
}

const fn long(name: &'static str, read: Read<i64>) -> Attribute {
    Attribute {
        name,
        kind: Kind::Long(read),
    }
}

const fn boolean(name: &'static str, read: Read<bool>) -> Attribute {
    Attribute {
        name,
        kind: Kind::Bool(read),
    }
}

const fn texts(name: &'static str, read: Read<Vec<String>>) -> Attribute {
    Attribute {
        name,
        kind: Kind::Texts(read),
    }
}

/// What feeds say. Policies are written and proven as if these were always known; what is unknown is
/// left out of a request's context, so that reading it is an error: a permit that needs it does not
/// permit, and a forbid that needs it forbids.
const PRICE: Attribute = Attribute {
    name: "price",
    kind: Kind::FactRecord(&["usd_micro", "age_s", "sources"], |facts| {
        let price = facts.price?;
        let usd = i64::try_from(price.usd_micro).ok()?;
        Some(vec![usd, seconds(price.age_ms)?, price.sources.into()])
    }),
};
const MARGIN: Attribute = Attribute {
    name: "margin",
    kind: Kind::FactRecord(
        &["ratio_bp", "exposure_usd_micro", "age_s", "sources"],
        |facts| {
            let margin = facts.margin?;
            let exposure = i64::try_from(margin.exposure_usd_micro).ok()?;
            let age = seconds(margin.age_ms)?;
            Some(vec![
                margin.ratio_bp.into(),
                exposure,
                age,
                margin.sources.into(),
            ])
        },
    ),
};
const HEIGHT: Attribute = Attribute {
    name: "height",
    kind: Kind::FactRecord(&["number", "age_s"], |facts| {
        let height = facts.height?;
        let number = i64::try_from(height.number).ok()?;
        Some(vec![number, seconds(height.age_ms)?])
    }),
};
const VALUE_USD: Attribute = Attribute {
    name: "value_usd_micro",
    kind: Kind::FactLong(|facts| i64::try_from(facts.value_usd_micro?).ok()),
};

/// Every fact, by which policies are asked what they read.
const FACTS: [&Attribute; 4] = [&PRICE, &MARGIN, &HEIGHT, &VALUE_USD];

/// An age in whole seconds, rounded up: a fact is never fresher than it is.
fn seconds(ms: u64) -> Option<i64> {
    i64::try_from(ms.div_ceil(1000)).ok()
}

/// The attributes of every action.
const COMMON: &[Attribute] = &[
    text("chain", |v| Ok(v.intent.chain.to_string())),
    text("custody", |v| Ok(custody_name(v.custody).to_owned())),
    text("risk", |v| Ok(risk_name(v.intent.risk).to_owned())),
    text("horizon", |v| Ok(horizon_name(v.intent.horizon).to_owned())),
    long("fee_micro", |v| match &v.intent.fee_max {
        Some(fee) => v.micro(fee, "fee_micro"),
        None => Ok(0),
    }),
];

/// The actions and their own attributes. A new action of `quoin_core::Action` needs a row here:
/// without one it is denied.
const ACTIONS: &[(&str, &[Attribute])] = &[
    (
        "transfer",
        &[
            ASSET,
            SYMBOL,
            AMOUNT,
            PRICE,
            VALUE_USD,
            HEIGHT,
            MARGIN,
            text("to", counterparty),
            text("to_name", counterparty_name),
        ],
    ),
    (
        "transfer_from",
        &[
            ASSET,
            SYMBOL,
            AMOUNT,
            PRICE,
            VALUE_USD,
            HEIGHT,
            MARGIN,
            text("from", |v| match &v.intent.action {
                Action::TransferFrom { from, .. } => Ok(from.to_string()),
                _ => Err(absent("from")),
            }),
            text("from_name", |v| match &v.intent.action {
                Action::TransferFrom { from, .. } => Ok(v.name_of(from)),
                _ => Err(absent("from_name")),
            }),
            text("to", counterparty),
            text("to_name", counterparty_name),
        ],
    ),
    (
        "approve",
        &[
            ASSET,
            SYMBOL,
            AMOUNT,
            PRICE,
            VALUE_USD,
            HEIGHT,
            MARGIN,
            text("spender", counterparty),
            text("spender_name", counterparty_name),
            boolean("permit", |v| match &v.intent.action {
                Action::Approve { permit, .. } => Ok(*permit),
                _ => Err(absent("permit")),
            }),
            // Such an allowance overflows `amount_micro` today and is denied there; the attribute
            // lets a rule state its intent all the same.
            boolean("unlimited", |v| {
                Ok(v.value("unlimited")?.amount >= unlimited_from())
            }),
        ],
    ),
    (
        "call",
        &[
            ASSET,
            SYMBOL,
            AMOUNT,
            PRICE,
            VALUE_USD,
            HEIGHT,
            MARGIN,
            text("target", counterparty),
            text("target_name", counterparty_name),
            text("selector", |v| match &v.intent.action {
                Action::Call { selector, .. } => Ok(format!("0x{}", hex::encode(selector))),
                _ => Err(absent("selector")),
            }),
            text("data_hash", |v| match &v.intent.action {
                Action::Call { data_hash, .. } => Ok(hex::encode(data_hash)),
                _ => Err(absent("data_hash")),
            }),
        ],
    ),
    (
        "typed_data",
        &[
            HEIGHT,
            MARGIN,
            text("domain_name", |v| match &v.intent.action {
                Action::TypedData { domain_name, .. } => {
                    Ok(domain_name.clone().unwrap_or_default())
                }
                _ => Err(absent("domain_name")),
            }),
            text("primary_type", |v| match &v.intent.action {
                Action::TypedData { primary_type, .. } => Ok(primary_type.clone()),
                _ => Err(absent("primary_type")),
            }),
            text("verifying_contract", counterparty),
            text("verifying_contract_name", counterparty_name),
        ],
    ),
    (
        "message",
        &[
            HEIGHT,
            long("bytes", |v| match &v.intent.action {
                Action::Message { bytes, .. } => i64::try_from(*bytes).map_err(|_| absent("bytes")),
                _ => Err(absent("bytes")),
            }),
            boolean("readable", |v| match &v.intent.action {
                Action::Message { readable, .. } => Ok(*readable),
                _ => Err(absent("readable")),
            }),
        ],
    ),
    (
        "unexplained",
        &[
            ASSET,
            SYMBOL,
            AMOUNT,
            PRICE,
            VALUE_USD,
            HEIGHT,
            text("reason", |v| match &v.intent.action {
                Action::Unexplained { reason, .. } => Ok(unexplained_name(*reason).to_owned()),
                _ => Err(absent("reason")),
            }),
            text("target", counterparty),
            text("target_name", counterparty_name),
        ],
    ),
    (
        "create_key",
        &[
            text("name", |v| match &v.intent.action {
                Action::CreateKey { name, .. } => Ok(name.to_string()),
                _ => Err(absent("name")),
            }),
            text("scheme", |v| match &v.intent.action {
                Action::CreateKey { scheme, .. } => Ok(scheme_name(*scheme).to_owned()),
                _ => Err(absent("scheme")),
            }),
            text("purpose", |v| match &v.intent.action {
                Action::CreateKey { purpose, .. } => Ok(purpose_name(*purpose).to_owned()),
                _ => Err(absent("purpose")),
            }),
        ],
    ),
    (
        "change_key",
        &[text("change", |v| match &v.intent.action {
            Action::ChangeKey { change, .. } => Ok(change.name().to_owned()),
            _ => Err(absent("change")),
        })],
    ),
    (
        "change_node",
        &[
            text("change", |v| match &v.intent.action {
                Action::ChangeNode { change, .. } => Ok(change.name().to_owned()),
                _ => Err(absent("change")),
            }),
            long("node", |v| match &v.intent.action {
                Action::ChangeNode { node, .. } => Ok(i64::from(node.get())),
                _ => Err(absent("node")),
            }),
        ],
    ),
    (
        "unfreeze",
        &[
            texts("lifts", |v| match &v.intent.action {
                Action::Unfreeze { lifts, .. } => {
                    Ok(lifts.iter().map(ToString::to_string).collect())
                }
                _ => Err(absent("lifts")),
            }),
            texts("suspends", |v| match &v.intent.action {
                Action::Unfreeze { suspends, .. } => {
                    Ok(suspends.iter().map(ToString::to_string).collect())
                }
                _ => Err(absent("suspends")),
            }),
        ],
    ),
    // A charter is no payload, and has no intent: its context is made by `charter_pairs`.
    (
        CHANGE_CHARTER,
        &[
            long("number", |_| Err(absent("number"))),
            texts("changes", |_| Err(absent("changes"))),
        ],
    ),
];

/// The action of putting another charter into force.
pub(crate) const CHANGE_CHARTER: &str = "change_charter";
/// The action of lifting freezes.
pub(crate) const UNFREEZE: &str = "unfreeze";

const ASSET: Attribute = text("asset", |v| Ok(v.value("asset")?.asset.to_string()));
const SYMBOL: Attribute = text("symbol", |v| {
    let value = v.value("asset")?;
    let asset = v.constitution.asset(&value.asset);
    asset
        .map(|a| a.symbol.clone())
        .ok_or_else(|| unknown_asset(value, "asset"))
});
const AMOUNT: Attribute = long("amount_micro", |v| {
    v.micro(v.value("amount_micro")?, "amount_micro")
});

/// Actions that a wildcard never covers: a permit must name them in its scope.
const PRIVILEGED: &[&str] = &[
    "unexplained",
    // It has no amount that a budget could count.
    "typed_data",
    "create_key",
    "change_key",
    "change_node",
    UNFREEZE,
    CHANGE_CHARTER,
];

/// Whether only a permit that names this action can allow it.
#[must_use]
pub fn is_privileged(action: &str) -> bool {
    PRIVILEGED.contains(&action)
}

/// The Cedar schema that policies are validated against.
#[must_use]
pub fn schema_text() -> String {
    written(false)
}

/// The schema that requests are held against: as [`schema_text`], but what feeds say may be unknown.
#[must_use]
pub fn request_schema_text() -> String {
    written(true)
}

fn written(facts_may_lack: bool) -> String {
    let mut out = String::from("entity Role;\nentity Principal in [Role];\nentity Account {\n");
    for name in ACCOUNT {
        let _ = writeln!(out, "  {name}: String,");
    }
    out.push_str("};\n");
    for (name, own) in ACTIONS {
        let _ = write!(
            out,
            "\naction \"{name}\" appliesTo {{\n  principal: [Principal],\n  \
             resource: [Account],\n  context: {{\n"
        );
        for attribute in COMMON.iter().chain(*own) {
            let lacks = facts_may_lack && attribute.is_fact();
            let lacks = if lacks { "?" } else { "" };
            let kind = attribute.type_name();
            let _ = writeln!(out, "    {}{lacks}: {kind},", attribute.name);
        }
        out.push_str("  },\n};\n");
    }
    out
}

/// The attributes of an account, all of them texts.
const ACCOUNT: [&str; 6] = ["chain", "address", "path", "key", "purpose", "scheme"];

/// The attributes of an account, in the order of their names in the schema.
pub(crate) fn account_pairs(values: [String; 6]) -> Pairs {
    let values = values.into_iter().map(Seen::Text);
    ACCOUNT.into_iter().zip(values).collect()
}

/// The names of all actions.
pub(crate) fn action_names() -> BTreeSet<String> {
    ACTIONS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// Whether `name` is a fact, which can be unknown when a request is judged.
pub(crate) fn is_fact(name: &str) -> bool {
    FACTS.iter().any(|fact| fact.name == name)
}

/// Whether an action's context has this attribute, and whether it can be unknown.
pub(crate) fn names_of(action: &str) -> Option<impl Iterator<Item = (&'static str, bool)>> {
    let (_, own) = ACTIONS.iter().find(|(name, _)| *name == action)?;
    let all = own.iter().chain(COMMON);
    Some(all.map(|a| (a.name, a.is_fact())))
}

/// The context of a request, attribute by attribute; facts that are unknown are left out.
///
/// # Errors
/// When an asset is unknown, or an amount overflows.
pub(crate) fn context_pairs(view: &View<'_>) -> Result<Pairs, Denial> {
    let action = view.intent.action.name();
    let row = ACTIONS.iter().find(|(name, _)| *name == action);
    let (_, own) = row.ok_or_else(|| absent(action))?;
    let mut pairs = Vec::with_capacity(own.len() + COMMON.len());
    // The action's own come first, so that a denial names the amount rather than the fee.
    for attribute in own.iter().chain(COMMON) {
        if let Some(seen) = attribute.read(view)? {
            pairs.push((attribute.name, seen));
        }
    }
    Ok(pairs)
}

/// The context of a change of the charter: the number that it would have, and its parts that differ.
pub(crate) fn charter_pairs(number: CharterNumber, changes: &BTreeSet<String>) -> Option<Pairs> {
    let text = |text: &str| Seen::Text(text.to_owned());
    let changes = changes.iter().cloned().collect();
    Some(vec![
        ("number", Seen::Long(i64::try_from(number.0).ok()?)),
        ("changes", Seen::Texts(changes)),
        ("chain", text("quoin")),
        ("custody", text(custody_name(CustodyMethod::Mpc))),
        ("risk", text(risk_name(RiskEffect::Neutral))),
        ("horizon", text(horizon_name(Horizon::Unbounded))),
        ("fee_micro", Seen::Long(0)),
    ])
}

impl Attribute {
    fn type_name(&self) -> String {
        match self.kind {
            Kind::Text(_) => "String".to_owned(),
            Kind::Long(_) | Kind::FactLong(_) => "Long".to_owned(),
            Kind::Bool(_) => "Bool".to_owned(),
            Kind::Texts(_) => "Set<String>".to_owned(),
            Kind::FactRecord(names, _) => {
                let fields: Vec<String> = names.iter().map(|n| format!("{n}: Long")).collect();
                format!("{{ {} }}", fields.join(", "))
            }
        }
    }

    const fn is_fact(&self) -> bool {
        matches!(self.kind, Kind::FactLong(_) | Kind::FactRecord(..))
    }

    /// The value; `None` for a fact that is unknown.
    fn read(&self, view: &View<'_>) -> Result<Option<Seen>, Denial> {
        Ok(match self.kind {
            Kind::Text(read) => Some(Seen::Text(read(view)?)),
            Kind::Long(read) => Some(Seen::Long(read(view)?)),
            Kind::Bool(read) => Some(Seen::Bool(read(view)?)),
            Kind::Texts(read) => Some(Seen::Texts(read(view)?)),
            Kind::FactLong(believe) => view.facts.and_then(believe).map(Seen::Long),
            Kind::FactRecord(names, believe) => view
                .facts
                .and_then(believe)
                .map(|values| Seen::Record(names.iter().copied().zip(values).collect())),
        })
    }
}

impl View<'_> {
    fn value(&self, field: &str) -> Result<&AssetAmount, Denial> {
        self.intent.action.value().ok_or_else(|| absent(field))
    }

    fn name_of(&self, address: &Address) -> String {
        // A name counts only for the assets that its entry may receive.
        let asset = self.intent.action.value().map(|value| &value.asset);
        let entry = self
            .constitution
            .entry_for(&self.intent.chain, address, asset);
        entry.map(|e| e.name.to_string()).unwrap_or_default()
    }

    /// The amount in millionths of a whole unit, rounded up.
    pub(crate) fn micro(&self, value: &AssetAmount, field: &str) -> Result<i64, Denial> {
        let asset = self.constitution.asset(&value.asset);
        // The fee's asset has no attribute of its own, so its denial names the fee.
        let asset_field = if field == "amount_micro" {
            "asset"
        } else {
            field
        };
        let asset = asset.ok_or_else(|| unknown_asset(value, asset_field))?;
        to_micro(value.amount, asset.decimals).ok_or_else(|| {
            Denial::at(
                DenialReason::AmountOverflow,
                field,
                format!(
                    "`{field}` of {} smallest units of {} does not fit 63 bits in millionths of a \
                     whole unit; policies never see an amount that large",
                    value.amount, asset.symbol
                ),
            )
        })
    }
}

/// `amount` smallest units as millionths of a whole unit, rounded up; `None` over 63 bits.
pub(crate) fn to_micro(amount: Amount, decimals: u8) -> Option<i64> {
    let Some(excess) = decimals.checked_sub(6) else {
        let factor = Amount::from(10u64.checked_pow(6 - u32::from(decimals))?);
        return amount.checked_mul(factor)?.to_i64();
    };
    // Rounding up twice equals rounding up once by the product, and each power fits 64 bits.
    let first = excess.min(18);
    let amount = div_up(amount, 10u64.checked_pow(u32::from(first))?)?;
    div_up(amount, 10u64.checked_pow(u32::from(excess - first))?)?.to_i64()
}

fn div_up(amount: Amount, divisor: u64) -> Option<Amount> {
    let quotient = amount.checked_div(divisor)?;
    if quotient.checked_mul(Amount::from(divisor))? == amount {
        Some(quotient)
    } else {
        quotient.checked_add(Amount::from(1u64))
    }
}

/// 2^255: from here on tokens mean "without limit".
fn unlimited_from() -> Amount {
    let mut bytes = [0u8; 32];
    if let Some(first) = bytes.first_mut() {
        *first = 0x80;
    }
    Amount::from_be_bytes(bytes)
}

fn counterparty(v: &View<'_>) -> Result<String, Denial> {
    let address = v.intent.action.counterparty();
    Ok(address.map(ToString::to_string).unwrap_or_default())
}

fn counterparty_name(v: &View<'_>) -> Result<String, Denial> {
    let address = v.intent.action.counterparty();
    Ok(address.map(|a| v.name_of(a)).unwrap_or_default())
}

/// An attribute that its action does not have: a row of the table that does not fit the action.
fn absent(field: &str) -> Denial {
    Denial::at(
        DenialReason::PolicyError,
        field,
        format!("policies cannot see `{field}` of this request"),
    )
}

fn unknown_asset(value: &AssetAmount, field: &str) -> Denial {
    Denial::at(
        DenialReason::UnknownAsset,
        field,
        format!(
            "the charter does not know the asset `{}`; add it to `assets` with its decimals",
            value.asset
        ),
    )
}

pub(crate) const fn custody_name(custody: CustodyMethod) -> &'static str {
    match custody {
        CustodyMethod::Mpc => "mpc",
        CustodyMethod::Local => "local",
    }
}

const fn risk_name(risk: RiskEffect) -> &'static str {
    match risk {
        RiskEffect::Reduces => "reduces",
        RiskEffect::Neutral => "neutral",
        RiskEffect::Increases => "increases",
    }
}

fn horizon_name(horizon: Horizon) -> &'static str {
    match horizon {
        Horizon::Until(_) => "until",
        Horizon::Slot => "slot",
        Horizon::Unbounded => "unbounded",
    }
}

pub(crate) const fn unexplained_name(reason: Unexplained) -> &'static str {
    match reason {
        Unexplained::Deploys => "deploys",
        Unexplained::ShortCallData => "short-call-data",
        Unexplained::MalformedArguments => "malformed-arguments",
        Unexplained::ValueOnTokenCall => "value-on-token-call",
        Unexplained::MalformedPermit => "malformed-permit",
    }
}

pub(crate) const fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Ecdsa => "ecdsa",
        Scheme::Taproot => "taproot",
        Scheme::Ed25519 => "ed25519",
        Scheme::Model => "model",
    }
}

pub(crate) const fn purpose_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Treasury => "treasury",
        Purpose::Trading => "trading",
        Purpose::Agent => "agent",
        Purpose::Digest => "digest",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    #[test]
    fn micro_rounds_up_against_the_spender() {
        assert_eq!(to_micro(amount("1"), 18), Some(1));
        assert_eq!(to_micro(amount("1000000000000"), 18), Some(1));
        assert_eq!(to_micro(amount("1000000000001"), 18), Some(2));
        assert_eq!(to_micro(amount("0"), 18), Some(0));
        assert_eq!(to_micro(amount("7"), 6), Some(7));
        assert_eq!(to_micro(amount("7"), 0), Some(7_000_000));
        assert_eq!(to_micro(amount("1"), 36), Some(1));
        assert_eq!(
            to_micro(amount(&format!("1{}", "0".repeat(30))), 36),
            Some(1)
        );
        assert_eq!(
            to_micro(amount(&format!("1{}1", "0".repeat(29))), 36),
            Some(2)
        );
    }

    #[test]
    fn micro_never_wraps() {
        let edge = i64::MAX as u64;
        assert_eq!(to_micro(Amount::from(edge), 6), Some(i64::MAX));
        assert_eq!(to_micro(Amount::from(edge + 1), 6), None);
        assert_eq!(to_micro(Amount::MAX, 0), None);
        assert_eq!(to_micro(Amount::MAX, 18), None);
    }

    #[test]
    fn the_schema_is_cedar() {
        let (_, warnings) = cedar_policy::Schema::from_cedarschema_str(&schema_text()).unwrap();
        assert_eq!(warnings.count(), 0);
    }
}
