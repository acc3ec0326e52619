//! `quoin policy replay`: what another charter would have decided about the requests that nodes have
//! on record.
//!
//! Both charters judge each request anew by their policies alone, with the approvals and the facts of
//! that day: [`quoin_policy::effect`] says what is left out, and why.

use super::explain::unmet;
use super::test::reason_name;
use crate::cli::PolicyReplayArgs;
use crate::client::standing::date;
use crate::failure::Failure;
use crate::folder::{Folder, read_json};
use crate::{clock, say};
use quoin_core::payload::PAYLOAD_BYTES_MAX;
use quoin_core::{
    Certificate, CharterNumber, KeyId, KeyState, Payload, RequestId, RuleId, Signed, Stamp,
    Statement, TimeMs, cbor,
};
use quoin_node::core::{Record, key_addresses};
use quoin_policy::{
    Approval, Charter, Constitution, Decided, Flip, KeyFacts, RecordedRequest, effect,
};
use quoin_protocol::combine::KeyPublic;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The requests that journals have on record, each once.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Those that can be judged again, in the order of their decisions.
    pub samples: Vec<RecordedRequest>,
    /// How many payloads retention has erased on every node that was asked.
    pub erased: usize,
    /// How many are of keys that the journals do not have.
    pub keyless: usize,
    /// How many of the samples were refused: journals keep no facts with those.
    pub without_facts: usize,
}

/// What a replay comes to.
#[derive(Debug, Serialize)]
struct Report {
    from: CharterNumber,
    to: CharterNumber,
    judged: usize,
    erased: usize,
    keyless: usize,
    without_facts: usize,
    flips: Vec<Flip>,
}

/// Runs the command.
pub fn run(args: &PolicyReplayArgs) -> Result<(), Failure> {
    let folder = args.data.folder();
    let old = folder.constitution()?;
    let new = next(&old, read_json(&args.new)?)?;
    let new = new.check().map_err(Failure::from_error(
        "the new charter does not hold together",
    ))?;
    let nodes = match args.nodes.is_empty() {
        true => node_folders(&folder)?,
        false => args.nodes.clone(),
    };
    let since = args.since.map(|since| since.from(clock::now()));
    let recorded = recorded_requests(&nodes, since)?;
    let report = Report {
        from: old.number(),
        to: new.number(),
        judged: recorded.samples.len(),
        erased: recorded.erased,
        keyless: recorded.keyless,
        without_facts: recorded.without_facts,
        flips: effect(&old, &new, &recorded.samples),
    };
    if args.json {
        return say::json(&report);
    }
    flip_lines(&report.flips).into_iter().for_each(say::line);
    say::line(recorded.line(report.flips.len()));
    Ok(())
}

/// The charter as the next one of `old`.
pub fn next(old: &Constitution, charter: Charter) -> Result<Charter, Failure> {
    let (cluster, hash) = (Some(old.cluster()), Some(old.hash()));
    if charter.cluster.is_some() && charter.cluster != cluster {
        return Err(Failure::new("the charter is for another cluster"));
    }
    Ok(Charter {
        number: CharterNumber(old.number().0.saturating_add(1)),
        cluster,
        previous: hash,
        ..charter
    })
}

/// The folders of nodes in a data folder.
pub fn node_folders(folder: &Folder) -> Result<Vec<PathBuf>, Failure> {
    let places = (1..=quoin_core::NODE_INDEX_MAX).map(|index| folder.path(format!("node-{index}")));
    let found: Vec<PathBuf> = places.filter(|path| path.is_dir()).collect();
    if found.is_empty() {
        let root = folder.root().display();
        return Err(Failure::new("there is no journal to read")
            .because(format!("`{root}` has no folder of a node"))
            .next("name the folders of nodes with `--node`"));
    }
    Ok(found)
}

/// The requests on record in these nodes' journals; only those decided since, when that is given.
pub fn recorded_requests(nodes: &[PathBuf], since: Option<TimeMs>) -> Result<Recorded, Failure> {
    let mut all: BTreeMap<RequestId, Sample> = BTreeMap::new();
    for dir in nodes {
        for (id, sample) in journal(dir, since)? {
            // A request that one node permitted and another refused was permitted; what one node
            // has erased, another may still have.
            let known = all.get(&id).map(Sample::rank);
            if known.is_none_or(|known| known < sample.rank()) {
                all.insert(id, sample);
            }
        }
    }
    let mut recorded = Recorded::default();
    for sample in all.into_values() {
        match sample {
            Sample::Erased => recorded.erased += 1,
            Sample::Keyless => recorded.keyless += 1,
            Sample::Denied(sample) => {
                recorded.without_facts += 1;
                recorded.samples.push(*sample);
            }
            Sample::Permitted(sample) => recorded.samples.push(*sample),
        }
    }
    let samples = &mut recorded.samples;
    samples.sort_by_key(|s| (s.at, s.stamp.request_id));
    Ok(recorded)
}

impl Recorded {
    /// What was judged and what could not be, in one line.
    pub fn line(&self, flips: usize) -> String {
        let count = |n: usize, one: &str, many: &str| match n {
            1 => format!("1 {one}"),
            n => format!("{n} {many}"),
        };
        let judged = count(self.samples.len(), "recorded request", "recorded requests");
        let mut line = format!("{flips} of {judged} would be decided otherwise");
        if self.without_facts > 0 {
            let words = count(self.without_facts, "was refused", "were refused");
            line.push_str(&format!("; {words}, of which no facts are on record"));
        }
        if self.erased > 0 {
            let words = count(self.erased, "payload", "payloads");
            line.push_str(&format!("; {words} erased by retention"));
        }
        if self.keyless > 0 {
            let words = count(self.keyless, "request is", "requests are");
            line.push_str(&format!("; {words} of unknown keys"));
        }
        line
    }
}

/// Flips for people.
pub fn flip_lines(flips: &[Flip]) -> Vec<String> {
    let lines = flips.iter().flat_map(|flip| {
        let Flip {
            request_id,
            principal,
            at,
            summary,
            before,
            after,
        } = flip;
        [
            format!("{}  {principal}: {summary}", date(*at)),
            format!("  request   {request_id}"),
            format!("  in force  {}", decided(before)),
            format!("  new       {}", decided(after)),
        ]
    });
    lines.collect()
}

fn decided(decided: &Decided) -> String {
    let by = |rules: &[RuleId]| {
        let rules: Vec<String> = rules.iter().map(|r| format!("`{r}`")).collect();
        match rules.is_empty() {
            true => String::new(),
            false => format!(" by {}", rules.join(", ")),
        }
    };
    match decided {
        Decided::Permitted { rules } => format!("permitted{}", by(rules)),
        Decided::Pending { rules, unmet: all } => {
            let missing: Vec<String> = all.iter().map(unmet).collect();
            format!("pending{}, missing {}", by(rules), missing.join(", "))
        }
        Decided::Denied { reason, rule } => {
            format!("denied{} ({})", by(rule.as_slice()), reason_name(*reason))
        }
    }
}

/// What a journal has of a request.
enum Sample {
    /// A payload that can no longer be read.
    Erased,
    /// A request of a key that the journal does not have.
    Keyless,
    /// A refusal.
    Denied(Box<RecordedRequest>),
    /// A permit.
    Permitted(Box<RecordedRequest>),
}

impl Sample {
    /// How much it says.
    const fn rank(&self) -> u8 {
        match self {
            Self::Erased => 0,
            Self::Keyless => 1,
            Self::Denied(_) => 2,
            Self::Permitted(_) => 3,
        }
    }
}

/// The newest sample of each request of one journal.
fn journal(dir: &Path, since: Option<TimeMs>) -> Result<BTreeMap<RequestId, Sample>, Failure> {
    let what = format!("cannot read the journal in `{}`", dir.display());
    let records = quoin_node::run::recorded(dir).map_err(Failure::from_error(what))?;
    let mut reading = Reading::default();
    for (at, record) in &records {
        reading.take(*at, record, since);
    }
    Ok(reading.samples)
}

/// A journal, as far as it has been read.
#[derive(Default)]
struct Reading {
    keys: BTreeMap<KeyId, KeyPublic>,
    first_seen: BTreeMap<RequestId, TimeMs>,
    samples: BTreeMap<RequestId, Sample>,
}

/// What a record says of a request.
struct Said<'a> {
    stamp: &'a [u8],
    payload: &'a [u8],
    approvals: Vec<&'a [u8]>,
    facts: Option<&'a [u8]>,
}

impl Reading {
    fn take(&mut self, at: TimeMs, record: &Record, since: Option<TimeMs>) {
        let wanted = since.is_none_or(|since| at >= since);
        match record {
            Record::KeyPending(key) | Record::KeyRestored(key) => {
                let public = cbor::decode::<KeyPublic>(&key.public.0, KeyPublic::BYTES_MAX);
                self.keys.extend(public.map(|public| (public.key, public)));
            }
            Record::KeyLearned(certificate) => {
                let read = Certificate::<KeyPublic>::from_bytes(&certificate.0);
                let public = read.map(|c| c.unverified().clone());
                self.keys.extend(public.map(|public| (public.key, public)));
            }
            Record::FirstSeen(seen) => {
                self.first_seen.insert(seen.request_id, seen.at);
            }
            Record::Decision(decision) if wanted => {
                let said = Said {
                    stamp: &decision.stamp.0,
                    payload: &decision.payload.0,
                    approvals: decision.approvals.iter().map(|a| a.0.as_slice()).collect(),
                    facts: decision.facts.as_ref().map(|f| f.0.as_slice()),
                };
                self.keep(at, &said, Sample::Permitted);
            }
            Record::Denied(denied) if wanted => {
                let said = Said {
                    stamp: &denied.stamp.0,
                    payload: &denied.payload.0,
                    approvals: Vec::new(),
                    facts: None,
                };
                self.keep(at, &said, Sample::Denied);
            }
            _ => {}
        }
    }

    fn keep(&mut self, at: TimeMs, said: &Said<'_>, kind: fn(Box<RecordedRequest>) -> Sample) {
        // What the node wrote itself reads back; a record of another version would have ended the
        // reading of the journal.
        let Ok(stamp) = Signed::<Stamp>::from_bytes(said.stamp) else {
            return;
        };
        let stamp = stamp.unverified().clone();
        let id = stamp.request_id;
        // A covered payload is no payload.
        let Ok(payload) = cbor::decode::<Payload>(said.payload, PAYLOAD_BYTES_MAX + 64) else {
            self.samples.insert(id, Sample::Erased);
            return;
        };
        let key = stamp.key.map(|id| self.keys.get(&id));
        if matches!(key, Some(None)) {
            self.samples.insert(id, Sample::Keyless);
            return;
        }
        let key = key.flatten().map(|public| key_facts(public, &stamp));
        let approvals = said.approvals.iter();
        let approvals = approvals.filter_map(|bytes| Signed::<Approval>::from_bytes(bytes).ok());
        let facts = said.facts.and_then(|f| serde_json::from_slice(f).ok());
        let sample = RecordedRequest {
            payload,
            key,
            first_seen: self.first_seen.get(&id).copied().unwrap_or(at),
            at,
            approved_by: approvals
                .map(|a| a.unverified().principal.clone())
                .collect(),
            facts: facts.unwrap_or_default(),
            stamp,
        };
        self.samples.insert(id, kind(Box::new(sample)));
    }
}

fn key_facts(public: &KeyPublic, stamp: &Stamp) -> KeyFacts {
    KeyFacts {
        id: public.key,
        name: public.name.clone(),
        purpose: public.purpose,
        scheme: public.scheme,
        addresses: key_addresses(public, &stamp.account.path),
        threshold: public.threshold,
        holders: match public.threshold {
            1 => 1,
            _ => u8::try_from(public.public_shares.len()).unwrap_or(u8::MAX),
        },
        // Policies do not read it.
        state: KeyState::Active,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoin_api::frame::Opaque;
    use quoin_core::cbor::Version;
    use quoin_core::stamp::Account;
    use quoin_core::{
        Address, ChainId, CharterHash, ClusterId, CustodyMethod, DerivationPath, IntentHash,
        Purpose, SecretBytes, SigningIdentity,
    };
    use quoin_node::core::{Decision, Denied, FirstSeen};
    use quoin_policy::{FactView, PriceView};

    const AT: TimeMs = TimeMs(2_000);

    fn identity() -> SigningIdentity {
        SigningIdentity::from_seed(&SecretBytes::take(&mut [7; 32]))
    }

    fn stamp(request: u8, key: Option<KeyId>, payload: &Payload) -> Stamp {
        Stamp {
            version: Version,
            cluster: ClusterId([1; 32]),
            charter_number_floor: CharterNumber(0),
            charter_hash_floor: CharterHash([2; 32]),
            principal: "bot".parse().unwrap(),
            credential: identity().id(),
            custody: CustodyMethod::Mpc,
            key,
            account: Account {
                chain: ChainId::Quoin,
                address: Address::evm([3; 20]),
                path: DerivationPath::ROOT,
            },
            purpose: Purpose::Trading,
            payload_hash: payload.hash(),
            request_id: RequestId([request; 16]),
            not_after: TimeMs(9_000),
        }
    }

    fn approval() -> Opaque {
        let approval = Approval {
            version: Version,
            cluster: ClusterId([1; 32]),
            intent_hash: IntentHash([4; 32]),
            principal: "ann".parse().unwrap(),
            request_id: RequestId([1; 16]),
            not_after: TimeMs(9_000),
        };
        Opaque(Signed::sign(approval, &identity()).to_bytes())
    }

    fn decision(stamp: Stamp, payload: Vec<u8>, facts: Option<Opaque>) -> Record {
        Record::Decision(Box::new(Decision {
            request_id: stamp.request_id,
            stamp: Opaque(Signed::sign(stamp, &identity()).to_bytes()),
            payload: Opaque(payload),
            approvals: vec![approval()],
            charter: CharterHash([2; 32]),
            rules: Vec::new(),
            reservation: Opaque(Vec::new()),
            presignature: None,
            set: None,
            binding: None,
            facts,
            closes: None,
        }))
    }

    fn denied(stamp: Stamp, payload: Vec<u8>) -> Record {
        Record::Denied(Denied {
            denial: Opaque(Vec::new()),
            stamp: Opaque(Signed::sign(stamp, &identity()).to_bytes()),
            payload: Opaque(payload),
        })
    }

    fn read(records: &[Record], since: Option<TimeMs>) -> BTreeMap<RequestId, Sample> {
        let mut reading = Reading::default();
        records.iter().for_each(|r| reading.take(AT, r, since));
        reading.samples
    }

    #[test]
    fn a_decision_is_judged_again_with_what_was_known_then() {
        let payload = Payload::Text("hello".to_owned());
        let view = FactView {
            price: Some(PriceView {
                usd_micro: 5,
                age_ms: 6,
                sources: 2,
            }),
            ..FactView::default()
        };
        let seen = Record::FirstSeen(FirstSeen {
            request_id: RequestId([1; 16]),
            binding: stamp(1, None, &payload).binding(),
            at: TimeMs(500),
            not_after: TimeMs(9_000),
        });
        let facts = Some(Opaque(serde_json::to_vec(&view).unwrap()));
        let decided = decision(stamp(1, None, &payload), cbor::encode(&payload), facts);
        let samples = read(&[seen, decided], None);
        let Some(Sample::Permitted(sample)) = samples.get(&RequestId([1; 16])) else {
            panic!("it was permitted");
        };
        assert_eq!((sample.first_seen, sample.at), (TimeMs(500), AT));
        assert_eq!((&sample.payload, sample.facts), (&payload, view));
        let approved: Vec<&str> = sample.approved_by.iter().map(|a| a.as_str()).collect();
        assert_eq!(approved, ["ann"]);
    }

    #[test]
    fn what_cannot_be_read_is_counted_and_not_judged() {
        let payload = Payload::Text("hello".to_owned());
        // As a node covers a payload whose day's key is gone.
        let covered = [&[0x00u8][..], &[9; 60]].concat();
        let erased = decision(stamp(1, None, &payload), covered.clone(), None);
        let refused = denied(stamp(2, None, &payload), covered);
        let strange = stamp(3, Some(KeyId([5; 16])), &payload);
        let keyless = denied(strange, cbor::encode(&payload));
        let samples = read(&[erased, refused, keyless], None);
        let ranks: Vec<u8> = samples.values().map(Sample::rank).collect();
        assert_eq!(ranks, [0, 0, 1]);
        // Another node's journal that can still be read says more.
        let known = read(
            &[denied(stamp(1, None, &payload), cbor::encode(&payload))],
            None,
        );
        assert!(known.values().all(|s| s.rank() > Sample::Erased.rank()));
        let line = Recorded {
            samples: Vec::new(),
            erased: 2,
            keyless: 1,
            without_facts: 0,
        };
        let words = "0 of 0 recorded requests would be decided otherwise; 2 payloads erased by \
                     retention; 1 request is of unknown keys";
        assert_eq!(line.line(0), words);
    }

    #[test]
    fn what_was_decided_before_is_left_out() {
        let payload = Payload::Text("hello".to_owned());
        let record = denied(stamp(1, None, &payload), cbor::encode(&payload));
        assert_eq!(read(std::slice::from_ref(&record), Some(AT)).len(), 1);
        assert_eq!(read(&[record], Some(AT.plus(1))).len(), 0);
    }
}
