//! What happened in a run: a hash that two runs of one seed must share, and lines to read.

use crate::setup::BEGIN;
use quoin_api::Frame;
use quoin_api::frame::Reply;
use quoin_api::statements::Denial;
use quoin_core::hash::TaggedHasher;
use quoin_core::{Signed, Stamp, TimeMs, tags};
use quoin_node::core::Record;

/// The log of a run.
pub struct Trace {
    hash: TaggedHasher,
    lines: Option<Vec<String>>,
    show: Option<fn(&str)>,
}

impl Trace {
    /// A trace that keeps lines only when somebody will read them, and shows each as it comes.
    #[must_use]
    pub fn new(keep_lines: bool, show: Option<fn(&str)>) -> Self {
        Self {
            hash: TaggedHasher::new(tags::MODEL),
            lines: keep_lines.then(Vec::new),
            show,
        }
    }

    /// Keeps lines from now on, if it does not yet.
    pub(crate) fn keep(&mut self) {
        self.lines.get_or_insert_default();
    }

    /// The last lines that were kept.
    pub(crate) fn last(&self, count: usize) -> String {
        let lines = self.lines.as_deref().unwrap_or_default();
        let first = lines.len().saturating_sub(count);
        lines.get(first..).unwrap_or_default().join("; ")
    }

    /// Adds an event.
    pub fn add(&mut self, now: TimeMs, what: impl FnOnce() -> String, bytes: &[u8]) {
        self.hash.part(&now.0.to_be_bytes()).part(bytes);
        if self.lines.is_none() && self.show.is_none() {
            return;
        }
        let line = format!("{:>6} ms  {}", now.since(BEGIN), what());
        if let Some(show) = self.show {
            show(&line);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    /// The hash of everything, and the lines when they were kept.
    #[must_use]
    pub fn finish(self) -> ([u8; 32], Vec<String>) {
        (self.hash.finish(), self.lines.unwrap_or_default())
    }
}

/// A frame in a few words.
pub(crate) fn name_of(frame: &Frame) -> String {
    match frame {
        Frame::Request(request) => {
            let id = Signed::<Stamp>::from_bytes(&request.stamp)
                .map_or("?".to_owned(), |s| s.unverified().request_id.to_string());
            format!("request {id}, attempt {}", request.attempt)
        }
        Frame::Reply(reply) => {
            let kind = match &reply.reply {
                Reply::Answer(_) => "answer".to_owned(),
                Reply::Denied(bytes) => Signed::<Denial>::from_bytes(bytes)
                    .map_or("denied, unreadable".to_owned(), |d| {
                        format!("denied: {}", d.unverified().message)
                    }),
                Reply::AlreadySigned(_) => "signed already".to_owned(),
                Reply::CeremonyDone(_) => "the key is made".to_owned(),
                other => clipped(&format!("{other:?}")),
            };
            format!(
                "reply to {}, attempt {}: {kind}",
                reply.request_id, reply.attempt
            )
        }
        Frame::Session(session) => format!("message of {:?}", session.session),
        Frame::Finished(_) => "finished signature".to_owned(),
        Frame::Tombstone(_) => "tombstone".to_owned(),
        Frame::Heartbeat(_) => "heartbeat".to_owned(),
        Frame::Charter(_) => "charter".to_owned(),
        Frame::Adopted(_) => "a charter in force".to_owned(),
        Frame::Freeze(_) => "freeze".to_owned(),
        Frame::Freezes(all) => {
            format!("{} freezes, {} lifted", all.freezes.len(), all.lifted.len())
        }
        Frame::Veto(_) => "veto".to_owned(),
        Frame::Keys(keys) => format!("{} keys", keys.certificates.len()),
        Frame::LeaseGrant(grant) => format!("lease of {} ids", grant.ids.len()),
        other => clipped(&format!("{other:?}")),
    }
}

/// A record in a few words.
pub(crate) fn name_of_record(record: &Record) -> String {
    match record {
        Record::Boot(boot) => format!("boot {}", boot.generation.0),
        Record::Decision(decision) => format!("its decision on {}", decision.request_id),
        Record::Consumed(consumed) => format!("a consumption for {}", consumed.request_id),
        Record::Released(id) => format!("the release of {id}"),
        Record::Denied(_) => "a denial".to_owned(),
        Record::Finished(_) => "a finished signature".to_owned(),
        Record::Witness(_) => "a witness".to_owned(),
        Record::KeyPending(key) => format!("a share of {}", key.key),
        Record::KeyActive { key, .. } => format!("that {key} is active"),
        Record::Charter(_) => "a charter".to_owned(),
        Record::Tombstone(_) => "a tombstone".to_owned(),
        Record::Freeze(_) => "a freeze".to_owned(),
        Record::Veto(_) => "a veto".to_owned(),
        Record::Proposal(_) => "a proposed charter".to_owned(),
        Record::CharterFork(_) => "a fork of charters".to_owned(),
        other => clipped(&format!("{other:?}")),
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(90).collect()
}
