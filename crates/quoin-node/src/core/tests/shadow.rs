//! Shadow mode counts what would be decided otherwise, and decides nothing. Explanations say what
//! would be decided, and decide nothing either.

use super::cluster::{FRIEND, STRANGER, Shape, Work};
use super::{Net, node, set};
use crate::core::{Event, Peer, Record};
use quoin_api::Frame;
use quoin_api::frame::{ExplainRequest, ProposalBody, Refusal, Reply};
use quoin_core::cbor;
use quoin_core::{Certificate, PresignatureId, Signed, Stamp, TimeMs};
use quoin_policy::{Charter, Explanation, Outcome};

/// A charter that waits for its delay.
fn proposed(policies: impl Fn(&str) -> String) -> Net {
    let mut net = Net::with(Shape {
        govern: "@delay(\"1h\")",
        ..Shape::default()
    });
    net.advance(1_000);
    let certificate = next(&net, policies);
    net.gateway_says(1, Frame::Charter(certificate.to_bytes()));
    net
}

fn next(net: &Net, policies: impl Fn(&str) -> String) -> Certificate<Charter> {
    let current = net.core(1).charter().unverified();
    let charter = Charter {
        policies: policies(&current.policies),
        ..net.cluster.next_charter(current, "next")
    };
    net.cluster.certified(charter, 2)
}

/// The policies without a word for `FRIEND`: the trader may pay nobody at once.
fn stricter(policies: &str) -> String {
    policies.replace("@id(\"pay-friend\")", "@id(\"pay-friend\")\n@delay(\"2h\")")
}

fn body(net: &Net, index: u8) -> ProposalBody {
    net.core(index).list_proposals().remove(0)
}

fn ask(net: &mut Net, work: &Work, id: PresignatureId) -> Option<Reply> {
    net.ask(1, work, &set(&[1, 2]), id)
}

#[test]
fn requests_that_a_proposal_would_decide_otherwise_are_counted_and_told() {
    let mut net = proposed(stricter);
    let ids = net.lease(&set(&[1, 2]), 2);
    let allowed = net.cluster.pay(1, 0, FRIEND);
    assert!(matches!(
        ask(&mut net, &allowed, ids[0]),
        Some(Reply::Answer(_))
    ));
    net.advance(200);
    let denied = net.cluster.pay(2, 1, STRANGER);
    assert!(matches!(
        ask(&mut net, &denied, ids[1]),
        Some(Reply::Denied(_))
    ));
    let body = body(&net, 1);
    assert_eq!((body.judged, body.flipped), (2, 1));
    assert_eq!(body.flips.len(), 1);
    let words = &body.flips[0];
    assert!(
        words.contains("trader") && words.contains("`pay-friend`"),
        "{words}"
    );
    assert!(words.contains("once more has happened"), "{words}");
}

#[test]
fn a_request_that_is_asked_for_again_is_counted_once() {
    let mut net = proposed(stricter);
    let ids = net.lease(&set(&[1, 2]), 2);
    let work = net.cluster.pay(1, 0, FRIEND);
    for id in ids {
        ask(&mut net, &work, id);
        net.advance(200);
    }
    assert_eq!(body(&net, 1).judged, 1);
}

#[test]
fn a_busy_node_shadows_nothing() {
    let mut net = proposed(stricter);
    let ids = net.lease(&set(&[1, 2]), 4);
    for (place, id) in (0..).zip(ids) {
        let work = net.cluster.pay(place + 1, u64::from(place), FRIEND);
        ask(&mut net, &work, id);
    }
    assert_eq!(body(&net, 1).judged, 1, "in one moment");
}

#[test]
fn a_proposal_that_too_few_have_signed_is_no_shadow() {
    let mut net = Net::calm();
    let certificate = next(&net, stricter);
    let weak = net.cluster.certified(certificate.unverified().clone(), 1);
    net.gateway_says(1, Frame::Charter(weak.to_bytes()));
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    ask(&mut net, &work, id);
    assert_eq!(body(&net, 1).judged, 0);
}

#[test]
fn a_shadow_changes_no_decision() {
    let plain = |net: &mut Net| -> (Vec<Option<&'static str>>, Vec<Record>) {
        let before = net.host(1).records().len();
        let ids = net.lease(&set(&[1, 2]), 2);
        let works = [
            net.cluster.pay(1, 0, FRIEND),
            net.cluster.pay(2, 1, STRANGER),
        ];
        let mut said = Vec::new();
        for (work, id) in works.iter().zip(ids) {
            said.push(ask(net, work, id).map(|reply| match reply {
                Reply::Answer(_) => "answer",
                Reply::Denied(_) => "denied",
                Reply::Pending(_) => "pending",
                _ => "other",
            }));
            net.advance(200);
        }
        let records = net.host(1).records().split_off(before);
        let decided = records.into_iter().filter_map(|(_, record)| match record {
            // What is random or signed anew differs; what was decided must not.
            Record::Decision(mut decision) => {
                decision.presignature = None;
                Some(Record::Decision(decision))
            }
            Record::FirstSeen(seen) => Some(Record::FirstSeen(seen)),
            _ => None,
        });
        (said, decided.collect())
    };
    let mut with = proposed(|_| {
        "@id(\"govern\")\npermit (principal in Role::\"governor\", \
        action == Action::\"change_charter\", resource);\n"
            .to_owned()
    });
    let mut without = Net::with(Shape {
        govern: "@delay(\"1h\")",
        ..Shape::default()
    });
    without.advance(1_000);
    let (first, second) = (plain(&mut with), plain(&mut without));
    assert_eq!(first, second);
    assert_eq!(first.0, [Some("answer"), Some("denied")]);
    assert_eq!((body(&with, 1).judged, body(&with, 1).flipped), (2, 1));
    assert_eq!(with.spent(1), without.spent(1));
}

/// A stamp of the trader's that lapsed so long ago.
fn question(net: &Net, work: &Work, ago_ms: u64) -> ExplainRequest {
    let signed = Signed::<Stamp>::from_bytes(&work.stamp).unwrap();
    let stamp = Stamp {
        not_after: TimeMs(net.now.0 - ago_ms),
        ..signed.unverified().clone()
    };
    ExplainRequest {
        attempt: 5,
        stamp: Signed::sign(stamp, &net.cluster.trader).to_bytes(),
        payload: cbor::encode(&work.payload),
        approvals: Vec::new(),
    }
}

fn explain(net: &mut Net, asked: &ExplainRequest) -> Result<Explanation, Refusal> {
    net.advance(100);
    explain_at_once(net, asked)
}

fn explain_at_once(net: &mut Net, asked: &ExplainRequest) -> Result<Explanation, Refusal> {
    net.host(1).sent.clear();
    net.gateway_says(1, Frame::ExplainRequest(asked.clone()));
    let sent = std::mem::take(&mut net.host(1).sent);
    let mut replies = sent.into_iter().filter_map(|(_, frame)| match frame {
        Frame::ExplainReply(reply) => Some(reply),
        _ => None,
    });
    let reply = replies.next().unwrap();
    assert_eq!((reply.attempt, reply.node), (5, super::node(1)));
    reply
        .explanation
        .map(|json| serde_json::from_str(&json).unwrap())
}

/// The records of a node that are about requests.
fn decided(net: &Net) -> usize {
    let records = net.hosts[&super::node(1)].records();
    let of_requests = records.iter().filter(|(_, record)| {
        matches!(
            record,
            Record::Decision(_) | Record::FirstSeen(_) | Record::Denied(_) | Record::Consumed(_)
        )
    });
    of_requests.count()
}

#[test]
fn a_question_is_answered_and_nothing_comes_of_it() {
    let mut net = Net::calm();
    let cases = [
        (FRIEND, Outcome::Permitted, "pay-friend"),
        (super::cluster::SLOW, Outcome::Pending, "pay-slowly"),
        (STRANGER, Outcome::Denied, "default-deny"),
    ];
    net.advance(5_000);
    let before = (decided(&net), net.spent(1));
    for (place, (to, outcome, rule)) in (1..).zip(cases) {
        let work = net.cluster.pay(place, u64::from(place), to);
        let asked = question(&net, &work, 1_000);
        let explained = explain(&mut net, &asked).unwrap();
        assert_eq!(explained.outcome, outcome);
        let deciding: Vec<&str> = explained.deciding.iter().map(|r| r.as_str()).collect();
        assert_eq!(deciding, [rule]);
        // The trader may not read policies, so it learns no more than a request would tell.
        assert!(explained.permits.is_empty() && explained.suggestion.is_none());
    }
    assert_eq!((decided(&net), net.spent(1)), before);
    assert!(net.core(1).requests.is_empty());
    // The same ids are free for the requests themselves.
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let work = net.cluster.pay(3, 3, FRIEND);
    assert!(matches!(ask(&mut net, &work, id), Some(Reply::Answer(_))));
}

#[test]
fn a_question_can_never_be_used_as_a_request() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, FRIEND);
    // A stamp that still runs is no question.
    let live = ExplainRequest {
        attempt: 5,
        stamp: work.stamp.clone(),
        payload: cbor::encode(&work.payload),
        approvals: Vec::new(),
    };
    assert_eq!(
        explain(&mut net, &live).unwrap_err().field,
        "stamp.not_after"
    );
    // One that lapsed long ago has been seen by too many.
    let old = question(&net, &work, 11 * 60 * 1000);
    assert_eq!(
        explain(&mut net, &old).unwrap_err().field,
        "stamp.not_after"
    );
    let asked = question(&net, &work, 1_000);
    assert!(explain(&mut net, &asked).is_ok());
    let stolen = Work {
        stamp: asked.stamp.clone(),
        ..work
    };
    let id = net.lease(&set(&[1, 2]), 1)[0];
    assert!(matches!(
        ask(&mut net, &stolen, id),
        Some(Reply::Rejected(_))
    ));
}

#[test]
fn questions_do_not_keep_a_node_from_its_work() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, FRIEND);
    let asked = question(&net, &work, 1_000);
    assert!(explain(&mut net, &asked).is_ok());
    assert_eq!(explain_at_once(&mut net, &asked).unwrap_err().field, "node");
}

#[test]
fn a_question_that_nobody_stamped_is_refused() {
    let mut net = Net::calm();
    let work = net.cluster.pay(1, 0, FRIEND);
    let mut asked = question(&net, &work, 1_000);
    *asked.stamp.last_mut().unwrap() ^= 1;
    assert!(explain(&mut net, &asked).is_err());
    let mut asked = question(&net, &work, 1_000);
    asked.payload = cbor::encode(&net.cluster.pay(2, 1, FRIEND).payload);
    assert_eq!(explain(&mut net, &asked).unwrap_err().field, "payload");
}

#[test]
fn a_stranger_is_not_told_whose_requests_a_proposal_would_decide_otherwise() {
    let mut net = proposed(stricter);
    let id = net.lease(&set(&[1, 2]), 1)[0];
    let work = net.cluster.pay(1, 0, FRIEND);
    ask(&mut net, &work, id);
    assert_eq!(body(&net, 1).flipped, 1);
    for (peer, told) in [(super::net::gateway(), 1), (Peer::Courier(7), 0)] {
        net.host(1).sent.clear();
        net.feed(node(1), Event::Frame(peer, Frame::ProposalsRequest));
        net.settle();
        let sent = std::mem::take(&mut net.host(1).sent);
        let mut all = sent.into_iter().filter_map(|(_, frame)| match frame {
            Frame::Proposals(frame) => Some(frame.proposals),
            _ => None,
        });
        let listed = all.next().unwrap().remove(0);
        assert_eq!((listed.judged, listed.flipped), (told, told));
        assert_eq!(listed.flips.len(), usize::try_from(told).unwrap());
    }
}
