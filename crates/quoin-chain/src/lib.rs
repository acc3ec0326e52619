//! Chain adapters: payload to intent and digest; signature to wire bytes.
