//! The one place of this crate that reads the wall clock.

use quoin_core::TimeMs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The time now.
pub fn now() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    TimeMs(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}
