//! `quoin policy dry-run`: what each node would decide about a request, asked of all of them.
//!
//! The question is a request whose stamp has just lapsed, so that nobody who carries it can have it
//! signed. Each node answers for itself, with its own freezes, facts and sums; where they differ, each
//! answer is shown.

use super::explain::{Asked, lines};
use crate::cli::PolicyDryRunArgs;
use crate::client::Session;
use crate::failure::Failure;
use crate::{clock, say};
use quoin_api::decision::{ExplainBody, NodeExplanationBody};
use quoin_core::{NodeIndex, Signed, TimeMs, cbor};
use quoin_policy::{Explanation, summary};
use serde::Serialize;

/// For how long the question's stamp has lapsed: half of the ten minutes for which nodes answer. Were
/// it less, a node whose clock is behind by as much would take the question for a request.
const LAPSED_MS: u64 = 5 * 60 * 1000;

/// When the stamp of a question that is asked now has lapsed.
const fn lapsed(now: TimeMs) -> TimeMs {
    TimeMs(now.0.saturating_sub(LAPSED_MS))
}

/// What a node said.
#[derive(Debug, Serialize)]
struct Said {
    node: NodeIndex,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// What all said.
#[derive(Debug, Serialize)]
struct Report {
    request: String,
    /// Whether all who answered would decide alike.
    agree: bool,
    nodes: Vec<Said>,
    missing: Vec<NodeIndex>,
}

/// Runs the command.
pub async fn run(args: PolicyDryRunArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let identity = session.folder().principal(&args.wish.principal)?;
    let asked = Asked::of(&session, &args.wish).await?;
    let words = summary(session.constitution(), asked.decoded()?.intent());
    let mut stamp = asked.stamp(session.constitution(), lapsed(clock::now()))?;
    stamp.credential = identity.id();
    let body = ExplainBody {
        stamp: hex::encode(Signed::sign(stamp, &identity).to_bytes()),
        payload: hex::encode(cbor::encode(&asked.payload)),
        approvals: Vec::new(),
    };
    let answer = session.gateway().explain(&body).await?;
    let nodes: Vec<Said> = answer.nodes.into_iter().map(said).collect();
    let report = Report {
        request: format!("`{}` asks for a {words}", args.wish.principal),
        agree: groups(&nodes).len() <= 1,
        nodes,
        missing: answer.missing,
    };
    if args.json {
        say::json(&report)?;
    } else {
        report.lines().into_iter().for_each(say::line);
    }
    if report.nodes.iter().any(|n| n.explanation.is_some()) {
        return Ok(());
    }
    Err(Failure::new("no node has explained the request"))
}

fn said(body: NodeExplanationBody) -> Said {
    let refused = body
        .refused
        .map(|r| format!("`{}`: {}", r.field, r.message));
    let read = body.explanation.map(serde_json::from_value).transpose();
    let (explanation, refused) = match read {
        Ok(explanation) => (explanation, refused),
        Err(error) => (None, Some(format!("its answer cannot be read: {error}"))),
    };
    Said {
        node: body.node,
        explanation,
        refused,
    }
}

/// The nodes that said the same, by what they said first.
fn groups(nodes: &[Said]) -> Vec<(Vec<NodeIndex>, &Said)> {
    let mut groups: Vec<(Vec<NodeIndex>, &Said)> = Vec::new();
    for said in nodes {
        match groups.iter_mut().find(|(_, first)| same(first, said)) {
            Some((members, _)) => members.push(said.node),
            None => groups.push((vec![said.node], said)),
        }
    }
    groups
}

/// Whether two nodes would decide alike, and for the same reasons. How much is left of a budget is
/// every node's own sum.
fn same(a: &Said, b: &Said) -> bool {
    let without_sums = |said: &Said| {
        let mut explanation = said.explanation.clone();
        if let Some(explanation) = &mut explanation {
            for room in &mut explanation.budgets {
                room.left = quoin_core::Amount::ZERO;
            }
            for unmet in &mut explanation.unmet {
                if let quoin_policy::Unmet::Delay { until } = unmet {
                    // Counted from each node's own first sight, which is this very question.
                    *until = TimeMs(0);
                }
            }
        }
        explanation
    };
    without_sums(a) == without_sums(b) && a.refused == b.refused
}

impl Report {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("request    {}", self.request)];
        let groups = groups(&self.nodes);
        if groups.len() > 1 {
            lines.push(format!("the nodes differ: {} answers", groups.len()));
        }
        for (members, first) in groups {
            lines.push(format!("nodes      {}", listed(&members)));
            match (&first.explanation, &first.refused) {
                (Some(explanation), _) => lines.extend(self::lines(explanation)),
                (None, Some(why)) => lines.push(format!("refused    {why}")),
                (None, None) => lines.push("refused    it said nothing".to_owned()),
            }
        }
        if !self.missing.is_empty() {
            lines.push(format!("silent     {}", listed(&self.missing)));
        }
        lines
    }
}

fn listed(nodes: &[NodeIndex]) -> String {
    let nodes: Vec<String> = nodes.iter().map(|n| n.get().to_string()).collect();
    nodes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoin_core::Amount;
    use quoin_policy::{BudgetRoom, Measure, Outcome, Unmet};

    fn said(node: u8, outcome: Outcome, left: u64) -> Said {
        Said {
            node: NodeIndex::new(node).unwrap(),
            explanation: Some(Explanation {
                outcome,
                reason: None,
                deciding: vec!["small".parse().unwrap()],
                message: String::new(),
                unmet: vec![Unmet::Delay {
                    until: TimeMs(left),
                }],
                permits: Vec::new(),
                forbids: Vec::new(),
                left_out: 0,
                budgets: vec![BudgetRoom {
                    budget: "day".parse().unwrap(),
                    measure: Measure::Count,
                    wanted: Amount::from(1u64),
                    left: Amount::from(left),
                }],
                suggestion: None,
            }),
            refused: None,
        }
    }

    #[test]
    fn a_question_is_no_request_for_a_clock_that_is_minutes_behind() {
        let now = TimeMs(1_700_000_000_000);
        for behind_s in [0, 5, 60, 299] {
            assert!(lapsed(now).plus(behind_s * 1000) < now);
        }
        // A node answers questions that have lapsed at most ten minutes ago; its clock may be ahead.
        assert!(lapsed(now).plus(10 * 60_000) >= now.plus(4 * 60_000));
    }

    #[test]
    fn nodes_that_would_decide_otherwise_are_shown_apart() {
        let report = |nodes: Vec<Said>| Report {
            request: String::new(),
            agree: groups(&nodes).len() <= 1,
            nodes,
            missing: Vec::new(),
        };
        let alike = report(vec![
            said(1, Outcome::Permitted, 5),
            said(2, Outcome::Permitted, 4),
        ]);
        assert!(alike.agree);
        assert!(alike.lines().contains(&"nodes      1, 2".to_owned()));
        let apart = report(vec![
            said(1, Outcome::Permitted, 5),
            said(2, Outcome::Denied, 5),
            said(3, Outcome::Permitted, 5),
        ]);
        assert!(!apart.agree);
        let lines = apart.lines();
        assert!(lines.contains(&"nodes      1, 3".to_owned()));
        assert!(lines.contains(&"nodes      2".to_owned()));
        assert!(lines.contains(&"the nodes differ: 2 answers".to_owned()));
    }
}
