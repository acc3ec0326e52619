//! What the command line says when it cannot do what it was asked: what, why, what to do next.
//!
//! Exit codes: 1 when a policy refused, 2 for every other error, 130 when interrupted.

use quoin_core::Class;
use std::fmt::Display;

/// How the process ends when a command fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Understood and refused by policy.
    Refused,
    /// Anything that went wrong.
    Error,
    /// The person pressed Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Refused => 1,
            Self::Error => 2,
            Self::Interrupted => 130,
        }
    }
}

/// A failure as a person reads it.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    what: String,
    why: Option<String>,
    next: Option<String>,
}

impl Failure {
    /// An error: what could not be done.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            exit: Exit::Error,
            what: what.into(),
            why: None,
            next: None,
        }
    }

    /// A refusal by policy.
    pub fn refused(what: impl Into<String>) -> Self {
        Self {
            exit: Exit::Refused,
            ..Self::new(what)
        }
    }

    /// The person pressed Ctrl-C.
    pub fn interrupted() -> Self {
        Self {
            exit: Exit::Interrupted,
            ..Self::new("interrupted")
        }
    }

    /// Adds why.
    pub fn because(mut self, why: impl Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Adds what to do next.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Names the request, so that it can be asked again.
    pub fn naming(mut self, id: quoin_core::RequestId) -> Self {
        self.what = format!("{} (request `{id}`)", self.what);
        // What to do next can then be pasted.
        self.next = self
            .next
            .map(|next| next.replace("REQUEST_ID", &id.to_string()));
        self
    }

    /// With the exit code that the class maps to.
    pub fn of_class(mut self, class: Class) -> Self {
        self.exit = if class == Class::Refused {
            Exit::Refused
        } else {
            Exit::Error
        };
        self
    }

    /// With this exit code.
    pub const fn exiting(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// How the process ends.
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// A function that turns an error into this failure with the error as the reason.
    pub fn from_error<E: Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let failure = Self::new(what);
        move |error| failure.because(error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(why) = &self.why {
            write!(f, "\n  why: {why}")?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n  next: {next}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_to_do_next() {
        let failure = Failure::new("no key `desk`")
            .because("the cluster has none")
            .next("`quoin key create desk`");
        assert_eq!(
            failure.to_string(),
            "no key `desk`\n  why: the cluster has none\n  next: `quoin key create desk`"
        );
    }

    #[test]
    fn refusals_exit_with_one_and_errors_with_two() {
        assert_eq!(Failure::refused("x").exit().code(), 1);
        assert_eq!(Failure::new("x").exit().code(), 2);
        let conflict = Failure::new("x").of_class(Class::Conflict);
        assert_eq!(conflict.exit().code(), 2);
        let refused = Failure::new("x").of_class(Class::Refused);
        assert_eq!(refused.exit().code(), 1);
        assert_eq!(Failure::interrupted().exit().code(), 130);
    }
}
