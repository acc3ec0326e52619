//! Requests in words, and the smallest policy that would permit one.

use crate::constitution::Constitution;
use crate::denial::clipped;
use crate::schema::{View, custody_name, purpose_name, scheme_name, unexplained_name};
use quoin_core::intent::AssetAmount;
use quoin_core::stamp::Account;
use quoin_core::{Action, Address, Amount, FreezeId, Intent, PrincipalId, RuleId};
use std::fmt::Write;

/// The most characters shown of a text that the payload brings along.
const TEXT_CHARS_MAX: usize = 64;
/// The longest suggestion: nobody reads more, and a denial has its limit.
const SUGGESTION_BYTES_MAX: usize = 4096;

/// What an intent would do, in words: `transfer of 0.5 ETH to 0x…`.
#[must_use]
pub fn summary(constitution: &Constitution, intent: &Intent) -> String {
    let amount = |value: &AssetAmount| units(constitution, value);
    let named = |address: &Address| match constitution.book_entry(&intent.chain, address) {
        Some(entry) => format!("{address} ({})", entry.name),
        None => address.to_string(),
    };
    match &intent.action {
        Action::Transfer { value, to } => {
            format!("transfer of {} to {}", amount(value), named(to))
        }
        Action::TransferFrom { value, from, to } => {
            let (from, to) = (named(from), named(to));
            format!("transfer of {} from {from} to {to}", amount(value))
        }
        Action::Approve {
            value,
            spender,
            permit,
        } => {
            let how = if *permit { " by a signed permit" } else { "" };
            let (value, spender) = (amount(value), named(spender));
            format!("allowance of {value} for {spender}{how}")
        }
        Action::Call {
            target,
            selector,
            value,
            ..
        } => {
            let (target, selector) = (named(target), hex::encode(selector));
            format!("call of 0x{selector} on {target} with {}", amount(value))
        }
        Action::TypedData {
            domain_name,
            primary_type,
            verifying_contract,
        } => {
            let domain = domain_name.as_deref().unwrap_or("no domain");
            let contract = verifying_contract.as_ref().map(named);
            let contract = contract.unwrap_or_else(|| "no contract".to_owned());
            // Quoted and clipped: these are texts of whoever made the payload.
            let kind = clipped(primary_type, TEXT_CHARS_MAX);
            let domain = clipped(domain, TEXT_CHARS_MAX);
            format!("typed data {kind:?} of {domain:?} for {contract}")
        }
        Action::Message { bytes, readable } => {
            let kind = if *readable { "readable" } else { "unreadable" };
            format!("{kind} message of {bytes} bytes")
        }
        Action::Unexplained {
            reason,
            target,
            value,
        } => {
            let target = target.as_ref().map(named);
            let target = target.unwrap_or_else(|| "nobody".to_owned());
            let (reason, value) = (unexplained_name(*reason), amount(value));
            format!("unexplained request ({reason}) to {target} with {value}")
        }
        Action::CreateKey {
            name,
            scheme,
            purpose,
        } => {
            let (scheme, purpose) = (scheme_name(*scheme), purpose_name(*purpose));
            format!("making of the {purpose} key `{name}` ({scheme})")
        }
        Action::ChangeKey { key, change } => format!("{} of the key `{key}`", change.name()),
        Action::ChangeNode { node, change } => format!("{} of node `{node}`", change.name()),
        Action::Unfreeze { lifts, suspends } => unfreeze_words(lifts, suspends),
    }
}

fn unfreeze_words(lifts: &[FreezeId], suspends: &[PrincipalId]) -> String {
    let listed = |names: Vec<String>| names.join(", ");
    let lifts = listed(lifts.iter().map(|id| format!("`{id}`")).collect());
    if suspends.is_empty() {
        return format!("end of the freezes {lifts}");
    }
    let suspends = listed(suspends.iter().map(|id| format!("`{id}`")).collect());
    format!("end of the freezes {lifts}, and of the right of {suspends} to freeze")
}

/// An amount in whole units with the asset's symbol, or in smallest units of an unknown asset.
fn units(constitution: &Constitution, value: &AssetAmount) -> String {
    match constitution.asset(&value.asset) {
        Some(asset) => format!("{} {}", decimal(value.amount, asset.decimals), asset.symbol),
        None => format!("{} smallest units of {}", value.amount, value.asset),
    }
}

/// The amount with its decimal point put in, without trailing zeros.
fn decimal(amount: Amount, decimals: u8) -> String {
    let places = usize::from(decimals);
    let digits = amount.to_string();
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// The id of an account as a Cedar entity: `<chain>/<address>`.
pub(crate) fn account_id(account: &Account) -> String {
    format!("{}/{}", account.chain, account.address)
}

/// The smallest permit for exactly this request, as Cedar text.
///
/// There is none for a request that nothing explains: such a rule is for a person to think up.
pub(crate) fn suggestion(
    view: &View<'_>,
    principal: &PrincipalId,
    account: &Account,
) -> Option<String> {
    let action = view.intent.action.name();
    let conditions = conditions(view)?;
    let id = free_id(view.constitution, &format!("{principal}-{action}"))?;
    let mut out = String::new();
    let _ = write!(
        out,
        "@id(\"{id}\")\npermit (\n  principal == Principal::{},\n  action == Action::\"{action}\",\n  \
         resource == Account::{}\n) when {{\n  {}\n}};\n",
        quoted(principal.as_str()),
        quoted(&account_id(account)),
        conditions.join(" &&\n  "),
    );
    (out.len() <= SUGGESTION_BYTES_MAX).then_some(out)
}

fn conditions(view: &View<'_>) -> Option<Vec<String>> {
    let text = |name: &str, value: &str| format!("context.{name} == {}", quoted(value));
    let optional = |name: &str, value: Option<&Address>| {
        text(name, value.map(Address::as_str).unwrap_or_default())
    };
    let mut all = vec![text("custody", custody_name(view.custody))];
    if let Some(value) = view.intent.action.value() {
        all.push(text("asset", &value.asset.to_string()));
        let micro = view.micro(value, "amount_micro").ok()?;
        all.push(format!("context.amount_micro <= {micro}"));
    }
    match &view.intent.action {
        Action::Transfer { to, .. } => all.push(text("to", to.as_str())),
        Action::TransferFrom { from, to, .. } => {
            all.extend([text("from", from.as_str()), text("to", to.as_str())]);
        }
        Action::Approve {
            spender, permit, ..
        } => {
            all.push(text("spender", spender.as_str()));
            all.push(format!("context.permit == {permit}"));
        }
        Action::Call {
            target, selector, ..
        } => {
            all.push(text("target", target.as_str()));
            all.push(text("selector", &format!("0x{}", hex::encode(selector))));
        }
        Action::TypedData {
            domain_name,
            verifying_contract,
            primary_type,
        } => {
            all.push(text(
                "domain_name",
                domain_name.as_deref().unwrap_or_default(),
            ));
            all.push(optional("verifying_contract", verifying_contract.as_ref()));
            all.push(text("primary_type", primary_type));
        }
        Action::Message { bytes, readable } => {
            all.push(format!("context.bytes <= {bytes}"));
            all.push(format!("context.readable == {readable}"));
        }
        Action::Unexplained { .. } => return None,
        Action::CreateKey {
            name,
            scheme,
            purpose,
        } => {
            all.push(text("name", name.as_str()));
            all.push(text("scheme", scheme_name(*scheme)));
            all.push(text("purpose", purpose_name(*purpose)));
        }
        Action::ChangeKey { change, .. } => all.push(text("change", change.name())),
        Action::ChangeNode { node, change } => {
            all.push(text("change", change.name()));
            all.push(format!("context.node == {node}"));
        }
        // Lifting freezes is a privilege that nobody is nudged to.
        Action::Unfreeze { .. } => return None,
    }
    if let Some(fee) = &view.intent.fee_max {
        let micro = view.micro(fee, "fee_micro").ok()?;
        all.push(format!("context.fee_micro <= {micro}"));
    }
    Some(all)
}

/// An id that no policy or budget has yet.
fn free_id(constitution: &Constitution, wish: &str) -> Option<RuleId> {
    // Room for `allow-`, a number and the 64 characters of an id.
    let wish: String = wish.chars().take(54).collect();
    let mut candidates = (1u16..1000).map(|n| match n {
        1 => format!("allow-{wish}"),
        _ => format!("allow-{wish}-{n}"),
    });
    let budgets = &constitution.charter().budgets;
    let taken =
        |id: &str| constitution.rules.has(id) || budgets.iter().any(|b| b.id.as_str() == id);
    candidates.find(|id| !taken(id))?.parse().ok()
}

/// A Cedar string literal.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_read_as_people_write_them() {
        let amount = |text: &str| text.parse::<Amount>().unwrap();
        assert_eq!(decimal(amount("500000000000000000"), 18), "0.5");
        assert_eq!(decimal(amount("0"), 18), "0");
        assert_eq!(decimal(amount("1"), 18), "0.000000000000000001");
        assert_eq!(decimal(amount("12"), 0), "12");
        assert_eq!(decimal(amount("1200"), 2), "12");
        assert_eq!(decimal(amount("1230"), 2), "12.3");
    }

    #[test]
    fn quoting_survives_what_an_attacker_would_write() {
        assert_eq!(quoted("a\"b\\c"), r#""a\"b\\c""#);
        assert_eq!(quoted("\n\u{202e}é"), r#""\u{a}\u{202e}\u{e9}""#);
    }
}
