//! What is run, how often, and in which order.
//!
//! Runs of different subjects alternate, so that a machine that is busy for a while slows all of
//! them and not one.

use crate::book::Book;
use anyhow::{Context, Result};

/// A threshold and a number of shares.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// How many shares sign.
    pub t: u8,
    /// How many shares there are.
    pub n: u8,
}

/// The sizes that are measured.
pub const SIZES: [Size; 2] = [Size { t: 2, n: 3 }, Size { t: 3, n: 5 }];

/// How many presignatures one session makes, where a library can make many.
pub const BATCH: u32 = 256;

/// How many of them are used in one run.
pub const ONLINE: u32 = 32;

impl Size {
    /// What a key of this size is reshared to.
    pub fn reshared(self) -> Self {
        Self {
            t: self.t + 1,
            n: self.n + 2,
        }
    }

    /// The note of a resharing.
    pub fn reshare_note(self) -> &'static str {
        match self.t {
            2 => "to 3-of-5",
            _ => "to 4-of-7",
        }
    }
}

/// The signers of a key: the first t, counted from 0.
pub fn signers_of(size: Size) -> impl Iterator<Item = u8> {
    0..size.t
}

type Sample = Box<dyn FnMut(&mut Book) -> Result<()>>;

/// Something that is run several times.
pub struct Case {
    subject: &'static str,
    runs: u32,
    sample: Sample,
}

impl Case {
    /// A case; `sample` is one run of it.
    pub fn new(
        subject: &'static str,
        runs: u32,
        sample: impl FnMut(&mut Book) -> Result<()> + 'static,
    ) -> Self {
        Self {
            subject,
            runs,
            sample: Box::new(sample),
        }
    }

    /// Who is measured.
    pub fn subject(&self) -> &'static str {
        self.subject
    }

    /// The same with a single run.
    pub fn once(self) -> Self {
        Self { runs: 1, ..self }
    }
}

/// Runs all cases, alternating.
pub fn run(mut cases: Vec<Case>) -> Result<Book> {
    let mut book = Book::default();
    let passes = cases.iter().map(|c| c.runs).max().unwrap_or(0);
    for pass in 0..passes {
        eprintln!("pass {} of {passes}", pass + 1);
        for case in cases.iter_mut().filter(|c| pass < c.runs) {
            (case.sample)(&mut book).with_context(|| case.subject)?;
        }
    }
    Ok(book)
}
