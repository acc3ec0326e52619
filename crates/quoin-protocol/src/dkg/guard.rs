//! Every check of ceremonies and backups that a test can switch off, by name.
//!
//! A check that can be removed without a test failing protects nobody. Each condition that stops a
//! cheat passes through [`Guard::holds`]. In a node that is the plain condition: the function
//! compiles to nothing. Only in this crate's own test build a guard can be switched off in the
//! current thread, and each negative test shows that its cheat is then no longer
//! refused as it was. `docs/spec/share-life.md` lists all of them with their tests; a test
//! compares the two.
//!
//! Not here: checks that cannot be removed without removing the data, such as decoders.

macro_rules! guards {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal;)+) => {
        /// A check of a ceremony or a backup.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Guard {
            $($(#[doc = $doc])+ $name,)+
        }

        #[cfg(test)]
        impl Guard {
            /// All guards.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// The id in the table of checks.
            pub(crate) const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }
        }
    };
}

guards! {
    /// The threshold is between 1 and 7 and no more than there are nodes.
    Threshold = "threshold";
    /// No two nodes have one credential.
    Credentials = "credentials";
    /// There is one boot of each node, in order.
    Boots = "boots";
    /// The roster names our own identity.
    Myself = "myself";
    /// A key that is whole at every node has no successor.
    Shared = "shared";
    /// The base record's threshold fits its holders.
    BaseFits = "base-fits";
    /// The base record is of this cluster.
    BaseCluster = "base-cluster";
    /// The base record is not of a later charter.
    BaseCharter = "base-charter";
    /// The epoch number does not run over.
    LastEpoch = "last-epoch";
    /// A refresh is among exactly the holders, by index and credential.
    Holders = "holders";
    /// Dealers are named once and in order.
    DealersDistinct = "dealers-distinct";
    /// There are exactly as many dealers as the old threshold.
    DealersExact = "dealers-exact";
    /// Dealers hold shares of the old epoch, by index and credential.
    DealersHold = "dealers-hold";
    /// Dealers take part.
    DealersPresent = "dealers-present";
    /// Our old share is of the base record.
    OwnRecord = "own-record";
    /// Our old share is the certified one.
    OwnShare = "own-share";
    /// Everyone's message is there.
    Present = "present";
    /// A message is of the round that is waited for.
    Round = "round";
    /// Nothing is sent in private.
    NothingPrivate = "nothing-private";
    /// A broadcast has bounded length.
    Bounded = "bounded";
    /// A first broadcast names our ceremony.
    SameCeremony = "same-ceremony";
    /// A broadcast is signed by its sender, for this ceremony, round and place.
    Signed = "signed";
    /// There is one ceremony key for each dealer, in order.
    KeyForEach = "key-for-each";
    /// No ceremony key is there twice.
    KeysDistinct = "keys-distinct";
    /// A dealer answers our view of round 1.
    SameView = "same-view";
    /// Dealers show an opening, and nobody else does.
    Role = "role";
    /// There is one dealing for each receiver, in order.
    Receivers = "receivers";
    /// The opening is the committed one.
    Opens = "opens";
    /// A polynomial has exactly as many coefficients as the threshold.
    Degree = "degree";
    /// A birth shows a proof of possession, and nothing else does.
    ProofShown = "proof-shown";
    /// The proof of possession verifies.
    Possession = "possession";
    /// In a reshare, the constant term is the dealer's weighted certified share.
    Constant = "constant";
    /// A dealing lies on the dealer's polynomial.
    Dealing = "dealing";
    /// No two dealers of a birth have one constant term.
    Copied = "copied";
    /// Neither the key nor a public share is the identity.
    NotDegenerate = "not-degenerate";
    /// The constant terms of a reshare add up to the key.
    KeySum = "key-sum";
    /// The fresh public shares lie on one polynomial through the key.
    LowDegree = "low-degree";
    /// Our new share is the one that the record names.
    NewShare = "new-share";
    /// Echoes are of one transcript.
    EchoTranscript = "echo-transcript";
    /// An echo names the share that we computed for its sender.
    EchoShare = "echo-share";
    /// The accused of a complaint deals.
    AccusedDeals = "accused-deals";
    /// What belongs to the key stays.
    Inherited = "inherited";
    /// Epochs follow each other immediately.
    NextEpoch = "next-epoch";
    /// A record names the one before.
    Previous = "previous";
    /// Charters only grow.
    Charter = "charter";
    /// A backup has between 1 and 15 parts, and a threshold among them.
    BackupSize = "backup-size";
    /// A backup is of the share that its record names.
    BackupShare = "backup-share";
    /// A backup's polynomial goes through the certified public share.
    BackupConstant = "backup-constant";
    /// A backup's polynomial has the threshold's degree.
    BackupDegree = "backup-degree";
    /// A part is one of the backup's.
    PartIndex = "part-index";
    /// A part lies on the backup's polynomial.
    PartOnPolynomial = "part-on-polynomial";
    /// There are enough parts.
    EnoughParts = "enough-parts";
    /// What comes out is the certified share.
    RecoveredShare = "recovered-share";
    /// Shares of a whole key are of one record.
    OneRecord = "one-record";
    /// Shares of a whole key are of different nodes.
    DistinctShares = "distinct-shares";
    /// There are enough shares for a whole key.
    EnoughShares = "enough-shares";
    /// Each share of a whole key is the certified one.
    WholeShare = "whole-share";
    /// What comes out is the key.
    RecoveredKey = "recovered-key";
    /// An imported key has distinct holders and a threshold that fits.
    ImportFits = "import-fits";
    /// An imported key is not zero.
    ImportNotZero = "import-not-zero";
}

impl Guard {
    /// Whether the check is passed: `condition`, unless a test has switched this guard off.
    #[cfg(not(test))]
    #[inline(always)]
    #[expect(
        clippy::unused_self,
        reason = "the name of the check matters to tests only"
    )]
    pub(crate) const fn holds(self, condition: bool) -> bool {
        condition
    }

    /// Whether the check is passed: `condition`, unless a test has switched this guard off.
    #[cfg(test)]
    pub(crate) fn holds(self, condition: bool) -> bool {
        condition || switch::OFF.with_borrow(|off| off.contains(&self))
    }

    /// Runs `body` with this guard switched off in the current thread.
    #[cfg(test)]
    pub(crate) fn without<T>(self, body: impl FnOnce() -> T) -> T {
        /// Switches back on even when the body panics: test threads may be used again.
        struct Restore;
        impl Drop for Restore {
            fn drop(&mut self) {
                switch::OFF.with_borrow_mut(Vec::pop);
            }
        }
        let _restore = Restore;
        switch::OFF.with_borrow_mut(|off| off.push(self));
        body()
    }
}

#[cfg(test)]
mod switch {
    use super::Guard;
    use std::cell::RefCell;

    thread_local! {
        /// The guards that are off: more than one where a second check stands behind the first.
        pub(super) static OFF: RefCell<Vec<Guard>> = const { RefCell::new(Vec::new()) };
    }
}
