//! The journal's form and the check of its chain: pure, without a database.
//!
//! A record carries the hash of the one before, so the newest hash (the *head*) stands for the whole
//! journal. Who has seen a head can later prove that what came before it was not rewritten.
//!
//! It knows nothing of what the records mean: the body is the core's, in the core's encoding.

use minicbor::{Decode, Encode};
use quoin_core::cbor::{self, Version};
use quoin_core::hash::tagged;
use quoin_core::{HeadHash, Lane, NodeIndex, TimeMs, tags};
use std::collections::BTreeMap;

/// The longest body. The largest record carries a key ceremony's certificate or a charter,
/// which stay below 256 KiB; the rest is head-room.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The longest record: body and at most 80 bytes around it.
pub const RECORD_BYTES_MAX: usize = BODY_BYTES_MAX + 128;

/// One link of a lane's journal.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct JournalRecord {
    /// Version of this form.
    #[n(0)]
    pub version: Version<1>,
    /// Whose journal it is.
    #[n(1)]
    pub lane: Lane,
    /// Its place, from 1.
    #[n(2)]
    pub seq: u64,
    /// The hash of the record before; zeros for the first.
    #[n(3)]
    pub previous: HeadHash,
    /// The node's effective time.
    #[n(4)]
    pub at: TimeMs,
    /// The core's record, in its own canonical CBOR.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

/// The newest record of a journal: its place and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Place of the record; 0 when the journal is empty.
    pub seq: u64,
    /// Its hash; zeros when the journal is empty.
    pub hash: HeadHash,
}

impl Head {
    /// The head of a journal without records.
    pub const EMPTY: Self = Self {
        seq: 0,
        hash: HeadHash([0; 32]),
    };
}

/// A head that a peer has seen and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The lane whose journal it is.
    pub lane: Lane,
    /// What was seen.
    pub head: Head,
    /// Who saw it.
    pub by: NodeIndex,
}

/// The first place where a journal is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal of lane `{}` is broken at record `{seq}`: {why}", lane.0)]
pub struct Fault {
    /// The lane.
    pub lane: Lane,
    /// The first bad (or missing) record.
    pub seq: u64,
    /// What is wrong there.
    pub why: Broken,
}

/// Each way in which a journal can be broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The database cannot read the record.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// Not the canonical encoding of a record.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The record's bytes do not have the hash that was stored with them.
    #[error("its bytes do not match its hash")]
    HashDiffers,
    /// The link to the record before does not fit: one of the two was replaced.
    #[error("it does not follow from the record before")]
    PreviousDiffers,
    /// A record is missing; the next one that exists is `found`.
    #[error("missing; the next record is `{found}`")]
    Gap {
        /// The next record there is.
        found: u64,
    },
    /// The record says that it is another.
    #[error("it names itself lane `{}`, record `{seq}`", lane.0)]
    OtherPlace {
        /// The lane it names.
        lane: Lane,
        /// The place it names.
        seq: u64,
    },
    /// Records are missing at the end.
    #[error("missing, although the stored head is `{head}`")]
    Truncated {
        /// Where the journal should end.
        head: u64,
    },
    /// There are records after the stored head.
    #[error("it lies beyond the stored head `{head}`")]
    BeyondHead {
        /// Where the journal should end.
        head: u64,
    },
    /// The last record is not the one that the stored head names.
    #[error("the stored head has another hash")]
    HeadDiffers,
    /// A peer has seen another record here: the journal was rewritten from here or earlier.
    #[error("node `{by}` has witnessed another record here")]
    WitnessDiffers {
        /// Who.
        by: NodeIndex,
    },
    /// A peer has seen a later record: the journal was rolled back.
    #[error("missing, although node `{by}` has witnessed record `{seen}`")]
    WitnessAhead {
        /// Who.
        by: NodeIndex,
        /// The place it has seen.
        seen: u64,
    },
}

/// A record ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// Its place and hash.
    pub head: Head,
    /// Its canonical encoding.
    pub bytes: Vec<u8>,
}

/// Extends a chain, or walks one that is stored.
#[derive(Clone, Debug)]
pub struct Chain {
    lane: Lane,
    head: Head,
}

impl Chain {
    /// A chain that continues after `head`.
    #[must_use]
    pub const fn after(lane: Lane, head: Head) -> Self {
        Self { lane, head }
    }

    /// The last record linked or checked.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Links a new record.
    #[must_use]
    pub fn link(&mut self, at: TimeMs, body: Vec<u8>) -> Linked {
        let record = JournalRecord {
            version: Version,
            lane: self.lane,
            seq: self.head.seq + 1,
            previous: self.head.hash,
            at,
            body,
        };
        let bytes = cbor::encode(&record);
        self.head = Head {
            seq: record.seq,
            hash: hash(&bytes),
        };
        Linked {
            head: self.head,
            bytes,
        }
    }

    /// Checks the next stored record: `seq` and `stored` are what the store filed it under.
    ///
    /// # Errors
    /// With the first thing that is wrong. The chain does not move on.
    pub fn check(
        &mut self,
        seq: u64,
        stored: HeadHash,
        bytes: &[u8],
    ) -> Result<JournalRecord, Fault> {
        let expected = self.head.seq + 1;
        if seq != expected {
            return Err(self.fault(expected, Broken::Gap { found: seq }));
        }
        let hash = hash(bytes);
        if hash != stored {
            return Err(self.fault(seq, Broken::HashDiffers));
        }
        let record: JournalRecord = cbor::decode(bytes, RECORD_BYTES_MAX)
            .map_err(|e| self.fault(seq, Broken::Malformed(e.to_string())))?;
        if (record.lane, record.seq) != (self.lane, seq) {
            let (lane, named) = (record.lane, record.seq);
            return Err(self.fault(seq, Broken::OtherPlace { lane, seq: named }));
        }
        if record.previous != self.head.hash {
            return Err(self.fault(seq, Broken::PreviousDiffers));
        }
        self.head = Head { seq, hash };
        Ok(record)
    }

    /// Checks that the chain ends where the store says it does.
    ///
    /// # Errors
    /// When it ends earlier or with another record.
    pub fn finish(&self, stored: Head) -> Result<(), Fault> {
        if self.head.seq < stored.seq {
            let head = stored.seq;
            return Err(self.fault(self.head.seq + 1, Broken::Truncated { head }));
        }
        if self.head.seq > stored.seq {
            let head = stored.seq;
            return Err(self.fault(stored.seq + 1, Broken::BeyondHead { head }));
        }
        if self.head.hash != stored.hash {
            return Err(self.fault(self.head.seq, Broken::HeadDiffers));
        }
        Ok(())
    }

    pub(super) fn fault(&self, seq: u64, why: Broken) -> Fault {
        Fault {
            lane: self.lane,
            seq,
            why,
        }
    }
}

/// The heads that peers have witnessed of one lane, in the order of the journal.
#[derive(Clone, Debug)]
pub struct Witnesses {
    lane: Lane,
    at: BTreeMap<u64, Vec<Witness>>,
}

impl Witnesses {
    /// Those of `all` that concern `lane`.
    #[must_use]
    pub fn of(lane: Lane, all: &[Witness]) -> Self {
        let mut at: BTreeMap<u64, Vec<Witness>> = BTreeMap::new();
        // An empty journal can be witnessed, but says nothing.
        for witness in all.iter().filter(|w| w.lane == lane && w.head.seq > 0) {
            at.entry(witness.head.seq).or_default().push(*witness);
        }
        Self { lane, at }
    }

    /// Compares a record with what peers have seen at its place.
    ///
    /// # Errors
    /// When one of them has seen another.
    pub fn check(&self, head: Head) -> Result<(), Fault> {
        let seen = self
            .at
            .get(&head.seq)
            .map(Vec::as_slice)
            .unwrap_or_default();
        match seen.iter().find(|w| w.head.hash != head.hash) {
            Some(w) => Err(Fault {
                lane: self.lane,
                seq: head.seq,
                why: Broken::WitnessDiffers { by: w.by },
            }),
            None => Ok(()),
        }
    }

    /// Checks that nobody has seen more than there is.
    ///
    /// # Errors
    /// When a peer has witnessed a record after the end.
    pub fn finish(&self, end: Head) -> Result<(), Fault> {
        let ahead = self.at.range(end.seq + 1..).next_back();
        match ahead.and_then(|(_, seen)| seen.first()) {
            Some(w) => Err(Fault {
                lane: self.lane,
                seq: end.seq + 1,
                why: Broken::WitnessAhead {
                    by: w.by,
                    seen: w.head.seq,
                },
            }),
            None => Ok(()),
        }
    }
}

fn hash(bytes: &[u8]) -> HeadHash {
    HeadHash(tagged(tags::JOURNAL, &[bytes]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chain(records: u8) -> Vec<Linked> {
        let mut chain = Chain::after(Lane(0), Head::EMPTY);
        (0..records)
            .map(|i| chain.link(TimeMs(u64::from(i)), vec![i; usize::from(i)]))
            .collect()
    }

    fn walk(records: &[Linked], stored: Head) -> Result<(), Fault> {
        let mut chain = Chain::after(Lane(0), Head::EMPTY);
        for record in records {
            chain.check(record.head.seq, record.head.hash, &record.bytes)?;
        }
        chain.finish(stored)
    }

    #[test]
    fn the_form_of_a_record_and_its_hash_are_pinned() {
        let mut chain = Chain::after(Lane(2), Head::EMPTY);
        let linked = chain.link(TimeMs(1_700_000_000_000), b"body".to_vec());
        assert_eq!(
            hex::encode(&linked.bytes),
            format!(
                "860102015820{}1b0000018bcfe5680044626f6479",
                "00".repeat(32)
            )
        );
        assert_eq!(linked.head.hash.to_string(), GOLDEN_HEAD);
    }

    const GOLDEN_HEAD: &str = "4ab6017f4babc7962b15c432ac2fe835513b50667ebc2ed82283cb025bfb3f7f";

    #[test]
    fn a_chain_as_it_was_linked_is_sound() {
        let records = chain(5);
        assert_eq!(walk(&records, records[4].head), Ok(()));
        assert_eq!(walk(&[], Head::EMPTY), Ok(()));
    }

    #[test]
    fn every_way_to_break_a_chain_is_named_with_its_place() {
        let good = chain(5);
        let head = good[4].head;
        let fault = |records: &[Linked], stored| {
            let fault = walk(records, stored).unwrap_err();
            (fault.seq, fault.why)
        };
        let mut flipped = good.clone();
        flipped[2].bytes[40] ^= 1;
        assert_eq!(fault(&flipped, head), (3, Broken::HashDiffers));
        let mut gap = good.clone();
        gap.remove(2);
        assert_eq!(fault(&gap, head), (3, Broken::Gap { found: 4 }));
        assert_eq!(fault(&good[..3], head), (4, Broken::Truncated { head: 5 }));
        assert_eq!(
            fault(&good, good[3].head),
            (5, Broken::BeyondHead { head: 4 })
        );
        let other = Head {
            hash: HeadHash([9; 32]),
            ..head
        };
        assert_eq!(fault(&good, other), (5, Broken::HeadDiffers));
        let mut replaced = good.clone();
        replaced[2] = Chain::after(Lane(0), good[1].head).link(TimeMs(9), vec![]);
        assert_eq!(fault(&replaced, head), (4, Broken::PreviousDiffers));
        let mut elsewhere = good.clone();
        elsewhere[2] = Chain::after(Lane(1), good[1].head).link(TimeMs(2), vec![]);
        let why = Broken::OtherPlace {
            lane: Lane(1),
            seq: 3,
        };
        assert_eq!(fault(&elsewhere, head), (3, why));
        let mut garbage = good;
        garbage[2].bytes = vec![1, 2, 3];
        garbage[2].head.hash = hash(&[1, 2, 3]);
        assert!(matches!(fault(&garbage, head), (3, Broken::Malformed(_))));
    }

    #[test]
    fn witnesses_notice_a_rewritten_suffix_and_a_roll_back() {
        let by = NodeIndex::new(3).unwrap();
        let good = chain(5);
        let witness = |head| Witness {
            lane: Lane(0),
            head,
            by,
        };
        let seen = Witnesses::of(Lane(0), &[witness(good[1].head), witness(good[3].head)]);
        for record in &good {
            assert_eq!(seen.check(record.head), Ok(()));
        }
        assert_eq!(seen.finish(good[4].head), Ok(()));
        assert_eq!(seen.finish(good[3].head), Ok(()));
        let other = Head {
            seq: 4,
            hash: HeadHash([9; 32]),
        };
        assert_eq!(
            seen.check(other).unwrap_err().why,
            Broken::WitnessDiffers { by }
        );
        let why = seen.finish(good[2].head).unwrap_err();
        assert_eq!(
            (why.seq, why.why),
            (4, Broken::WitnessAhead { by, seen: 4 })
        );
        let elsewhere = Witnesses::of(Lane(1), &[witness(good[1].head)]);
        assert_eq!(
            elsewhere.finish(Head::EMPTY),
            Ok(()),
            "another lane's heads do not count"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_records_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let mut chain = Chain::after(Lane(0), Head::EMPTY);
            prop_assert!(chain.check(1, hash(&bytes), &bytes).is_err());
        }

        #[test]
        fn a_mutated_record_is_never_accepted_under_its_old_hash(
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let mut records = chain(3);
            let head = records[2].head;
            let at = at.index(records[1].bytes.len());
            records[1].bytes[at] ^= flip;
            prop_assert!(walk(&records, head).is_err());
        }
    }
}
