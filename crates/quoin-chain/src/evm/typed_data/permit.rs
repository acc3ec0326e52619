//! EIP-2612 permits: an approval that needs no transaction.
//!
//! Anything else that calls itself `Permit` (DAI's older form, a permit without token) gives
//! somebody rights in a way that this decoder cannot bound, so it is unexplained rather than
//! plain typed data. Permits under other names, such as Permit2's, stay typed data.

use super::Parsed;
use super::value::uint;
use crate::evm::EvmAccount;
use quoin_core::intent::{Action, Address, Horizon, Unexplained};
use quoin_core::{Amount, Rejection, TimeMs};

/// The primary type of a permit.
pub(super) const PRIMARY_TYPE: &str = "Permit";

/// The members of EIP-2612's type, in order.
const MEMBERS: [(&str, &str); 5] = [
    ("owner", "address"),
    ("spender", "address"),
    ("value", "uint256"),
    ("nonce", "uint256"),
    ("deadline", "uint256"),
];

/// Explains typed data whose primary type is [`PRIMARY_TYPE`].
pub(super) fn explain(
    parsed: &Parsed<'_>,
    account: &EvmAccount,
) -> Result<(Action, Horizon), Rejection> {
    let contract = parsed.verifying_contract.clone();
    let members = parsed.types.members(PRIMARY_TYPE).unwrap_or_default();
    let standard = members
        .iter()
        .map(|m| (m.name.as_str(), m.type_text.as_str()))
        .eq(MEMBERS);
    let fields = contract
        .clone()
        .filter(|_| standard)
        .zip(Fields::read(parsed));
    let Some((contract, fields)) = fields else {
        let action = Action::Unexplained {
            reason: Unexplained::MalformedPermit,
            target: contract,
            value: account.native(Amount::ZERO),
        };
        return Ok((action, Horizon::Unbounded));
    };
    if fields.owner != account.address {
        return Err(Rejection::caller(
            "typed_data.message.owner",
            format!(
                "owner `{}` is not the account `{}`",
                fields.owner, account.address
            ),
        ));
    }
    let action = Action::Approve {
        value: account.token(contract, fields.value),
        spender: fields.spender,
        permit: true,
    };
    Ok((action, fields.horizon))
}

struct Fields {
    owner: Address,
    spender: Address,
    value: Amount,
    horizon: Horizon,
}

impl Fields {
    fn read(parsed: &Parsed<'_>) -> Option<Self> {
        let member = |name: &str| parsed.message.get(name);
        let address = |name: &str| member(name)?.as_str()?.parse::<Address>().ok();
        let deadline_ms = u64::try_from(uint(member("deadline")?)?)
            .ok()
            .and_then(|seconds| seconds.checked_mul(1000));
        Some(Self {
            owner: address("owner")?,
            spender: address("spender")?,
            value: Amount::from_be_bytes(uint(member("value")?)?.to_be_bytes()),
            horizon: deadline_ms.map_or(Horizon::Unbounded, |ms| Horizon::Until(TimeMs(ms))),
        })
    }
}
