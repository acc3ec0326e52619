//! The JSON of `/v1/sequences`: nonces handed out in one place.
//!
//! A sequence is named `eip155:<chain>:<address>` for the nonces of an EVM account, and
//! `<venue>:<address>` for those of an agent's key at a venue.

use quoin_core::{RequestId, TimeMs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const fn one() -> u64 {
    1
}

/// `POST /v1/sequences/{id}/allocate`: asks for one number, or a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllocateBody {
    /// Chosen by the caller, at random; the same id has the same numbers. A single number is for the
    /// request with this id.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// How many numbers [default: 1].
    #[serde(default = "one")]
    pub count: u64,
}

/// Consecutive numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunBody {
    /// The first of them.
    pub first: u64,
    /// How many there are.
    pub count: u64,
}

/// The numbers of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllocatedBody {
    /// The sequence.
    pub sequence: String,
    /// The request.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// The numbers, ascending. They are in several runs when numbers that were given back are among
    /// them.
    pub numbers: Vec<RunBody>,
    /// When numbers that nobody was asked to sign are taken back, in milliseconds since 1970; absent
    /// when they never are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub until_ms: Option<TimeMs>,
}

/// What became of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SettlementBody {
    /// They are about to be signed: a signature may exist from now on.
    Asked,
    /// They are signed.
    Used,
    /// Nobody was asked to sign them.
    Returned,
}

/// `POST /v1/sequences/{id}/settle`: says what became of numbers. The gateway knows it by itself of
/// requests that it carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleBody {
    /// The request that has them.
    #[schema(value_type = String)]
    pub request_id: RequestId,
    /// Only this one of a block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// What became of them.
    pub outcome: SettlementBody,
}

/// How a number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NumberStateBody {
    /// Handed out, and nobody was asked to sign it.
    Held,
    /// A signature may exist.
    Asked,
    /// Signed, or taken by another payment; the chain does not show it yet.
    Used,
}

/// A number that is not settled, or that the chain does not show yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenNumberBody {
    /// The number.
    pub number: u64,
    /// How it stands.
    pub state: NumberStateBody,
    /// The first digits of the request's id: enough to know one's own, too few to settle another's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// When it is taken back, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub until_ms: Option<TimeMs>,
}

/// `GET /v1/sequences/{id}`: how a sequence stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SequenceBody {
    /// The sequence.
    pub sequence: String,
    /// The lowest number that was never handed out; for a key at a venue the least that can come next.
    pub next: u64,
    /// The account's next nonce, as the chain showed it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain_next: Option<u64>,
    /// Numbers that nobody has, below some that may be signed: what follows them is stuck until the
    /// next allocations fill them, or cancels do.
    pub gaps: Vec<RunBody>,
    /// Numbers that were given back; they are handed out next, the lowest first.
    pub free: Vec<RunBody>,
    /// Numbers that are not settled, or that the chain does not show yet.
    pub open: Vec<OpenNumberBody>,
}

/// `GET /v1/sequences`: all sequences that numbers were handed out of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SequencesBody {
    /// The sequences.
    pub sequences: Vec<SequenceBody>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_meant_when_no_count_is_given_and_unknown_fields_are_refused() {
        let id = "00".repeat(16);
        let read = |more: &str| {
            let text = format!("{{\"request_id\":\"{id}\"{more}}}");
            serde_json::from_str::<AllocateBody>(&text)
        };
        assert_eq!(read("").unwrap().count, 1);
        assert_eq!(read(",\"count\":9").unwrap().count, 9);
        for bad in [
            ",\"count\":-1",
            ",\"count\":1.5",
            ",\"counts\":1",
            ",\"count\":18446744073709551616",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<AllocateBody>("{\"count\":1}").is_err());
    }
}
