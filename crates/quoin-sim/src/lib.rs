//! The cluster simulator: fault injection, checkers, replay.
