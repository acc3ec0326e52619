//! What is measured of one run: each party's CPU time, the bytes it sent, and the deliveries.
//!
//! All parties share one thread and take turns, so the CPU time around a party's calls is that
//! party's own. Waiting does not count; a cache or a core shared with other work does, which is
//! why every figure is a median and why ratios are worth more than absolute values.

use rustix::time::{ClockId, clock_gettime};

/// The CPU time of this thread, in microseconds.
fn now_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// The meter of one run among some parties, numbered from 0.
pub struct Meter {
    cpu_us: Vec<f64>,
    bytes: Vec<f64>,
    rounds: u32,
}

impl Meter {
    /// A meter at zero.
    pub fn new(parties: usize) -> Self {
        Self {
            cpu_us: vec![0.0; parties],
            bytes: vec![0.0; parties],
            rounds: 0,
        }
    }

    /// Does a party's work and charges its CPU time to it.
    pub fn run<T>(&mut self, party: usize, work: impl FnOnce() -> T) -> T {
        let start = now_us();
        let result = work();
        let end = now_us();
        self.cpu_us[party] += end - start;
        result
    }

    /// Notes what a party sent: the bytes of each message times its recipients.
    pub fn sent(&mut self, party: usize, bytes: usize) {
        self.bytes[party] += bytes as f64;
    }

    /// Notes that everything that was waiting has been delivered.
    pub fn delivered(&mut self) {
        self.rounds += 1;
    }

    /// Adds what the same parties did at the same time as all this, in messages that travelled
    /// together with these.
    pub fn absorb(&mut self, other: &Self) {
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
        add(&mut self.cpu_us, &other.cpu_us);
        add(&mut self.bytes, &other.bytes);
    }

    /// The cost of one of `pieces` equal results of the run.
    pub fn cost_of_one(&self, pieces: u32) -> Cost {
        let share = |all: &[f64]| all.iter().map(|v| v / f64::from(pieces)).collect();
        Cost {
            cpu_us: share(&self.cpu_us),
            bytes: share(&self.bytes),
            rounds: self.rounds,
        }
    }

    /// The cost of the whole run.
    pub fn cost(&self) -> Cost {
        self.cost_of_one(1)
    }
}

/// What one run cost each party.
#[derive(Clone)]
pub struct Cost {
    /// CPU time by party, in microseconds.
    pub cpu_us: Vec<f64>,
    /// Payload sent over all recipients, before framing, by party.
    pub bytes: Vec<f64>,
    /// Lock-step deliveries.
    pub rounds: u32,
}

impl Cost {
    /// This cost and then another one, party by party.
    pub fn then(&self, next: &Self) -> Self {
        let add = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + b).collect();
        Self {
            cpu_us: add(&self.cpu_us, &next.cpu_us),
            bytes: add(&self.bytes, &next.bytes),
            rounds: self.rounds + next.rounds,
        }
    }

    /// This cost with `other`, a single party's, added to party 0: the coordinator is a signer too.
    pub fn coordinated(&self, other: &Self) -> Self {
        let mut cost = self.clone();
        cost.cpu_us[0] += other.cpu_us[0];
        cost.bytes[0] += other.bytes[0];
        cost
    }
}

/// The middle value; the lower one of two.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// The cost whose every figure is the median of that figure.
pub fn median_cost(costs: &[Cost]) -> Cost {
    let parties = costs[0].cpu_us.len();
    let column = |pick: fn(&Cost) -> &Vec<f64>| {
        (0..parties)
            .map(|p| median(&mut costs.iter().map(|c| pick(c)[p]).collect::<Vec<_>>()))
            .collect()
    };
    Cost {
        cpu_us: column(|c| &c.cpu_us),
        bytes: column(|c| &c.bytes),
        rounds: costs.iter().map(|c| c.rounds).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_charged_to_the_party_that_does_it() {
        let mut meter = Meter::new(2);
        let sum = meter.run(1, || {
            (0..1_000_000_u64).map(std::hint::black_box).sum::<u64>()
        });
        assert_eq!(sum, 499_999_500_000);
        let cost = meter.cost_of_one(2);
        assert_eq!(cost.cpu_us[0], 0.0);
        assert!(cost.cpu_us[1] > 0.0);
    }

    #[test]
    fn the_median_is_taken_for_each_party() {
        let cost = |a, b| Cost {
            cpu_us: vec![a, b],
            bytes: vec![a, b],
            rounds: 3,
        };
        let middle = median_cost(&[cost(1.0, 9.0), cost(2.0, 7.0), cost(50.0, 8.0)]);
        assert_eq!((middle.cpu_us, middle.rounds), (vec![2.0, 8.0], 3));
    }
}
