//! An open-loop flow of signing requests: each leaves when it is due, whatever became of the ones
//! before, and its time runs from when it was due. A stalled service therefore shows as many slow
//! answers, and not as a few requests that were never sent (coordinated omission).
//!
//! One request is one exchange over HTTP; nothing is asked again. Every signature is verified.

use crate::client::keys::VerifiedKey;
use crate::client::{Answer, Asker, Session, Stamped, Subject};
use crate::command::sign::check;
use crate::dev::FIRST_GOVERNOR;
use crate::failure::Failure;
use crate::folder::random_request_id;
use crate::latency::Quantiles;
use quoin_core::{ChainId, Payload, PrincipalId, SigningIdentity};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// The phase that means that the flow ends.
const OVER: usize = usize::MAX;

/// What signs for whom.
pub struct Source {
    session: Arc<Session>,
    key: VerifiedKey,
    subject: Subject,
    principal: PrincipalId,
    identity: SigningIdentity,
}

impl Source {
    /// Texts signed with the key, on behalf of the first governor.
    pub fn new(session: Arc<Session>, key: VerifiedKey) -> Result<Self, Failure> {
        let principal: PrincipalId = FIRST_GOVERNOR
            .parse()
            .map_err(Failure::from_error("bad principal"))?;
        Ok(Self {
            identity: session.folder().principal(&principal)?,
            subject: Subject::of_key(&key, ChainId::Quoin)?,
            session,
            key,
            principal,
        })
    }

    /// The key.
    pub const fn key(&self) -> &VerifiedKey {
        &self.key
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    fn request(&self, number: u64) -> Result<Stamped, Failure> {
        let asker = Asker {
            principal: &self.principal,
            identity: &self.identity,
            request_id: random_request_id(),
        };
        let payload = Payload::Text(format!("load sample {number}"));
        self.session.stamp(&asker, &self.subject, payload)
    }

    /// Asks once; the error says why there is no good signature.
    async fn ask(&self, request: &Stamped, due: Instant) -> (Duration, Result<(), String>) {
        let (stamp, payload) = (request.stamp.to_bytes(), request.payload_bytes());
        let answer = self.session.gateway().ask(&stamp, &payload).await;
        let took = due.elapsed();
        let outcome = match answer {
            Ok(Answer::Signed(signed)) => {
                check(&self.key, request, &signed).map_err(|e| e.to_string())
            }
            Ok(Answer::Failed(status, detail)) => {
                Err(format!("status {status}: {}", detail.message))
            }
            Ok(other) => Err(other.into_failure("not signed").to_string()),
            Err(failure) => Err(failure.to_string()),
        };
        (took, outcome)
    }
}

/// What became of one request.
#[derive(Debug)]
struct Sample {
    phase: usize,
    /// The phase in which the answer came.
    answered_in: usize,
    took: Duration,
    outcome: Result<(), String>,
}

/// A flow under way.
pub struct Flow {
    phase: Arc<AtomicUsize>,
    pacer: JoinHandle<Result<(), Failure>>,
    samples: mpsc::UnboundedReceiver<Sample>,
}

impl Flow {
    /// Starts a flow of `rate` requests each second, in phase 0.
    pub fn start(source: Arc<Source>, rate: u32) -> Self {
        let phase = Arc::new(AtomicUsize::new(0));
        let (out, samples) = mpsc::unbounded_channel();
        let (runtime, current) = (Handle::current(), Arc::clone(&phase));
        // A thread of its own sleeps to within a fraction of a millisecond, where the runtime's
        // timers round up to whole ones.
        let pacer = std::thread::spawn(move || pace(&source, rate, &current, &runtime, &out));
        Self {
            phase,
            pacer,
            samples,
        }
    }

    /// What is due from now on belongs to the phase.
    pub fn enter(&self, phase: usize) {
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// The phase, for those who watch.
    pub fn phase(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.phase)
    }

    /// Ends the flow, waits for what is under way, and gives the tally of each phase.
    pub async fn end(mut self, phases: usize) -> Result<Vec<Tally>, Failure> {
        self.enter(OVER);
        let mut tallies = vec![Tally::default(); phases];
        while let Some(sample) = self.samples.recv().await {
            if let Some(tally) = tallies.get_mut(sample.answered_in) {
                tally.answered_in_time += usize::from(sample.outcome.is_ok());
            }
            if let Some(tally) = tallies.get_mut(sample.phase) {
                tally.add(sample);
            }
        }
        let paced = self.pacer.join();
        paced.map_err(|_| Failure::new("the load's pacer ended early"))??;
        Ok(tallies)
    }
}

fn pace(
    source: &Arc<Source>,
    rate: u32,
    current: &Arc<AtomicUsize>,
    runtime: &Handle,
    out: &mpsc::UnboundedSender<Sample>,
) -> Result<(), Failure> {
    let began = Instant::now();
    for number in 0.. {
        // Stamping is the caller's work, done before the request is due.
        let request = source.request(number)?;
        let due = began + due_after(number, rate);
        if let Some(pause) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(pause);
        }
        let phase = current.load(Ordering::Relaxed);
        if phase == OVER {
            break;
        }
        let (source, out) = (Arc::clone(source), out.clone());
        let current = Arc::clone(current);
        runtime.spawn(async move {
            let (took, outcome) = source.ask(&request, due).await;
            // Nobody listens when the benchmark was interrupted.
            let _ = out.send(Sample {
                phase,
                answered_in: current.load(Ordering::Relaxed),
                took,
                outcome,
            });
        });
    }
    Ok(())
}

/// When the request with this number is due, from the flow's beginning.
fn due_after(number: u64, rate: u32) -> Duration {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// What became of the requests of one phase.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many were sent, all of which have ended.
    pub sent: usize,
    /// How many good signatures came while the phase lasted, whenever they were asked for.
    pub answered_in_time: usize,
    /// How long it took until a good signature was there, for each that got one.
    pub took: Vec<Duration>,
    /// Why the others failed, and how many of them.
    pub failures: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, sample: Sample) {
        self.sent += 1;
        match sample.outcome {
            Ok(()) => self.took.push(sample.took),
            Err(why) => *self.failures.entry(why).or_default() += 1,
        }
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// The quantiles of those that were answered, and the slowest in microseconds.
    pub fn latency(&self) -> (Quantiles, u64) {
        let slowest = self.took.iter().max().map_or(0, Duration::as_micros);
        let slowest = u64::try_from(slowest).unwrap_or(u64::MAX);
        (Quantiles::of(self.took.clone()), slowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_intervals_that_do_not_drift() {
        assert_eq!(due_after(0, 300), Duration::ZERO);
        assert_eq!(due_after(1, 200), Duration::from_millis(5));
        assert_eq!(due_after(3_000_000, 300), Duration::from_secs(10_000));
    }

    #[test]
    fn a_tally_keeps_failures_apart_from_latencies() {
        let mut tally = Tally::default();
        for (micros, outcome) in [
            (10, Ok(())),
            (30, Ok(())),
            (99, Err("status 503: late".to_owned())),
        ] {
            tally.add(Sample {
                phase: 0,
                answered_in: 0,
                took: Duration::from_micros(micros),
                outcome,
            });
        }
        assert_eq!((tally.sent, tally.failed()), (3, 1));
        let (quantiles, slowest) = tally.latency();
        assert_eq!((quantiles.p50_us, slowest), (10, 30));
        assert_eq!(tally.failures["status 503: late"], 1);
    }
}
