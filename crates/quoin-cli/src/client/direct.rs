//! Nodes, asked and told directly: as a courier, over a connection that proves the node's pinned key
//! and nothing about us.
//!
//! A gateway can keep what it is given. So what must reach every node goes to each of them, and
//! through the gateway besides; whichever is first counts. What nodes say this way is the node's own
//! word, because its key is the one that the verified charter pins.

use super::Session;
use crate::failure::Failure;
use quoin_api::Frame;
use quoin_api::decision::{StatementTakenBody, StatementToAllBody};
use quoin_api::frame::CharterApproval;
use quoin_core::{CharterHash, NodeIndex};
use quoin_link::{SpkiHash, courier_connect};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long one node may take to answer a courier.
const NODE_LIMIT: Duration = Duration::from_secs(3);
/// How long the gateway is waited for while a node has not answered directly.
const GATEWAY_LIMIT: Duration = Duration::from_secs(3);

/// A signed statement for every node.
#[derive(Clone, Debug)]
pub enum Statement {
    /// A freeze.
    Freeze(Vec<u8>),
    /// A veto.
    Veto(Vec<u8>),
    /// A receipt.
    Receipt(Vec<u8>),
    /// Facts.
    Facts(Vec<u8>),
    /// An approval of a proposed charter.
    CharterApproval(CharterHash, Vec<u8>),
}

/// What became of a statement on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivered {
    /// The node.
    pub node: NodeIndex,
    /// How it came there.
    pub by: Way,
    /// In how many milliseconds the node had said so.
    pub after_ms: u64,
    /// Why the node did not take it; none when it has it durably.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// How a statement came to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// To the node's own port.
    Directly,
    /// Through the gateway.
    Gateway,
}

/// What became of a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// On which nodes, in order.
    pub nodes: Vec<Delivered>,
    /// Which nodes were not reached by any way, and why not directly.
    pub unreached: BTreeMap<NodeIndex, String>,
    /// Why the gateway did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

impl Statement {
    fn frame(&self) -> Frame {
        match self {
            Self::Freeze(bytes) => Frame::Freeze(bytes.clone()),
            Self::Veto(bytes) => Frame::Veto(bytes.clone()),
            Self::Receipt(bytes) => Frame::Receipt(bytes.clone()),
            Self::Facts(bytes) => Frame::Facts(bytes.clone()),
            Self::CharterApproval(charter, bytes) => Frame::CharterApproval(CharterApproval {
                charter: *charter,
                approval: bytes.clone(),
            }),
        }
    }

    fn body(&self) -> StatementToAllBody {
        let statement = hex::encode(self.bytes());
        match self {
            Self::Freeze(_) => StatementToAllBody::Freeze { statement },
            Self::Veto(_) => StatementToAllBody::Veto { statement },
            Self::Receipt(_) => StatementToAllBody::Receipt { statement },
            Self::Facts(_) => StatementToAllBody::Facts { statement },
            Self::CharterApproval(charter, _) => StatementToAllBody::CharterApproval {
                charter: *charter,
                statement,
            },
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Freeze(bytes)
            | Self::Veto(bytes)
            | Self::Receipt(bytes)
            | Self::Facts(bytes)
            | Self::CharterApproval(_, bytes) => bytes,
        }
    }
}

impl Delivery {
    /// The nodes that have it.
    pub fn taken(&self) -> Vec<NodeIndex> {
        let taken = self.nodes.iter().filter(|d| d.refused.is_none());
        taken.map(|d| d.node).collect()
    }

    /// What became of it, a line for each node.
    pub fn lines(&self) -> Vec<String> {
        let told = self.nodes.iter().map(|d| {
            let way = match d.by {
                Way::Directly => "directly",
                Way::Gateway => "through the gateway",
            };
            match &d.refused {
                None => format!("node {}  took it {way} after {} ms", d.node, d.after_ms),
                Some(why) => format!("node {}  REFUSED it: {why}", d.node),
            }
        });
        let open = self.unreached.iter();
        let open = open.map(|(node, why)| format!("node {node}  NOT REACHED: {why}"));
        let gateway = self.gateway.iter();
        let gateway = gateway.map(|why| format!("gateway NOT REACHED: {why}"));
        told.chain(open).chain(gateway).collect()
    }

    /// The delivery, unless no node has it.
    pub fn at_least_one(self, what: &str) -> Result<Self, Failure> {
        if !self.taken().is_empty() {
            return Ok(self);
        }
        let refused = self.nodes.iter().any(|d| d.refused.is_some());
        let failure = Failure::new(format!("no node took {what}")).because(self.lines().join("; "));
        Err(if refused {
            failure.exiting(crate::failure::Exit::Refused)
        } else {
            failure.next(
                "check that the nodes run, and their addresses under `nodes` in `cluster.json`",
            )
        })
    }

    fn merge(words: Vec<Word>, gateway: Option<Result<(StatementTakenBody, u64), String>>) -> Self {
        let mut delivery = Self::default();
        let mut nodes: BTreeMap<NodeIndex, Delivered> = BTreeMap::new();
        for word in words {
            match word.said {
                Ok(refused) => {
                    let delivered = Delivered {
                        node: word.node,
                        by: Way::Directly,
                        after_ms: word.after_ms,
                        refused,
                    };
                    nodes.insert(word.node, delivered);
                }
                Err(why) => drop(delivery.unreached.insert(word.node, why)),
            }
        }
        match gateway {
            None => {}
            Some(Err(why)) => delivery.gateway = Some(why),
            Some(Ok((body, after_ms))) => {
                for reply in body.replies {
                    delivery.unreached.remove(&reply.node);
                    // A gateway's word is worth nothing beside the node's own.
                    nodes.entry(reply.node).or_insert_with(|| Delivered {
                        node: reply.node,
                        by: Way::Gateway,
                        after_ms,
                        refused: reply
                            .refused
                            .map(|r| format!("{} (field `{}`)", r.message, r.field)),
                    });
                }
            }
        }
        delivery.nodes = nodes.into_values().collect();
        delivery
    }
}

/// What one node said to a courier.
struct Word {
    node: NodeIndex,
    after_ms: u64,
    /// Why it refused, or why it was not reached.
    said: Result<Option<String>, String>,
}

impl Session {
    /// Brings a statement to every node, directly and through the gateway at once.
    pub async fn deliver(&self, statement: &Statement) -> Delivery {
        let begun = Instant::now();
        let hash: [u8; 32] = Sha256::digest(statement.bytes()).into();
        let read = move |frame: Frame| match frame {
            Frame::StatementReply(reply) if reply.statement == hash => {
                let refused = reply.refused;
                Some(refused.map(|r| format!("{} (field `{}`)", r.message, r.field)))
            }
            _ => None,
        };
        let through_gateway = async {
            let body = statement.body();
            match timeout(GATEWAY_LIMIT, self.gateway().state(&body)).await {
                Ok(Ok(body)) => Ok((body, millis(begun))),
                Ok(Err(failure)) => Err(failure.to_string()),
                Err(_) => Err(format!("no answer within {} s", GATEWAY_LIMIT.as_secs())),
            }
        };
        let nodes = self.each_node(statement.frame(), read);
        tokio::pin!(nodes, through_gateway);
        let (mut words, mut gateway) = (None, None);
        while words.is_none() || gateway.is_none() {
            tokio::select! {
                said = &mut nodes, if words.is_none() => {
                    let all = said.iter().all(|(_, _, said)| said.is_ok());
                    words = Some(said);
                    // Nothing is left that the gateway could do for it.
                    if all {
                        break;
                    }
                }
                said = &mut through_gateway, if gateway.is_none() => gateway = Some(said),
            }
        }
        let words = words.unwrap_or_default();
        let words = words.into_iter().map(|(node, after_ms, said)| Word {
            node,
            after_ms,
            said,
        });
        Delivery::merge(words.collect(), gateway)
    }

    /// Asks every node directly; those that answered, and why the others did not.
    pub async fn ask_each<T: Send + 'static>(
        &self,
        frame: Frame,
        read: impl Fn(Frame) -> Option<T> + Clone + Send + Sync + 'static,
    ) -> (Vec<(NodeIndex, T)>, BTreeMap<NodeIndex, String>) {
        let (mut words, mut unreached) = (Vec::new(), BTreeMap::new());
        for (node, _, said) in self.each_node(frame, read).await {
            match said {
                Ok(word) => words.push((node, word)),
                Err(why) => drop(unreached.insert(node, why)),
            }
        }
        words.sort_by_key(|(node, _)| *node);
        (words, unreached)
    }

    async fn each_node<T: Send + 'static>(
        &self,
        frame: Frame,
        read: impl Fn(Frame) -> Option<T> + Clone + Send + Sync + 'static,
    ) -> Vec<(NodeIndex, u64, Result<T, String>)> {
        let begun = Instant::now();
        let bytes = frame.to_bytes();
        let mut all = JoinSet::new();
        for entry in &self.constitution().charter().nodes {
            let (node, key) = (entry.index, SpkiHash(entry.tls_key_hash));
            let address = self.file().nodes.get(&node).cloned();
            let (bytes, read) = (bytes.clone(), read.clone());
            all.spawn(async move {
                let said = match address {
                    None => Err("its address is not in `cluster.json`".to_owned()),
                    Some(address) => {
                        let asked = ask_one(&address, key, &bytes, &read);
                        let late = |_| format!("no answer within {} s", NODE_LIMIT.as_secs());
                        let said = timeout(NODE_LIMIT, asked).await.map_err(late);
                        said.and_then(|said| said)
                    }
                };
                (node, millis(begun), said)
            });
        }
        let mut words = Vec::new();
        while let Some(word) = all.join_next().await {
            words.extend(word.ok());
        }
        words
    }
}

async fn ask_one<T>(
    address: &str,
    key: SpkiHash,
    frame: &[u8],
    read: &impl Fn(Frame) -> Option<T>,
) -> Result<T, String> {
    let mut courier = courier_connect(address, key)
        .await
        .map_err(|e| e.to_string())?;
    courier.send(frame).await.map_err(|e| e.to_string())?;
    loop {
        let bytes = courier.receive().await.map_err(|e| e.to_string())?;
        // A greeting, or something of a later version, is no answer.
        let answer = Frame::from_bytes(&bytes).ok().and_then(read);
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
}

fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quoin_api::decision::{RefusalBody, StatementReplyBody};

    fn node(index: u8) -> NodeIndex {
        NodeIndex::new(index).unwrap()
    }

    fn word(index: u8, said: Result<Option<String>, String>) -> Word {
        Word {
            node: node(index),
            after_ms: 7,
            said,
        }
    }

    fn reply(index: u8, refused: bool) -> StatementReplyBody {
        let refused = refused.then(|| RefusalBody {
            field: "id".to_owned(),
            message: "no".to_owned(),
        });
        StatementReplyBody {
            node: node(index),
            refused,
        }
    }

    #[test]
    fn a_node_counts_by_its_own_word_and_through_the_gateway_only_without_one() {
        let words = vec![
            word(1, Ok(None)),
            word(2, Ok(Some("no".to_owned()))),
            word(3, Err("down".to_owned())),
            word(4, Err("down".to_owned())),
        ];
        let body = StatementTakenBody {
            replies: vec![reply(1, true), reply(2, false), reply(3, false)],
            missing: vec![node(4)],
        };
        let delivery = Delivery::merge(words, Some(Ok((body, 9))));
        assert_eq!(delivery.taken(), [node(1), node(3)]);
        let ways: Vec<Way> = delivery.nodes.iter().map(|d| d.by).collect();
        assert_eq!(ways, [Way::Directly, Way::Directly, Way::Gateway]);
        assert_eq!(delivery.unreached.len(), 1);
        let said = delivery.lines().join("\n");
        for part in ["node 2  REFUSED", "node 4  NOT REACHED"] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn what_no_node_took_is_a_failure() {
        let gone = Delivery::merge(
            vec![word(1, Err("down".to_owned()))],
            Some(Err("x".to_owned())),
        );
        assert_eq!(gone.at_least_one("it").unwrap_err().exit().code(), 2);
        let refused = Delivery::merge(
            vec![word(1, Ok(Some("no".to_owned())))],
            Some(Err("x".to_owned())),
        );
        assert_eq!(refused.at_least_one("it").unwrap_err().exit().code(), 1);
    }
}
