//! Requests in words.

use crate::constitution::Constitution;
use crate::denial::clipped;
use crate::schema::{purpose_name, scheme_name, unexplained_name};
use quoin_core::intent::AssetAmount;
use quoin_core::stamp::Account;
use quoin_core::{Action, Address, Amount, FreezeId, Intent, PrincipalId};

/// The most characters shown of a text that the payload brings along.
const TEXT_CHARS_MAX: usize = 64;

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
pub(crate) fn decimal(amount: Amount, decimals: u8) -> String {
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
}
