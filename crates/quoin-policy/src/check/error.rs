//! Every way in which a charter can fail.

use quoin_core::NodeIndex;

/// Why a charter is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CharterError {
    /// A list, text or the whole charter is over its limit.
    #[error("`{place}` has {found}, which is over the limit of {max}")]
    TooLarge {
        /// Where.
        place: String,
        /// How much there is.
        found: usize,
        /// How much there may be.
        max: usize,
    },
    /// A name or symbol is empty or not printable ASCII.
    #[error("`{place}` must be 1 to {max} printable ASCII characters")]
    BadText {
        /// Where.
        place: String,
        /// The longest text allowed.
        max: usize,
    },
    /// The threshold is outside its bounds.
    #[error(
        "`threshold` is {threshold} of {nodes} nodes, but must be 2 to 7 and at most all nodes"
    )]
    BadThreshold {
        /// The threshold.
        threshold: u8,
        /// How many nodes there are.
        nodes: usize,
    },
    /// `2t > n + f_tol` does not hold.
    #[error(
        "`f_tol` is {f_tol}: {threshold} of {nodes} nodes cannot promise exactly-once, because \
         twice the threshold must be over the number of nodes plus `f_tol`; lower `f_tol`, raise \
         `threshold`, or set `dangerous_disjoint_signers`"
    )]
    DisjointSigners {
        /// The threshold.
        threshold: u8,
        /// How many nodes there are.
        nodes: usize,
        /// The malicious nodes tolerated.
        f_tol: u8,
    },
    /// `f_tol` is not below the threshold.
    #[error("`f_tol` is {f_tol}, but {threshold} malicious nodes are enough to sign anything")]
    FTolOverThreshold {
        /// The threshold.
        threshold: u8,
        /// The malicious nodes tolerated.
        f_tol: u8,
    },
    /// The same index, id, name or credential occurs twice.
    #[error("`{place}`: `{value}` occurs twice")]
    Duplicate {
        /// Where the second one is.
        place: String,
        /// What occurs twice.
        value: String,
    },
    /// A credential's key is one that nothing can be signed with.
    #[error("`{place}` is no public key: nobody could ever sign for it")]
    DeadCredential {
        /// Where.
        place: String,
    },
    /// A principal has no credential.
    #[error("`{place}` has no credential")]
    NoCredential {
        /// The principal.
        place: String,
    },
    /// A node signs statements by itself, and a passkey needs a person.
    #[error("`{place}` is a passkey, which only people can use")]
    NodePasskey {
        /// The credential.
        place: String,
    },
    /// A quorum is zero, or larger than the number of those who could make it.
    #[error("`{place}` asks for {quorum} of `{role}`, which {holders} hold")]
    UnreachableQuorum {
        /// Where the quorum is stated.
        place: String,
        /// The role.
        role: String,
        /// How many are asked for.
        quorum: u8,
        /// How many hold the role.
        holders: usize,
    },
    /// A budget's window is zero or too long.
    #[error("`{place}` must be 60000 to 2678400000 milliseconds: one minute to 31 days")]
    BadWindow {
        /// Where.
        place: String,
    },
    /// A budget's cap is too small to be divided among the nodes.
    #[error("`{place}` must be at least {min}: a strict cap is divided by n - t + 1")]
    CapTooSmall {
        /// Where.
        place: String,
        /// The smallest cap that lets anything through.
        min: u64,
    },
    /// A sticky budget under a charter that allows disjoint signer sets.
    #[error(
        "`{place}` is `sticky`, which needs twice the threshold to be over the number of nodes plus \
         `f_tol`, and no `dangerous_disjoint_signers`; use `strict`"
    )]
    StickyOverDisjoint {
        /// Where.
        place: String,
    },
    /// A budget, policy or quorum names something that the charter does not define.
    #[error("`{place}` names `{name}`, which the charter does not define")]
    UnknownName {
        /// Where.
        place: String,
        /// The name.
        name: String,
    },
    /// An asset has too many decimals.
    #[error("`{place}` must be at most 36")]
    BadDecimals {
        /// Where.
        place: String,
    },
    /// The policies are not Cedar.
    #[error("`policies` cannot be read: {detail}")]
    PolicySyntax {
        /// What the reader says.
        detail: String,
    },
    /// The policies do not pass strict validation against the schema.
    #[error("policy `{policy}` is not valid: {detail}")]
    PolicyInvalid {
        /// The policy, by its `@id` or its place.
        policy: String,
        /// What the validator says.
        detail: String,
    },
    /// A policy has no `@id`, or a malformed one.
    #[error("{place} has no `@id(\"...\")` of 1 to 64 characters of `a-z`, `0-9`, `-`, `_`, `.`")]
    PolicyId {
        /// The policy's place in the text.
        place: String,
    },
    /// A policy has an annotation that is unknown or cannot be read.
    #[error("policy `{policy}`: annotation `@{annotation}(\"{value}\")` {problem}")]
    BadAnnotation {
        /// The policy.
        policy: String,
        /// The annotation's name.
        annotation: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A policy is a template, which charters do not have.
    #[error("policy `{policy}` is a template; write a policy for each case")]
    Template {
        /// The policy.
        policy: String,
    },
    /// One person could lift what one person has frozen.
    #[error(
        "policy `{policy}` permits `unfreeze` without the `@approvals` of others; lifting a freeze needs \
         more people than freezing, so say how many of which role must approve"
    )]
    UnfreezeAlone {
        /// The policy.
        policy: String,
    },
    /// No permit names the change of the charter.
    #[error(
        "no permit names `change_charter`, so that nobody could ever change this charter; add one, \
         such as `@id(\"govern\") permit (principal in Role::\"governor\", action == \
         Action::\"change_charter\", resource);`"
    )]
    NobodyChanges,
    /// Its own rules and grants would keep everybody from changing the charter again.
    #[error(
        "nobody could change this charter again: of its governors with grants that have not ended, \
         {able} are permitted to change its policies and {quorum} have to sign, and beside those who \
         sign there must be enough others with grants to give the approvals and receipts asked for"
    )]
    Ungovernable {
        /// How many are permitted to.
        able: usize,
        /// How many have to sign.
        quorum: u8,
    },
    /// The genesis names a cluster or predecessor, or is not number 0.
    #[error("`{place}` does not fit a genesis charter")]
    NotGenesis {
        /// The field.
        place: &'static str,
    },
    /// A later charter lacks its cluster or predecessor.
    #[error("`{place}` is missing; only the genesis goes without")]
    MissingLink {
        /// The field.
        place: &'static str,
    },
    /// A successor does not follow the current charter.
    #[error("`{place}` does not follow charter {current}")]
    NotSuccessor {
        /// The field.
        place: &'static str,
        /// The number of the current charter.
        current: u64,
    },
    /// A successor keeps fewer of the current nodes than must sign.
    #[error(
        "only {staying} nodes of charter {current} stay, and {threshold} must, each with its index \
         and credential: only nodes that hold shares can deal them to others; change the nodes in \
         two steps, and reshare every key in between"
    )]
    TooFewNodesStay {
        /// How many stay.
        staying: usize,
        /// How many must.
        threshold: u8,
        /// The number of the current charter.
        current: u64,
    },
    /// A successor gives the identity of one node to another index.
    #[error(
        "node {now} has the credential of node {before} of charter {current}, but an identity \
         keeps its index, which its shares and its journal name; make a new identity instead"
    )]
    NodeMoved {
        /// The node's index in the current charter.
        before: NodeIndex,
        /// Its index in the successor.
        now: NodeIndex,
        /// The number of the current charter.
        current: u64,
    },
    /// A backup asks for none, or for more officers than there are.
    #[error(
        "`backup.threshold` is {threshold} of {officers} officers; it must be 1 to all of them"
    )]
    BadBackupThreshold {
        /// How many officers open a backup.
        threshold: u8,
        /// How many there are.
        officers: usize,
    },
    /// An officer's recipient is not one.
    #[error(
        "`{place}` must be an X25519 recipient as `age-keygen` prints it: `age1` and 58 characters"
    )]
    BadRecipient {
        /// Where.
        place: String,
    },
    /// Someone who must sign the genesis has not.
    #[error("the genesis is not signed by {who}")]
    MissingSignature {
        /// The node or governor.
        who: String,
    },
    /// Too few governors signed the successor.
    #[error("signed by {signed} governors of the current charter, which asks for {quorum}")]
    TooFewGovernors {
        /// How many signed.
        signed: usize,
        /// How many are needed.
        quorum: u8,
    },
    /// A grant has no end worth the name.
    #[error(
        "`{place}` must be a time after 1970 and before the year 2100: every grant ends, and is \
         given again by another charter"
    )]
    GrantWithoutEnd {
        /// Where.
        place: String,
    },
    /// A proposed grant is too long.
    #[error("`{place}` is more than three years ahead; every grant ends, so name an earlier time")]
    GrantTooLong {
        /// Where.
        place: String,
    },
    /// Principals delegate to each other in a circle.
    #[error("`{place}` is part of a circle of delegations: {}", .cycle.join(" from "))]
    DelegationCycle {
        /// Where.
        place: String,
        /// The circle, each from the next.
        cycle: Vec<String>,
    },
    /// A delegation of a delegation, and so on, too often.
    #[error("`{place}` is more than {max} delegations away from a principal that has none")]
    DelegationDepth {
        /// Where.
        place: String,
        /// How many there may be.
        max: usize,
    },
    /// A delegated grant ends after the grant that it comes from.
    #[error("`{place}` is after the end of the grant of `{grantor}`, from which it comes")]
    DelegationOutlasts {
        /// Where.
        place: String,
        /// Who delegated.
        grantor: String,
    },
    /// A role is delegated by somebody who does not hold it.
    #[error("`{place}` has `{role}`, which `{grantor}` does not hold and cannot delegate")]
    DelegationExceeds {
        /// Where.
        place: String,
        /// The role.
        role: String,
        /// Who delegated.
        grantor: String,
    },
    /// The role of a governor is delegated.
    #[error("`{place}` has `governor`, which cannot be delegated; only a charter makes governors")]
    DelegatedGovernor {
        /// Where.
        place: String,
    },
    /// A role that looks like one that Quoin knows.
    #[error(
        "`{place}` has the role `{role}`, which is easily taken for `{known}`; write that, or choose \
         another name"
    )]
    RoleLooksLike {
        /// Where.
        place: String,
        /// The role.
        role: String,
        /// The one that it looks like.
        known: &'static str,
    },
    /// One failure, or one adversary, would reach the threshold or a quorum.
    #[error(
        "`{place}`: {domain} has {count}, and {quorum} are enough; spread them, or set \
         `dangerous_single_failure_domain`"
    )]
    SingleFailureDomain {
        /// Where.
        place: String,
        /// The operator, cloud account or region.
        domain: String,
        /// How many it has.
        count: usize,
        /// How many are enough.
        quorum: u8,
    },
    /// A key that signs bare digests may be an account without a cap of its own.
    #[error(
        "`keys.{key}` says `dangerous_digest_account`, which needs a budget with the scope key \
         `{key}`: nobody can see what such a key signs"
    )]
    DigestAccountWithoutBudget {
        /// The key.
        key: String,
    },
    /// A fact is believed for no time, or for too long.
    #[error("`{place}` must be 1 to 86400000 milliseconds, which is a day")]
    BadFactAge {
        /// Where.
        place: String,
    },
    /// A fact is believed whatever feeds say.
    #[error("`{place}` must be at most 10000, which is the whole value")]
    BadDeviation {
        /// Where.
        place: String,
    },
    /// A margin fact names what is no margin account.
    #[error("`{place}` names `{name}`, which the address book does not have as a margin account")]
    NotMargin {
        /// Where.
        place: String,
        /// The name.
        name: String,
    },
    /// An entry of the address book has an asset of another chain.
    #[error("`{place}` has `{asset}`, which is not on the entry's chain `{chain}`")]
    ForeignAsset {
        /// Where.
        place: String,
        /// The asset.
        asset: String,
        /// The chain.
        chain: String,
    },
    /// The cooling-off is too long.
    #[error("`cooling_off_ms` must be at most 2678400000 milliseconds, which is 31 days")]
    CoolingOffTooLong,
    /// Payloads would be gone while their requests can still be judged.
    #[error(
        "`payload_retention_days` must be at least 40: requests are judged for up to 31 days, and \
         budgets look back as far"
    )]
    RetentionTooShort,
    /// A recovery could be brought by fewer people than any other charter.
    #[error(
        "`recovery.quorum` is {quorum} and must be at least {min}: what so few may do, an attacker \
         would do instead of asking the governors"
    )]
    WeakRecovery {
        /// The quorum.
        quorum: u8,
        /// The least.
        min: u8,
    },
    /// A recovery waits too short or too long.
    #[error("`recovery.delay_ms` must be 7 to 31 days: 604800000 to 2678400000 milliseconds")]
    BadRecoveryDelay,
    /// A charter that only a recovery carries changes more than who governs.
    #[error(
        "`{place}` changes, but a recovery may only put other governors in place; let them sign \
         what else has to change"
    )]
    RecoveryOversteps {
        /// Where.
        place: String,
    },
}
