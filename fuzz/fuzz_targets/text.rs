//! Fuzzes the decoder of texts under Quoin's own tag.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quoin_chain::fuzzing::text(data));
