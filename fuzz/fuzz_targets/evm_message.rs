//! Fuzzes the decoder of EIP-191 messages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| quoin_chain::fuzzing::message(data));
