//! A signer: the node core as a state machine, and its shell.
