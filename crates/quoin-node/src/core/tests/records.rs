//! Journal records: each form reads back what it wrote, is pinned, and survives any bytes.

use super::{node, set};
use crate::core::{
    BootRecord, CharterApprovalRecord, Consumed, Decision, Denied, FaultRecord, Finished,
    FirstSeen, KeyRecord, KeyStateRecord, NodeChangedRecord, NoticeRecord, ProposalRecord,
    RECORD_BYTES_MAX, Record, SpentNonce, TryRecord, UnfrozenRecord,
};
use proptest::prelude::*;
use quoin_api::SessionId;
use quoin_api::frame::Opaque;
use quoin_core::payload::NodeChange;
use quoin_core::{
    Address, Amount, BatchHash, BatchId, Boot, CeremonyId, ChainId, CharterHash, FreezeId,
    Generation, KeyId, KeyState, Lane, PayloadHash, PresignatureId, RequestBinding, RequestId,
    ShareEpoch, TimeMs,
};
use quoin_policy::{Closes, Measure, SetAdoption, SetSpend, SetState};
use quoin_protocol::Fault;

fn boot(generation: u64) -> Boot {
    Boot {
        node: node(2),
        lane: Lane(1),
        generation: Generation(generation),
    }
}

/// One record of every form, and of its optional parts, in the order of their places.
fn every_form(byte: u8, number: u64, bytes: &[u8]) -> Vec<Record> {
    let mut all = of_requests(byte, number, bytes);
    all.extend(of_the_node(byte, number, bytes));
    all.extend(of_epochs(byte, number, bytes));
    all.extend(of_changes(byte, number, bytes));
    all.extend(of_statements(byte, number, bytes));
    all.sort_by_key(place);
    all
}

fn of_requests(byte: u8, number: u64, bytes: &[u8]) -> Vec<Record> {
    let opaque = || Opaque(bytes.to_vec());
    let presignature = PresignatureId {
        batch: BatchHash([byte; 32]),
        index: 7,
    };
    let request_id = RequestId([byte; 16]);
    let payload_hash = PayloadHash([byte; 32]);
    let decision = |used: bool| {
        Record::Decision(Box::new(Decision {
            request_id,
            stamp: opaque(),
            payload: opaque(),
            approvals: vec![opaque(); 2],
            charter: CharterHash([byte; 32]),
            rules: vec!["rule".parse().unwrap()],
            reservation: opaque(),
            presignature: used.then_some(presignature),
            set: used.then(|| set(&[1, 3])),
            binding: None,
            facts: used.then(opaque),
            closes: used.then_some(Closes::Slot {
                nonce: number,
                cancels: false,
            }),
        }))
    };
    let finished = |counted: bool| {
        Record::Finished(Box::new(Finished {
            stamp: opaque(),
            payload_hash,
            signature: opaque(),
            reservation: counted.then(opaque),
            closes: counted.then_some(Closes::Until { at: TimeMs(number) }),
        }))
    };
    vec![
        Record::FirstSeen(FirstSeen {
            request_id,
            binding: RequestBinding([byte; 32]),
            at: TimeMs(number),
            not_after: TimeMs(number),
        }),
        decision(true),
        decision(false),
        Record::Consumed(Consumed {
            request_id,
            presignature: Some(presignature),
            set: Some(set(&[1, 2])),
            reservation: opaque(),
            binding: None,
        }),
        Record::Denied(Denied {
            denial: opaque(),
            stamp: opaque(),
            payload: opaque(),
        }),
        Record::Tombstone(opaque()),
        Record::Released(request_id),
        finished(true),
        finished(false),
    ]
}

fn of_the_node(byte: u8, number: u64, bytes: &[u8]) -> Vec<Record> {
    let opaque = || Opaque(bytes.to_vec());
    let at = TimeMs(number);
    let batch = SessionId::Batch(BatchId {
        proposer: boot(number),
        counter: number,
    });
    vec![
        Record::Boot(BootRecord {
            generation: Generation(number),
            build: "quoin".to_owned(),
        }),
        Record::Charter(opaque()),
        Record::Fault(FaultRecord {
            peer: node(3),
            fault: Fault::PointCheck,
            session: batch,
            at,
        }),
        Record::TryOpen(TryRecord {
            session: batch,
            peers: vec![node(1), node(3)],
            at,
        }),
        Record::TryClosed(SessionId::Ceremony(CeremonyId([byte; 16]))),
        Record::KeyPending(KeyRecord {
            key: KeyId([byte; 16]),
            public: opaque(),
            boot: boot(number),
        }),
        Record::KeyActive {
            key: KeyId([byte; 16]),
            certificate: opaque(),
        },
        Record::Witness(opaque()),
        Record::Fenced(node(2)),
        Record::CharterFork(opaque()),
    ]
}

fn of_epochs(byte: u8, number: u64, bytes: &[u8]) -> Vec<Record> {
    let opaque = || Opaque(bytes.to_vec());
    vec![
        Record::EpochHeld(opaque()),
        Record::EpochErased {
            key: KeyId([byte; 16]),
            epoch: ShareEpoch(7),
        },
        Record::KeyLearned(opaque()),
        Record::Abandoned(opaque()),
        Record::AbandonedKept(opaque()),
        Record::BackupWritten {
            key: KeyId([byte; 16]),
            epoch: ShareEpoch(9),
            record: [byte; 32],
            file: [byte; 32],
        },
        Record::KeyRestored(KeyRecord {
            key: KeyId([byte; 16]),
            public: opaque(),
            boot: boot(number),
        }),
    ]
}

fn of_changes(byte: u8, number: u64, bytes: &[u8]) -> Vec<Record> {
    let (at, opaque) = (TimeMs(number), || Opaque(bytes.to_vec()));
    vec![
        Record::KeyState(KeyStateRecord {
            key: KeyId([byte; 16]),
            state: KeyState::Suspended,
            seq: number,
            request: RequestId([byte; 16]),
            at,
        }),
        Record::NodeChanged(NodeChangedRecord {
            node: node(3),
            change: NodeChange::Pardon,
            request: RequestId([byte; 16]),
            at,
        }),
        Record::ChangeStated {
            request: RequestId([byte; 16]),
            statement: opaque(),
        },
        Record::PayloadsErased {
            before: u32::from(byte),
        },
        Record::Proposal(ProposalRecord {
            certificate: opaque(),
            first_seen: TimeMs(number),
        }),
        Record::CharterApproval(CharterApprovalRecord {
            charter: CharterHash([byte; 32]),
            approval: opaque(),
        }),
        Record::FactSeen {
            feed: "feed".parse().unwrap(),
            seq: number,
        },
        Record::ProposalDropped(CharterHash([byte; 32])),
    ]
}

fn of_statements(byte: u8, number: u64, bytes: &[u8]) -> Vec<Record> {
    let notice = || NoticeRecord {
        statement: Opaque(bytes.to_vec()),
        seen: TimeMs(number),
    };
    vec![
        Record::Freeze(Opaque(bytes.to_vec())),
        Record::Unfrozen(UnfrozenRecord {
            lifts: vec![FreezeId([byte; 16])],
            suspends: vec!["watcher".parse().unwrap()],
            request: Some(RequestId([byte; 16])),
            at: TimeMs(number),
        }),
        Record::Veto(notice()),
        Record::Receipt(notice()),
        Record::SetMoved(SetState {
            number,
            set: Some(set(&[1, 3])),
            serving: false,
        }),
        Record::SetAdopted(Box::new(SetAdoption {
            state: SetState {
                number,
                set: Some(set(&[1, 3])),
                serving: true,
            },
            foreign: vec![SetSpend {
                budget: "day".parse().unwrap(),
                measure: Measure::Count,
                holder: Some("bot".parse().unwrap()),
                set: None,
                buckets: vec![(TimeMs(number), Amount::from(u64::from(byte)))],
            }],
        })),
        Record::WatchedFrom(spent(number)),
        Record::ForeignSpend(spent(number)),
    ]
}

fn spent(nonce: u64) -> SpentNonce {
    SpentNonce {
        chain: ChainId::Evm(1),
        account: Address::evm([7; 20]),
        nonce,
    }
}

/// The place of a form; a new form fails to compile here until it is in `every_form`.
fn place(record: &Record) -> usize {
    match record {
        Record::Boot(_) => 0,
        Record::Charter(_) => 1,
        Record::FirstSeen(_) => 2,
        Record::Decision(_) => 3,
        Record::Consumed(_) => 4,
        Record::Denied(_) => 5,
        Record::Tombstone(_) => 6,
        Record::Released(_) => 7,
        Record::Finished(_) => 8,
        Record::Fault(_) => 9,
        Record::TryOpen(_) => 10,
        Record::TryClosed(_) => 11,
        Record::KeyPending(_) => 12,
        Record::KeyActive { .. } => 13,
        Record::Witness(_) => 14,
        Record::Fenced(_) => 15,
        Record::CharterFork(_) => 16,
        Record::EpochHeld(_) => 17,
        Record::EpochErased { .. } => 18,
        Record::KeyLearned(_) => 19,
        Record::Abandoned(_) => 20,
        Record::KeyState(_) => 21,
        Record::NodeChanged(_) => 22,
        Record::ChangeStated { .. } => 23,
        Record::BackupWritten { .. } => 24,
        Record::KeyRestored(_) => 25,
        Record::AbandonedKept(_) => 26,
        Record::PayloadsErased { .. } => 27,
        Record::Proposal(_) => 28,
        Record::CharterApproval(_) => 29,
        Record::FactSeen { .. } => 30,
        Record::ProposalDropped(_) => 31,
        Record::Freeze(_) => 32,
        Record::Unfrozen(_) => 33,
        Record::Veto(_) => 34,
        Record::Receipt(_) => 35,
        Record::SetMoved(_) => 36,
        Record::SetAdopted(_) => 37,
        Record::WatchedFrom(_) => 38,
        Record::ForeignSpend(_) => 39,
    }
}

#[test]
fn every_form_is_among_the_tested() {
    let mut places: Vec<_> = every_form(1, 2, &[3]).iter().map(place).collect();
    places.dedup();
    assert_eq!(places, (0..40).collect::<Vec<_>>());
}

#[test]
fn the_forms_of_records_are_pinned() {
    let pinned: Vec<String> = every_form(0xab, 300, &[1, 2, 3])
        .iter()
        .map(|r| hex::encode(r.to_bytes()))
        .collect();
    let golden: Vec<&str> = GOLDEN.lines().collect();
    assert_eq!(pinned, golden);
}

/// The records of `every_form` in their order, one on each line.
const GOLDEN: &str = include_str!("records.golden");

#[test]
fn a_record_over_the_limit_is_refused() {
    let record = Record::Charter(Opaque(vec![0; RECORD_BYTES_MAX]));
    assert!(Record::from_bytes(&record.to_bytes()).is_err());
}

#[test]
fn a_record_with_bytes_after_it_is_refused() {
    for record in every_form(1, 2, &[3]) {
        let mut bytes = record.to_bytes();
        bytes.push(0);
        assert!(Record::from_bytes(&bytes).is_err(), "{record:?}");
        bytes.truncate(bytes.len() - 2);
        assert!(Record::from_bytes(&bytes).is_err(), "{record:?}");
    }
}

proptest! {
    #[test]
    fn every_record_reads_back_what_it_wrote(
        byte in any::<u8>(),
        number in any::<u64>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        for record in every_form(byte, number, &bytes) {
            prop_assert_eq!(Record::from_bytes(&record.to_bytes()).unwrap(), record);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Record::from_bytes(&bytes);
    }

    #[test]
    fn mutated_records_never_panic_and_only_canonical_ones_are_read(
        form in 0..26usize,
        place in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = every_form(7, 300, &[9; 5])[form].to_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(read) = Record::from_bytes(&bytes) {
            prop_assert_eq!(read.to_bytes(), bytes);
        }
    }
}
