//! Recovery: a node that is rebuilt from any prefix of its journal knows what it knew then.

use super::cluster::{FRIEND, SLOW, STRANGER, first_boot};
use super::{Net, node, set};
use crate::core::{Effect, Node, Record, Ticket};
use proptest::prelude::*;
use quoin_api::Frame;
use quoin_api::statements::Denial;
use quoin_core::cbor::Version;
use quoin_core::{Generation, PayloadHash, RequestId, Signed};

/// What callers may do to the cluster in a run.
#[derive(Clone, Debug)]
enum Step {
    /// Ask node 1 to sign, and finish and post the signature when the second says so.
    Pay {
        id: u8,
        nonce: u64,
        finish: bool,
    },
    Stranger {
        id: u8,
    },
    Slow {
        id: u8,
    },
    /// Sign with nodes 2 and 3, and post to node 1.
    Elsewhere {
        id: u8,
        nonce: u64,
    },
    /// Another node denies.
    Tombstone {
        id: u8,
        by: u8,
    },
    Wait {
        minutes: u64,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 1..7u8;
    prop_oneof![
        4 => (id(), 0..6u64, any::<bool>())
            .prop_map(|(id, nonce, finish)| Step::Pay { id, nonce, finish }),
        1 => id().prop_map(|id| Step::Stranger { id }),
        2 => id().prop_map(|id| Step::Slow { id }),
        2 => (id(), 0..6u64).prop_map(|(id, nonce)| Step::Elsewhere { id, nonce }),
        3 => (id(), 2..4u8).prop_map(|(id, by)| Step::Tombstone { id, by }),
        2 => (1..40u64).prop_map(|minutes| Step::Wait { minutes }),
        1 => Just(Step::Restart),
    ]
}

/// Everything of a node that its answers to known requests depend on.
fn knowledge(net: &Net, core: &Node) -> Vec<String> {
    let budget = net.cluster.budget();
    let mut lines = vec![format!(
        "own {:?} all {:?}",
        core.ledger.spent_own(budget, net.now),
        core.ledger.spent(budget, net.now)
    )];
    for (id, s) in &core.requests {
        lines.push(format!(
            "{id}: {:?} {:?} {:?} decided {} answered {} denial {:?} finished {:?} tombstones {:?} \
             released {} holds {}",
            s.binding,
            s.not_after,
            s.first_seen,
            s.decided,
            s.answered,
            s.denial,
            s.finished,
            s.tombstones,
            s.released,
            core.ledger.holds(*id)
        ));
    }
    lines
}

/// Lets the signers of a set sign as far as they will, and posts the signature to node 1.
fn try_sign(net: &mut Net, work: &super::Work, signers: &[u8], finish: bool) {
    let signers = set(signers);
    let Some(id) = net.lease(&signers, 1).first().copied() else {
        return;
    };
    let would = |reply| matches!(reply, Some(quoin_api::frame::Reply::Answer(_)));
    let all: Vec<bool> = signers
        .iter()
        .map(|n| would(net.ask(n.get(), work, &signers, id)))
        .collect();
    if finish && all.iter().all(|a| *a) && !net.lease(&signers, 1).is_empty() {
        net.advance(300);
        let finished = net.sign(work, &signers);
        net.gateway_says(1, Frame::Finished(work.finished(&finished)));
    }
}

fn take(net: &mut Net, step: &Step) {
    match step {
        Step::Pay { id, nonce, finish } => {
            let work = net.cluster.pay(*id, *nonce, FRIEND);
            try_sign(net, &work, &[1, 2], *finish);
        }
        Step::Stranger { id } => {
            let work = net.cluster.pay(*id, 50, STRANGER);
            try_sign(net, &work, &[1, 2], false);
        }
        Step::Slow { id } => {
            let work = net.cluster.pay(*id, 60 + u64::from(*id), SLOW);
            try_sign(net, &work, &[1, 2], false);
        }
        Step::Elsewhere { id, nonce } => {
            let work = net.cluster.pay(*id, *nonce, FRIEND);
            try_sign(net, &work, &[2, 3], true);
        }
        Step::Tombstone { id, by } => tombstone(net, *id, *by),
        Step::Wait { minutes } => net.jump(minutes * 60_000),
        Step::Restart => net.restart(1),
    }
    net.advance(600);
}

fn tombstone(net: &mut Net, id: u8, by: u8) {
    let request_id = RequestId([id; 16]);
    let denial = Denial {
        version: Version,
        cluster: net.cluster.id,
        boot: first_boot(node(by)),
        request_id,
        payload_hash: PayloadHash([0; 32]),
        charter_hash: net.cluster.genesis.unverified().hash(),
        rule: None,
        field: None,
        message: "no".to_owned(),
        suggestion: None,
    };
    let identity = net.cluster.identities[&node(by)].clone();
    let bytes = Signed::sign(denial, &identity).to_bytes();
    net.gateway_says(1, Frame::Tombstone(bytes));
}

fn rebuilt(net: &Net, count: usize) -> Node {
    Node::recover(net.recovered(1, count), &mut Vec::new()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_node_knows_after_recovery_what_it_knew_before(
        steps in proptest::collection::vec(step(), 1..14)
    ) {
        let mut net = Net::calm();
        for step in &steps {
            take(&mut net, step);
            let count = net.host(1).records().len();
            let before = knowledge(&net, net.core(1));
            let after = knowledge(&net, &rebuilt(&net, count));
            prop_assert_eq!(before, after, "after {:?}", step);
        }
        // Any prefix is a state that a crash may leave; the node must start from each.
        let count = net.host(1).records().len();
        for prefix in 2..=count {
            rebuilt(&net, prefix);
        }
    }
}

#[test]
fn a_run_through_every_kind_of_knowledge_is_recovered_at_every_step() {
    let script = [
        Step::Pay {
            id: 1,
            nonce: 0,
            finish: true,
        },
        Step::Pay {
            id: 2,
            nonce: 1,
            finish: false,
        },
        Step::Stranger { id: 3 },
        Step::Slow { id: 4 },
        Step::Elsewhere { id: 5, nonce: 2 },
        Step::Tombstone { id: 2, by: 2 },
        Step::Restart,
        Step::Tombstone { id: 2, by: 3 },
        Step::Tombstone { id: 3, by: 2 },
        Step::Wait { minutes: 61 },
        Step::Slow { id: 4 },
        Step::Pay {
            id: 6,
            nonce: 1,
            finish: false,
        },
    ];
    let mut net = Net::calm();
    for step in &script {
        take(&mut net, step);
        let count = net.host(1).records().len();
        let before = knowledge(&net, net.core(1));
        assert_eq!(
            before,
            knowledge(&net, &rebuilt(&net, count)),
            "after {step:?}"
        );
    }
    let of = |id: u8| &net.core(1).requests[&RequestId([id; 16])];
    assert!(of(1).decided && of(1).finished.is_some());
    // What was answered is never freed, whatever the others swear.
    assert!(of(2).answered && !of(2).released && of(2).tombstones.len() == 2);
    assert!(of(3).denial.is_some() && of(3).tombstones.len() == 2);
    assert!(of(4).first_seen.is_some() && of(4).decided);
    assert!(!of(5).decided && of(5).finished.is_some());
    assert!(of(6).denial.is_some());
    assert_eq!(net.spent(1), (3, 4));
}

#[test]
fn a_start_writes_its_boot_and_its_generation_only_grows() {
    let mut net = Net::off(super::Shape::default());
    for generation in 1..5 {
        let mut effects = Vec::new();
        let recovered = net.recovered(1, usize::MAX);
        let core = Node::recover(recovered, &mut effects).unwrap();
        assert_eq!(core.boot().generation, Generation(generation));
        assert!(matches!(
            &effects[..],
            [Effect::Persist(Ticket(1), Record::Boot(boot), secrets)]
                if boot.generation == Generation(generation) && secrets.is_empty()
        ));
        net.start(node(1));
    }
}

#[test]
fn a_write_that_was_lost_in_a_crash_is_not_known_afterwards() {
    let (mut net, id) = super::ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(1).hold = true;
    net.ask(1, &work, &set(&[1, 2]), id);
    net.restart(1);
    assert_eq!(net.spent(1), (0, 0));
    assert!(!net.core(1).requests.contains_key(&work.id));
}

#[test]
fn a_decision_whose_answer_was_never_sent_is_charged_and_can_be_asked_for_again() {
    let (mut net, id) = super::ready();
    let work = net.cluster.pay(1, 0, FRIEND);
    net.host(1).hold = true;
    net.ask(1, &work, &set(&[1, 2]), id);
    // The disk has it, but the node dies before it hears of that.
    net.sync(node(1));
    net.restart(1);
    assert_eq!(net.spent(1), (1, 1));
    net.advance(1_000);
    net.sign(&work, &set(&[1, 2]));
    assert_eq!(net.spent(1), (1, 1));
}
