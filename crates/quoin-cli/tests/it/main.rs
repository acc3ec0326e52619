//! The whole product with real processes: `quoin dev` on temporary folders and free ports, the
//! command line as people use it, HTTP as programs use it, frames as a hostile gateway would send
//! them, and an unmodified `cast` against anvil.
//!
//! A cluster takes seconds to start, so each test plays several acts on one.

#[cfg(test)]
mod approvals;
#[cfg(test)]
mod custody;
mod demo;
#[cfg(test)]
mod derive;
#[cfg(test)]
mod ethereum;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod freeze;
#[cfg(test)]
mod freezing;
#[cfg(test)]
mod governance;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod journals;
#[cfg(test)]
mod load;
#[cfg(test)]
mod membership;
#[cfg(test)]
mod minutes;
#[cfg(test)]
mod passkey;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod prove;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod support;
