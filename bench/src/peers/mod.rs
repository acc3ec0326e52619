//! The peers: each a library of its own, driven through its public interface.

pub mod cait_sith;
pub mod cggmp24;
pub mod dkls23;
pub mod frost;
