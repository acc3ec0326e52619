//! Error classes: whose fault a failure is, and so which status, code and exit it maps to.

use serde::{Deserialize, Serialize};

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The caller sent something malformed, forged or expired.
    Caller,
    /// The request was understood and refused by policy.
    Refused,
    /// The request conflicts with an earlier one of the same id.
    Conflict,
    /// A peer misbehaved or could not be reached.
    Peer,
    /// Disk, network or configuration of this host.
    Environment,
    /// A defect of Quoin itself.
    Internal,
}

impl Class {
    /// The HTTP status that this class maps to.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Caller => 400,
            Self::Refused => 403,
            Self::Conflict => 409,
            Self::Peer | Self::Environment => 503,
            Self::Internal => 500,
        }
    }

    /// The JSON-RPC error code that this class maps to.
    #[must_use]
    pub const fn json_rpc_code(self) -> i32 {
        match self {
            Self::Caller => -32602,
            Self::Refused => 4001,
            Self::Conflict => -32010,
            Self::Peer | Self::Environment => -32011,
            Self::Internal => -32603,
        }
    }

    /// The exit code of the command line: 1 refused, 2 error.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Refused => 1,
            _ => 2,
        }
    }
}

/// The field of the input that is at fault, as a path such as `transaction.value`.
pub type Field = std::borrow::Cow<'static, str>;

/// Why input was not accepted: class, field, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message} (field `{field}`)")]
pub struct Rejection {
    /// Whose fault it is.
    pub class: Class,
    /// The field at fault.
    pub field: Field,
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
}

impl Rejection {
    /// A rejection of the caller's class.
    pub fn caller(field: impl Into<Field>, message: impl Into<String>) -> Self {
        Self {
            class: Class::Caller,
            field: field.into(),
            message: message.into(),
        }
    }
}
