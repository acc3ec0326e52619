//! Every check of the engine that a test can switch off, by name.
//!
//! A check that can be removed without a test failing protects nobody. Each condition that stops an
//! attack passes through [`Guard::holds`]. In a node that is the plain condition: the function
//! compiles to nothing. Only in the crate's own test build, which no other crate can link, one guard
//! at a time can be switched off in the current thread, and each negative test shows that its
//! attack then succeeds. `docs/spec/ecdsa-checks.md` lists all of
//! them; a test compares the two.
//!
//! Not here: checks that cannot be removed without removing the data (a decoder that has no value
//! to give), and those of the node (journal, strikes, pools), which has its own tests.

macro_rules! guards {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal, $row:literal;)+) => {
        /// A check of the engine.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Guard {
            $($(#[doc = $doc])+ $name,)+
        }

        #[cfg(test)]
        impl Guard {
            /// All guards.
            pub(super) const ALL: &[Self] = &[$(Self::$name),+];

            /// The id in the table of checks.
            pub(super) const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// The row of the construction's section 15, or its section 21.
            pub(super) const fn row(self) -> &'static str {
                match self { $(Self::$name => $row,)+ }
            }
        }
    };
}

guards! {
    /// The header is the one that this node's own share and roster give.
    Header = "header", "1";
    /// The set has exactly t members and names us.
    SignerSet = "signer-set", "4";
    /// The stored share is the certified one, and the certified ones give the key.
    CertifiedShare = "certified-share", "21";
    /// A broadcast is signed by its sender, for this batch, round and place.
    BroadcastSignature = "broadcast-signature", "5";
    /// All first broadcasts were equal, before any secret-dependent check.
    ContextEqual = "context-equal", "6";
    /// A message has exactly the length that the header demands.
    ExactLength = "exact-length", "9";
    /// A zero-share seed opens its commitment.
    ZeroSeedOpens = "zero-seed-opens", "10";
    /// The trees are the committed ones.
    Trees = "trees", "12";
    /// The extension is consistent in all columns.
    Extension = "extension", "13";
    /// No multiplication before the checks of all peers have passed.
    RoundThreeGate = "round-three-gate", "15";
    /// The multiplication check.
    Multiplication = "multiplication", "16";
    /// Nonce points are those of the commitment.
    NonceCommitment = "nonce-commitment", "18";
    /// Products match the opened points.
    Points = "points", "19";
    /// The coefficients of the point check are random.
    RandomCoefficients = "random-coefficients", "22";
    /// The key shares add up to the key.
    KeySum = "key-sum", "21";
    /// No nonce point occurs twice.
    DistinctNonces = "distinct-nonces", "23";
    /// The sum of the nonce points is not the identity.
    IdentityNonce = "identity-nonce", "30";
    /// All confirmations are of one transcript.
    TranscriptEqual = "transcript-equal", "24";
    /// A confirmation is signed by its sender.
    ConfirmationSigned = "confirmation-signed", "24";
    /// A seed that is published in a dispute opens its commitment.
    DisputedSeedOpens = "disputed-seed-opens", "21.13";
    /// A key point is that of the certified share and the published seeds.
    DisputedKeyPoint = "disputed-key-point", "21.13";
    /// The digest is not zero.
    ZeroDigest = "zero-digest", "28";
    /// The tweak does not cancel the key.
    IdentityChild = "identity-child", "29";
    /// A treasury presignature is not answered in one round.
    TwoRounds = "two-rounds", "33";
    /// Openings are of one binding.
    OpeningsEqual = "openings-equal", "33";
    /// Opened entropy is the committed one.
    EntropyOpens = "entropy-opens", "33";
    /// Answers of different views do not combine.
    ViewsEqual = "views-equal", "32";
    /// Nothing is returned that does not verify.
    Verified = "verified", "31";
    /// Streams are keyed anew with the transcript of every round.
    Rekeyed = "rekeyed", "21.2";
}

impl Guard {
    /// Whether the check is passed: `condition`, unless a test has switched this guard off.
    #[cfg(not(test))]
    #[inline(always)]
    pub(crate) const fn holds(self, condition: bool) -> bool {
        condition
    }

    /// Whether the check is passed: `condition`, unless a test has switched this guard off.
    #[cfg(test)]
    pub(crate) fn holds(self, condition: bool) -> bool {
        condition || switch::OFF.get() == Some(self)
    }

    /// Whether a test has switched this guard off, for guards that are no condition.
    #[cfg(not(test))]
    #[inline(always)]
    pub(crate) const fn is_off(self) -> bool {
        false
    }

    /// Whether a test has switched this guard off, for guards that are no condition.
    #[cfg(test)]
    pub(crate) fn is_off(self) -> bool {
        switch::OFF.get() == Some(self)
    }

    /// Runs `body` with this guard switched off in the current thread.
    #[cfg(test)]
    pub(crate) fn without<T>(self, body: impl FnOnce() -> T) -> T {
        /// Switches back on even when the body panics: test threads may be used again.
        struct Restore;
        impl Drop for Restore {
            fn drop(&mut self) {
                switch::OFF.set(None);
            }
        }
        let _restore = Restore;
        switch::OFF.set(Some(self));
        body()
    }
}

#[cfg(test)]
mod switch {
    use super::Guard;
    use std::cell::Cell;

    thread_local! {
        /// The guard that is off.
        pub(super) static OFF: Cell<Option<Guard>> = const { Cell::new(None) };
    }
}
