//! Fuzzes the decoder of unsigned EVM transactions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quoin_chain::fuzzing::transaction(data));
