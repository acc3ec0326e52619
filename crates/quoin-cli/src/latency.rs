//! Latency as a caller sees it: sequential requests on one kept-alive connection, each stamped,
//! sent, judged, signed, combined and verified.

use crate::client::keys::VerifiedKey;
use crate::client::{Answer, Asker, Session, Stamped, Subject};
use crate::command::sign::check;
use crate::failure::Failure;
use crate::folder::random_request_id;
use quoin_core::{ChainId, Payload, PrincipalId, SigningIdentity};
use std::time::{Duration, Instant};

/// How many signatures are made before the first is measured.
pub const WARM_UP: usize = 20;

/// What was measured, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// The median.
    pub p50_us: u64,
    /// All but one in a hundred are at most this.
    pub p99_us: u64,
}

impl Quantiles {
    /// The quantiles of durations; zero of none.
    pub fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |per_cent: usize| {
            // The smallest sample that so many per cent are at most equal to.
            let rank = (samples.len() * per_cent).div_ceil(100).saturating_sub(1);
            let sample = samples.get(rank).copied().unwrap_or_default();
            u64::try_from(sample.as_micros()).unwrap_or(u64::MAX)
        };
        Self {
            p50_us: at(50),
            p99_us: at(99),
        }
    }
}

/// Who signs what for a measurement.
#[derive(Debug)]
pub struct Bench<'a> {
    /// The session.
    pub session: &'a Session,
    /// Who asks.
    pub principal: &'a PrincipalId,
    /// Its credential.
    pub identity: &'a SigningIdentity,
}

impl Bench<'_> {
    /// Signs `count` short texts with the key and measures from the sent stamp to the answer.
    /// Every signature is verified, outside the measured time.
    pub async fn measure(&self, key: &VerifiedKey, count: usize) -> Result<Quantiles, Failure> {
        let subject = Subject::of_key(key, ChainId::Quoin)?;
        for number in 0..WARM_UP {
            let request = self.request(&subject, number)?;
            self.sign(key, &request).await?;
        }
        let mut samples = Vec::with_capacity(count);
        for number in 0..count {
            let request = self.request(&subject, number)?;
            samples.push(self.sign(key, &request).await?);
        }
        Ok(Quantiles::of(samples))
    }

    fn request(&self, subject: &Subject, number: usize) -> Result<Stamped, Failure> {
        let asker = Asker {
            principal: self.principal,
            identity: self.identity,
            request_id: random_request_id(),
        };
        let payload = Payload::Text(format!("latency sample {number}"));
        self.session.stamp(&asker, subject, payload)
    }

    async fn sign(&self, key: &VerifiedKey, request: &Stamped) -> Result<Duration, Failure> {
        let started = Instant::now();
        let answer = self.session.ask(request).await?;
        let took = started.elapsed();
        match answer {
            Answer::Signed(signed) => check(key, request, &signed).map(|()| took),
            other => Err(other.into_failure("a sample was not signed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_and_none_are_zero() {
        let micros = |n: u64| Duration::from_micros(n);
        let all = Quantiles::of((1..=100).rev().map(micros).collect());
        assert_eq!((all.p50_us, all.p99_us), (50, 99));
        let one = Quantiles::of(vec![micros(7)]);
        assert_eq!((one.p50_us, one.p99_us), (7, 7));
        let none = Quantiles::of(Vec::new());
        assert_eq!((none.p50_us, none.p99_us), (0, 0));
    }
}
