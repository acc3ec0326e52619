//! Writing to the terminal: results to standard output, progress and questions to standard error.
//!
//! A reader that goes away (`quoin key list | head -1`) ends the process quietly.

use crate::failure::Failure;
use serde::Serialize;
use std::fmt::Display;
use std::io::{BufRead, ErrorKind, IsTerminal, Write};

/// Writes one line of result.
pub fn line(text: impl Display) {
    write_or_leave(std::io::stdout().lock(), &format!("{text}\n"));
}

/// Writes one JSON document.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(Failure::from_error("cannot write the result as JSON"))?;
    line(text);
    Ok(())
}

/// Writes one line of progress.
pub fn progress(text: impl Display) {
    // Progress is a courtesy: a closed standard error stops nothing.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Asks a question that is answered with `y`; true without asking where nobody can answer.
pub fn confirmed(question: &str, yes: bool) -> Result<(), Failure> {
    if yes || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let mut error = std::io::stderr().lock();
    let _ = write!(error, "{question} [y/N] ");
    let _ = error.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::refused("nothing was signed").because("you did not answer `y`")),
    }
}

fn write_or_leave(mut out: impl Write, text: &str) {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        _ => {}
    }
}
