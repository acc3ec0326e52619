//! Messages to bytes and back, charged to the parties that do it.
//!
//! A library that takes and gives decoded messages would look faster than one that takes and gives
//! bytes, although whoever uses it pays for the difference. So every message of every subject
//! crosses as bytes: encoded by its sender, decoded by each receiver.

use crate::meter::Meter;
use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Sends one message to one receiver.
pub fn post<T: Serialize + DeserializeOwned>(
    meter: &mut Meter,
    from: usize,
    to: usize,
    message: &T,
) -> Result<T> {
    let bytes = encode(meter, from, message)?;
    meter.sent(from, bytes.len());
    decode(meter, to, &bytes)
}

/// Sends each party's message to all others; for each receiver everyone's messages, in order.
pub fn publish<T: Clone + Serialize + DeserializeOwned>(
    meter: &mut Meter,
    messages: &[T],
) -> Result<Vec<Vec<T>>> {
    let mut received: Vec<Vec<T>> = vec![Vec::new(); messages.len()];
    for (from, message) in messages.iter().enumerate() {
        let bytes = encode(meter, from, message)?;
        for (to, mail) in received.iter_mut().enumerate() {
            if to == from {
                mail.push(message.clone());
            } else {
                meter.sent(from, bytes.len());
                mail.push(decode(meter, to, &bytes)?);
            }
        }
    }
    Ok(received)
}

/// Encodes a message in the compact form that one of the peers has chosen for itself.
pub fn encode(meter: &mut Meter, party: usize, message: &impl Serialize) -> Result<Vec<u8>> {
    Ok(meter.run(party, || postcard::to_allocvec(message))?)
}

/// Decodes a message.
pub fn decode<T: DeserializeOwned>(meter: &mut Meter, party: usize, bytes: &[u8]) -> Result<T> {
    Ok(meter.run(party, || postcard::from_bytes(bytes))?)
}
