//! The values of typed data, each in a spelling that every encoder reads alike.
//!
//! `alloy` coerces generously (bytes as arrays of numbers, octal integers, hex without `0x`);
//! what differs between encoders is refused here first, so its coercion has nothing to guess.

use super::types::{Member, MemberType, Root, Types};
use super::{at, fields_of};
use alloy_primitives::{I256, U256};
use quoin_core::Rejection;
use serde_json::Value;

/// Checks that `value` is exactly a struct of type `name`: no member missing, none unknown.
pub(super) fn check_struct(
    types: &Types,
    members: &[Member],
    value: &Value,
    path: &str,
) -> Result<(), Rejection> {
    let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
    let values = fields_of(value, path, &names)?;
    for (member, value) in members.iter().zip(values) {
        let path = at(path, &member.name);
        let shape = &member.member_type;
        check(types, shape, &shape.dimensions, value, &path)?;
    }
    Ok(())
}

fn check(
    types: &Types,
    member: &MemberType,
    dimensions: &[Option<usize>],
    value: &Value,
    path: &str,
) -> Result<(), Rejection> {
    // The last suffix is the outermost array.
    let Some((outer, inner)) = dimensions.split_last() else {
        return check_root(types, &member.root, value, path);
    };
    let items = value
        .as_array()
        .ok_or_else(|| Rejection::caller(path.to_owned(), "expected an array"))?;
    if let Some(length) = outer
        && items.len() != *length
    {
        return Err(Rejection::caller(
            path.to_owned(),
            format!("expected `{length}` elements, found `{}`", items.len()),
        ));
    }
    for (index, item) in items.iter().enumerate() {
        check(types, member, inner, item, &format!("{path}[{index}]"))?;
    }
    Ok(())
}

fn check_root(types: &Types, root: &Root, value: &Value, path: &str) -> Result<(), Rejection> {
    let expected = match root {
        Root::Struct(name) => {
            return match types.members(name) {
                Some(members) => check_struct(types, members, value, path),
                None => Err(Rejection::caller(path.to_owned(), "unknown type")),
            };
        }
        Root::Bool if value.is_boolean() => return Ok(()),
        Root::Bool => "`true` or `false`".to_owned(),
        Root::String if value.is_string() => return Ok(()),
        Root::String => "a string".to_owned(),
        Root::Address if hex_length(value) == Some(20) => return Ok(()),
        Root::Address => "`0x` and 40 hex digits".to_owned(),
        Root::Bytes if hex_length(value).is_some() => return Ok(()),
        Root::Bytes => "`0x` and an even number of hex digits".to_owned(),
        Root::FixedBytes(bytes) if hex_length(value) == Some(*bytes) => return Ok(()),
        Root::FixedBytes(bytes) => format!("`0x` and {} hex digits", bytes.saturating_mul(2)),
        Root::Uint(bits) if uint(value).is_some_and(|n| n.bit_len() <= *bits) => return Ok(()),
        Root::Uint(bits) => format!(
            "a whole number from 0 of at most {bits} bits, in decimal or as `0x` hex string"
        ),
        Root::Int(bits) if int(value).is_some_and(|n| fits(n, *bits)) => return Ok(()),
        Root::Int(bits) => format!("a whole number of at most {bits} bits, in decimal"),
    };
    Err(Rejection::caller(
        path.to_owned(),
        format!("expected {expected}"),
    ))
}

/// How many bytes a `0x` hex string has.
pub(super) fn hex_length(value: &Value) -> Option<usize> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    let hex = digits.len() % 2 == 0 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then_some(digits.len() / 2)
}

/// A number, a decimal string without leading zero, or a `0x` hex string.
pub(super) fn uint(value: &Value) -> Option<U256> {
    if let Some(number) = value.as_u64() {
        return Some(U256::from(number));
    }
    let text = value.as_str()?;
    match text.strip_prefix("0x") {
        Some(digits) => {
            let hex =
                (1..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| U256::from_str_radix(digits, 16).ok())?
        }
        None => is_decimal(text).then(|| U256::from_str_radix(text, 10).ok())?,
    }
}

/// A number, or a decimal string with an optional minus sign. Hex is refused: some encoders read
/// it as a magnitude, others as two's complement.
fn int(value: &Value) -> Option<I256> {
    if let Some(number) = value.as_i64() {
        return I256::try_from(number).ok();
    }
    if let Some(number) = value.as_u64() {
        return I256::try_from(number).ok();
    }
    let text = value.as_str()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let decimal = is_decimal(digits) && text != "-0";
    decimal.then(|| I256::from_dec_str(text).ok())?
}

/// Whether a signed number fits `bits` bits of two's complement.
fn fits(number: I256, bits: usize) -> bool {
    usize::try_from(number.bits()).is_ok_and(|needed| needed <= bits)
}

fn is_decimal(text: &str) -> bool {
    let canonical = text == "0" || !text.starts_with('0');
    canonical && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
