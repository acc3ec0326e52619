//! Lines for the reader: results on standard output, progress on standard error.
//!
//! A closed pipe is not an error: whoever stopped reading has seen enough.

use std::fmt::Display;
use std::io::Write;

/// Prints a result.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints progress.
pub fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
