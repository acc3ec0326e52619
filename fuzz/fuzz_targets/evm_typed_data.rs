//! Fuzzes the decoder of EIP-712 typed data.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quoin_chain::fuzzing::typed_data(data));
