//! Why a task failed, and which exit code that is.

use std::fmt;

/// Why a task failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line makes no sense; `help` says what would.
    Usage { message: String, help: &'static str },
    /// A program could not be started.
    Start {
        command: String,
        source: std::io::Error,
    },
    /// A program ended with something other than success.
    Exit { command: String, status: String },
    /// A program ran longer than its limit and was ended.
    TimedOut { command: String, seconds: u64 },
    /// A file could not be read or written.
    File {
        path: String,
        source: std::io::Error,
    },
    /// A program's output is not the document it promised.
    Output { what: &'static str, why: String },
    /// A check found violations, which were printed.
    Findings { check: &'static str, count: usize },
    /// A test bed is missing and `CI=true` demands it.
    MissingTestbed { names: String },
    /// Some steps of `ci` failed, which the table shows.
    Steps { failed: usize },
}

impl Failure {
    /// A usage error.
    pub fn usage(message: impl Into<String>, help: &'static str) -> Self {
        Self::Usage {
            message: message.into(),
            help,
        }
    }

    /// 1 when a check said no, 2 when the task could not run.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exit { .. }
            | Self::TimedOut { .. }
            | Self::Output { .. }
            | Self::Findings { .. }
            | Self::MissingTestbed { .. }
            | Self::Steps { .. } => 1,
            Self::Usage { .. } | Self::Start { .. } | Self::File { .. } => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { message, help } => write!(f, "{message}\n\n{help}"),
            Self::Start { command, source } => {
                write!(f, "cannot start `{command}`: {source}; is it installed?")
            }
            Self::Exit { command, status } => write!(f, "`{command}` ended with {status}"),
            Self::TimedOut { command, seconds } => {
                write!(f, "`{command}` was ended after its limit of {seconds} s")
            }
            Self::File { path, source } => write!(f, "cannot use `{path}`: {source}"),
            Self::Output { what, why } => write!(f, "the output of {what} is wrong: {why}"),
            Self::Findings { check, count } => write!(f, "{check} found {count} violation(s)"),
            Self::MissingTestbed { names } => write!(
                f,
                "test bed(s) missing and `CI=true` demands them: {names}; see the lines above"
            ),
            Self::Steps { failed } => write!(f, "{failed} step(s) failed"),
        }
    }
}

impl std::error::Error for Failure {}
