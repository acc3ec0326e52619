//! One module for each command that talks to a cluster or prepares one. `dev` and `bench`, which
//! run a cluster themselves, have their own.

pub mod approve;
pub mod backup;
pub mod book;
pub mod change;
pub mod charter;
pub mod derive;
pub mod feed;
pub mod freeze;
pub mod init;
pub mod journal;
pub mod key;
pub mod notice;
pub mod outstanding;
pub mod proposals;
pub mod sequence;
pub mod serve;
pub mod sign;
pub mod single;
pub mod unfreeze;
pub mod whole;
