//! Fuzzes everything that arrives as canonical CBOR: frames, stamps, payloads, charters, approvals,
//! session messages, batch headers, key records and journal records. What decodes must encode back
//! to the same bytes.
#![no_main]

use quoin_core::{Certificate, Payload, Signed, Stamp, cbor};

const BYTES_MAX: usize = 1 << 20;

fn again<T>(data: &[u8])
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    if let Ok(value) = cbor::decode::<T>(data, BYTES_MAX) {
        assert_eq!(cbor::encode(&value), data);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = quoin_api::Frame::from_bytes(data) {
        assert_eq!(frame.to_bytes(), data);
    }
    if let Ok(signed) = Signed::<Stamp>::from_bytes(data) {
        assert_eq!(signed.to_bytes(), data);
    }
    if let Ok(signed) = Signed::<quoin_policy::Approval>::from_bytes(data) {
        assert_eq!(signed.to_bytes(), data);
    }
    if let Ok(charter) = Certificate::<quoin_policy::Charter>::from_bytes(data) {
        assert_eq!(charter.to_bytes(), data);
        let _ = charter.unverified().clone().check();
    }
    again::<Payload>(data);
    again::<quoin_protocol::RoundMessage>(data);
    again::<quoin_protocol::BatchHeader>(data);
    again::<quoin_protocol::KeyPublic>(data);
    if let Ok(record) = quoin_node::core::Record::from_bytes(data) {
        assert_eq!(record.to_bytes(), data);
    }
});
