//! Every domain tag of the project, in one table.
//!
//! A tag separates one use of a hash or a signature from every other. Nothing is hashed or signed
//! without one. Adding a tag here is the only way to make a new domain; a test checks that no two
//! tags are equal and that none is a prefix of another once the hash's length framing is applied.

/// A domain tag: the full text that enters the hash or the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(&'static str);

impl Tag {
    /// The text of the tag.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.0
    }
}

macro_rules! tags {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: Tag = Tag($text);)+

        /// All tags, for the test that they are distinct and for the specification's table.
        pub const ALL: &[Tag] = &[$($name),+];
    };
}

tags! {
    /// The genesis charter's hash, which is the cluster id.
    GENESIS = "quoin/genesis/v1";
    /// A charter of any number.
    CHARTER = "quoin/charter/v1";
    /// A caller's stamp on a request.
    STAMP = "quoin/stamp/v1";
    /// All that a request id stands for.
    REQUEST = "quoin/request/v1";
    /// The hash of a payload.
    PAYLOAD = "quoin/payload/v1";
    /// The hash that approvals sign.
    INTENT = "quoin/intent/v1";
    /// A person's approval of an intent.
    APPROVAL = "quoin/approval/v1";
    /// The text of one policy, as an intent hash names it.
    POLICY = "quoin/policy/v1";
    /// A node's signed denial (tombstone).
    DENIAL = "quoin/denial/v1";
    /// A freeze.
    FREEZE = "quoin/freeze/v1";
    /// The state of all freezes, as heartbeats name it.
    FREEZE_SET = "quoin/freeze-set/v1";
    /// A veto of a request or of a proposed charter.
    VETO = "quoin/veto/v1";
    /// A watcher's receipt of a notice.
    RECEIPT = "quoin/receipt/v1";
    /// A feed's statement of facts.
    FACTS = "quoin/facts/v1";
    /// A node's acknowledgement of a numbered signer set.
    SET_ACK = "quoin/signer-set/ack/v1";
    /// The hash that approvals of a proposed charter sign.
    PROPOSAL = "quoin/charter/proposal/v1";
    /// A node's signed heartbeat.
    HEARTBEAT = "quoin/heartbeat/v1";
    /// One link of a journal's hash chain.
    JOURNAL = "quoin/journal/record/v1";
    /// A node's signed answer in online signing.
    ANSWER_SIGNATURE = "quoin/answer/v1";
    /// A key ceremony's transcript as certified by every node.
    KEY_CERTIFICATE = "quoin/key/certificate/v1";
    /// A signed broadcast of a session round.
    ROUND = "quoin/session/round/v1";
    /// A text that a person signs with a key of Quoin's (no chain gives it a meaning).
    MESSAGE = "quoin/message/v1";
    /// The wrapping of a share's data key.
    SEAL = "quoin/seal/v1";
    /// A gateway's request to a node.
    GATEWAY = "quoin/gateway/v1";

    /// ECDSA engine: signed broadcast part.
    ECDSA_BCAST = "quoin/ecdsa/v1/bcast";
    /// ECDSA engine: context before round 1.
    ECDSA_CTX0 = "quoin/ecdsa/v1/ctx0";
    /// ECDSA engine: context after round 1.
    ECDSA_CTX1 = "quoin/ecdsa/v1/ctx1";
    /// ECDSA engine: commitment to the nonce points.
    ECDSA_COMMIT = "quoin/ecdsa/v1/commit";
    /// ECDSA engine: zero-share value.
    ECDSA_ZERO = "quoin/ecdsa/v1/zero";
    /// ECDSA engine: commitment to a zero-share seed.
    ECDSA_ZCOM = "quoin/ecdsa/v1/zcom";
    /// ECDSA engine: base-OT hash to group.
    ECDSA_OT_H2G = "quoin/ecdsa/v1/ot/h2g";
    /// ECDSA engine: base-OT key.
    ECDSA_OT_KEY = "quoin/ecdsa/v1/ot/key";
    /// ECDSA engine: tree node expansion.
    ECDSA_GGM_NODE = "quoin/ecdsa/v1/ggm/node";
    /// ECDSA engine: tree level pad.
    ECDSA_GGM_PAD = "quoin/ecdsa/v1/ggm/pad";
    /// ECDSA engine: tree leaf expansion.
    ECDSA_GGM_LEAF = "quoin/ecdsa/v1/ggm/leaf";
    /// ECDSA engine: tree leaf check.
    ECDSA_GGM_CHK = "quoin/ecdsa/v1/ggm/chk";
    /// ECDSA engine: check over all leaves.
    ECDSA_GGM_ALL = "quoin/ecdsa/v1/ggm/all";
    /// ECDSA engine: keys of the extension check.
    ECDSA_EXT_CHI = "quoin/ecdsa/v1/ext/chi";
    /// ECDSA engine: transcript of one direction after round 2.
    ECDSA_T2 = "quoin/ecdsa/v1/t2";
    /// ECDSA engine: pad key.
    ECDSA_PAD_KEY = "quoin/ecdsa/v1/pad/key";
    /// ECDSA engine: hash of the corrections.
    ECDSA_RVOLE_ATILDE = "quoin/ecdsa/v1/rvole/atilde";
    /// ECDSA engine: challenges of the multiplication check.
    ECDSA_RVOLE_THETA = "quoin/ecdsa/v1/rvole/theta";
    /// ECDSA engine: the multiplication check's value.
    ECDSA_RVOLE_MU = "quoin/ecdsa/v1/rvole/mu";
    /// ECDSA engine: the constant gadget vector.
    ECDSA_GADGET = "quoin/ecdsa/v1/gadget";
    /// ECDSA engine: transcript of a finished batch.
    ECDSA_BATCH = "quoin/ecdsa/v1/batch";
    /// ECDSA engine: confirmation of a finished batch.
    ECDSA_CONFIRM = "quoin/ecdsa/v1/confirm";
    /// ECDSA engine: re-randomisation, normal profile.
    ECDSA_DELTA = "quoin/ecdsa/v1/delta";
    /// ECDSA engine: re-randomisation, treasury profile.
    ECDSA_DELTA_TREASURY = "quoin/ecdsa/v1/delta-treasury";
    /// ECDSA engine: commitment to a signer's entropy, treasury profile.
    ECDSA_ENTROPY = "quoin/ecdsa/v1/entropy";
    /// ECDSA engine: the view that an online answer belongs to.
    ECDSA_ANSWER = "quoin/ecdsa/v1/answer";
    /// ECDSA engine: hedged randomness.
    ECDSA_RNG = "quoin/ecdsa/v1/rng";

    /// Schnorr nonce batches: session context.
    FROST_CTX = "quoin/frost/v1/ctx";
    /// Schnorr nonce batches: transcript of a finished batch.
    FROST_BATCH = "quoin/frost/v1/batch";
    /// Schnorr nonce batches: confirmation of a finished batch.
    FROST_CONFIRM = "quoin/frost/v1/confirm";
    /// Schnorr nonce batches: the view that an online answer belongs to.
    FROST_ANSWER = "quoin/frost/v1/answer";

    /// Key generation: session context.
    DKG_CTX = "quoin/dkg/v1/ctx";
    /// Key generation: commitment to a dealer's polynomial.
    DKG_COM = "quoin/dkg/v1/com";
    /// Key generation: challenge of the proof of possession.
    DKG_POP = "quoin/dkg/v1/pop";
    /// Key generation: hash of all round-1 broadcasts.
    DKG_ROUND1 = "quoin/dkg/v1/round1";
    /// Key generation: transcript of all broadcasts.
    DKG_TRANSCRIPT = "quoin/dkg/v1/transcript";
    /// Key generation: associated data of an encrypted dealing.
    DKG_DEAL = "quoin/dkg/v1/deal";
    /// Key generation: signed complaint against a dealer.
    DKG_COMPLAINT = "quoin/dkg/v1/complaint";
    /// What stands for the transcript of a key that was imported by dealing.
    DKG_IMPORT = "quoin/dkg/v1/import";

    /// The BIP-32 chain code of a key that is born in a ceremony.
    CHAIN_CODE = "quoin/derive/v1/chain-code";
    /// Additive derivation of child keys on Ed25519.
    DERIVE_ED25519 = "quoin/derive/v1/ed25519";
    /// A node's statement that it holds the certificate of a share epoch durably.
    EPOCH_HELD = "quoin/key/held/v1";
    /// A node's statement that it will never endorse the record of a ceremony.
    CEREMONY_ABANDONED = "quoin/key/abandoned/v1";
    /// A node's statement of a key's state, its erased shares and outstanding backups among it.
    KEY_STATE = "quoin/key/state/v1";
    /// A node's statement that it has pardoned or readmitted another one.
    NODE_CHANGED = "quoin/node/changed/v1";
    /// A node's statement that it has lifted freezes.
    UNFROZEN = "quoin/unfrozen/v1";
    /// The public header of a share's backup.
    BACKUP = "quoin/backup/v1";

    /// A signer's opening in the first online round of a treasury key.
    TREASURY_OPENING = "quoin/treasury/opening/v1";
    /// The message that an opening binds, where it is no digest.
    TREASURY_MESSAGE = "quoin/treasury/message/v1";
    /// All openings of one presignature, as answers and combiner hash them.
    TREASURY_OPENINGS = "quoin/treasury/openings/v1";

    /// Model scheme of the simulator: all of its hashes.
    MODEL = "quoin/model/v1";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_distinct_and_none_is_a_prefix_of_another() {
        for (i, a) in ALL.iter().enumerate() {
            for b in ALL.iter().skip(i + 1) {
                assert_ne!(a, b);
                // The hash frames a tag by hashing it first, so prefixes cannot collide there;
                // base-OT hash-to-group appends fixed-length fields to the bare text, so a tag
                // that extends another one would be ambiguous.
                assert!(
                    !a.text().starts_with(&format!("{}/", b.text())),
                    "{a:?} {b:?}"
                );
            }
        }
    }
}
