//! `quoin dev --demo`: the whole story, played once on a cluster of its own.
//!
//! Keys are born on three nodes; a transfer is refused with the reason; governors add the rule;
//! the same transfer is signed by two of three nodes and mined. Each step is checked, and the first
//! that is not as it should be ends the demo with exit code 1 and the reason.

use super::cluster::{Cluster, Wish};
use super::{KEYS, Stop, Temporary, ensure_keys};
use crate::chain::ChainNode;
use crate::cli::DevArgs;
use crate::client::keys::{KeyView, VerifiedKey, scheme_name};
use crate::client::{Answer, Asker, Refused, Session, SignedAnswer, Stamped, Subject};
use crate::command::charter::{sign_and_submit, successor, with_rule};
use crate::command::sign::{Transfer, check, transfer_payload};
use crate::failure::{Exit, Failure};
use crate::folder::random_request_id;
use crate::latency::{Bench, Quantiles};
use crate::{independent, say};
use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::{Amount, ChainId, Payload, PrincipalId, SigningIdentity};
use quoin_policy::{cluster_words, summary};
use serde::Serialize;

/// Who asks for the transfer.
const TRADER: &str = "alice";
/// Who signs the next charter.
const GOVERNORS: [&str; 2] = ["alice", "bob"];
/// Where the money goes: an address that nobody has.
pub(super) const RECIPIENT: [u8; 20] = {
    let mut address = [0u8; 20];
    address[18] = 0xde;
    address[19] = 0xad;
    address
};
/// What the account gets from the local chain: 10 ETH.
pub(super) const FUNDS_WEI: u128 = 10_000_000_000_000_000_000;
/// What is sent: 0.25 ETH.
const AMOUNT_WEI: u64 = 250_000_000_000_000_000;
/// The fee of a transaction that no chain prices: 2 gwei for each unit of gas.
const OFFLINE_FEE: u128 = 2_000_000_000;

/// What the demo prints as JSON.
#[derive(Debug, Serialize)]
struct Story {
    cluster: String,
    words: String,
    keys: Vec<KeyView>,
    refusal: Refusal,
    transaction: Transaction,
    latency: Vec<Latency>,
}

#[derive(Debug, Serialize)]
struct Refusal {
    rule: String,
    message: String,
    suggestion: Option<String>,
}

#[derive(Debug, Serialize)]
struct Transaction {
    hash: String,
    /// Whether anvil mined it. Without anvil an independent library verified it instead.
    mined: bool,
    block: Option<u64>,
    /// The sender that libsecp256k1 recovers from the raw bytes, which is the key's address.
    sender: String,
    raw: String,
    signers: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct Latency {
    scheme: &'static str,
    p50_us: u64,
    p99_us: u64,
    samples: usize,
}

/// Plays the story.
pub async fn run(args: DevArgs) -> Result<(), Failure> {
    let temporary = Temporary::new(args.data.as_deref())?;
    let mut stop = Stop::listen()?;
    let wish = Wish {
        port: args.port.unwrap_or(0),
        rpc: args.rpc.clone(),
        no_restart: args.no_restart,
    };
    let mut cluster = tokio::select! {
        started = Cluster::start(&temporary.folder, &wish) => started.map_err(as_refusal)?,
        () = stop.told() => return Err(Failure::interrupted()),
    };
    let played = tokio::select! {
        played = play(&mut cluster, &args) => played.map_err(as_refusal),
        () = stop.told() => Err(Failure::interrupted()),
    };
    cluster.stop().await;
    let story = match played {
        Ok(story) => story,
        Err(failure) => {
            temporary.keep();
            return Err(failure);
        }
    };
    if args.json { say::json(&story) } else { Ok(()) }
}

/// Every failure of the demo exits with 1.
fn as_refusal(failure: Failure) -> Failure {
    failure.exiting(Exit::Refused)
}

/// The people and things of the story.
struct Stage<'a> {
    session: Session,
    trader: PrincipalId,
    identity: SigningIdentity,
    args: &'a DevArgs,
}

async fn play(cluster: &mut Cluster, args: &DevArgs) -> Result<Story, Failure> {
    let session = cluster.ready().await?;
    let trader: PrincipalId = TRADER
        .parse()
        .map_err(Failure::from_error("bad principal"))?;
    let mut stage = Stage {
        identity: session.folder().principal(&trader)?,
        session,
        trader,
        args,
    };
    let id = stage.session.constitution().cluster();
    stage.tell("DEV MODE: everything below runs on this machine and protects nothing");
    stage.tell(&format!(
        "three nodes and a gateway are up; their cluster is: {}",
        cluster_words(&id)
    ));
    let keys = ensure_keys(&stage.session).await?;
    let keys: Vec<VerifiedKey> = keys
        .into_iter()
        .filter(|k| {
            KEYS.iter()
                .any(|(name, _)| k.public().name.as_str() == *name)
        })
        .collect();
    stage.tell("three keys were born; each node holds one share, and no machine holds a key:");
    for key in &keys {
        stage.tell(&format!("  {}", key.view().line()));
    }
    let desk = keys
        .iter()
        .find(|k| k.public().name.as_str() == "desk-ecdsa");
    let desk = desk.ok_or_else(|| Failure::new("the key `desk-ecdsa` is missing"))?;
    let chain = stage.chain(cluster).await?;
    let payload = stage.transfer(desk, chain.as_ref()).await?;
    let refusal = stage.refused(desk, payload.clone()).await?;
    stage.change_rules(&refusal).await?;
    let (request, signed) = stage.signed(desk, payload).await?;
    let transaction = stage.mine(desk, &request, &signed, chain.as_ref()).await?;
    let latency = stage.latency(&keys).await?;
    Ok(Story {
        cluster: id.to_string(),
        words: cluster_words(&id),
        keys: keys.iter().map(VerifiedKey::view).collect(),
        refusal: Refusal {
            rule: refusal.rule,
            message: refusal.message,
            suggestion: refusal.suggestion,
        },
        transaction,
        latency,
    })
}

impl Stage<'_> {
    /// Tells people; JSON readers get it on standard error.
    fn tell(&self, line: &str) {
        if self.args.json {
            say::progress(line);
        } else {
            say::line(line);
        }
    }

    async fn chain(&self, cluster: &Cluster) -> Result<Option<ChainNode>, Failure> {
        let url = cluster.anvil_url().map(str::to_owned);
        match url.or_else(|| self.args.rpc.clone()) {
            Some(url) => Ok(Some(ChainNode::new(&url)?)),
            None => {
                self.tell(
                    "no chain node: the transaction will be verified by libsecp256k1 instead",
                );
                Ok(None)
            }
        }
    }

    /// A complete transfer, funded where the chain lets us.
    async fn transfer(
        &self,
        key: &VerifiedKey,
        chain: Option<&ChainNode>,
    ) -> Result<Payload, Failure> {
        let chain_id = self.session.file().chain_id;
        let Some(chain) = chain else {
            return Ok(Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
                chain_id,
                nonce: 0,
                max_priority_fee_per_gas: OFFLINE_FEE,
                max_fee_per_gas: OFFLINE_FEE,
                gas_limit: crate::command::sign::TRANSFER_GAS,
                to: Some(RECIPIENT),
                value: Amount::from(AMOUNT_WEI),
                data: Vec::new(),
            })));
        };
        let account = key.account(ChainId::Evm(chain_id))?;
        let from = account.address.as_str();
        if chain.balance(from).await? < Amount::from(AMOUNT_WEI) {
            chain.set_balance(from, FUNDS_WEI).await?;
            self.tell(&format!("the local chain gives {from} 10 ETH to spend"));
        }
        let transfer = Transfer {
            to: RECIPIENT,
            amount: Amount::from(AMOUNT_WEI),
            chain_id,
        };
        transfer_payload(chain, from, &transfer).await
    }

    fn request(&self, key: &VerifiedKey, payload: Payload) -> Result<Stamped, Failure> {
        let asker = Asker {
            principal: &self.trader,
            identity: &self.identity,
            request_id: random_request_id(),
        };
        let chain = ChainId::Evm(self.session.file().chain_id);
        self.session
            .stamp(&asker, &Subject::of_key(key, chain)?, payload)
    }

    async fn refused(&self, key: &VerifiedKey, payload: Payload) -> Result<Refused, Failure> {
        let request = self.request(key, payload)?;
        let meaning = summary(self.session.constitution(), request.decoded.intent());
        self.tell(&format!("`{}` asks for: {meaning}", self.trader));
        match self.session.ask(&request).await? {
            Answer::Refused(refused) => {
                self.tell(&format!(
                    "REFUSED by rule `{}`: {}",
                    refused.rule, refused.message
                ));
                Ok(refused)
            }
            Answer::Signed(_) => Err(Failure::new("a transfer that no rule permits was signed")),
            other => Err(other.into_failure("the transfer was not refused by a rule")),
        }
    }

    async fn change_rules(&mut self, refusal: &Refused) -> Result<(), Failure> {
        let rule = refusal.suggestion.as_deref().ok_or_else(|| {
            Failure::new("the refusal does not say which rule would allow the transfer")
        })?;
        self.tell("the smallest rule that would allow it, as the nodes suggest:");
        for line in rule.lines() {
            self.tell(&format!("  {line}"));
        }
        let next = successor(
            &self.session,
            with_rule(self.session.constitution().charter(), rule),
        );
        let governors = GOVERNORS
            .iter()
            .map(|g| g.parse().map_err(Failure::from_error("bad governor")))
            .collect::<Result<Vec<PrincipalId>, _>>()?;
        let report = sign_and_submit(&mut self.session, next, &governors).await?;
        self.tell(&format!(
            "alice and bob sign a charter with that rule: {}",
            report.line()
        ));
        Ok(())
    }

    async fn signed(
        &self,
        key: &VerifiedKey,
        payload: Payload,
    ) -> Result<(Stamped, SignedAnswer), Failure> {
        let request = self.request(key, payload)?;
        match self.session.ask(&request).await? {
            Answer::Signed(signed) => {
                check(key, &request, &signed)?;
                Ok((request, *signed))
            }
            other => Err(other.into_failure("the transfer was not signed under the new charter")),
        }
    }

    async fn mine(
        &self,
        key: &VerifiedKey,
        request: &Stamped,
        signed: &SignedAnswer,
        chain: Option<&ChainNode>,
    ) -> Result<Transaction, Failure> {
        let raw = signed
            .raw
            .as_deref()
            .ok_or_else(|| Failure::new("the gateway did not assemble the signed transaction"))?;
        let account = &request.decoded.account().address;
        let sender = independent::sender_of(raw)?;
        if sender != account.as_str() {
            return Err(
                Failure::new("the signed transaction is of another sender").because(format!(
                    "libsecp256k1 recovers {sender}, the key's address is {account}"
                )),
            );
        }
        let signers: Vec<String> = signed.signers.iter().map(ToString::to_string).collect();
        self.tell(&format!(
            "SIGNED by nodes {} of 3 for key `{}`; libsecp256k1 recovers its address {sender}",
            signers.join(" and "),
            key.public().name
        ));
        let mut transaction = Transaction {
            hash: signed
                .hash
                .map(|h| format!("0x{}", hex::encode(h)))
                .unwrap_or_default(),
            mined: false,
            block: None,
            sender,
            raw: format!("0x{}", hex::encode(raw)),
            signers: signed.signers.clone(),
        };
        if let Some(chain) = chain {
            let (hash, receipt) = chain.broadcast(raw).await?;
            let receipt = receipt.ok_or_else(|| {
                Failure::new("the chain did not mine the transaction").because(&hash)
            })?;
            if !receipt.succeeded || hash != transaction.hash {
                return Err(Failure::new("the chain did not execute the transaction")
                    .because(format!("{hash} in block {}", receipt.block)));
            }
            self.tell(&format!("MINED in block {}: {hash}", receipt.block));
            transaction.mined = true;
            transaction.block = Some(receipt.block);
        }
        Ok(transaction)
    }

    async fn latency(&self, keys: &[VerifiedKey]) -> Result<Vec<Latency>, Failure> {
        let samples = self.args.samples;
        self.tell(&format!(
            "measuring {samples} signatures of each scheme over HTTP …"
        ));
        let bench = Bench {
            session: &self.session,
            principal: &self.trader,
            identity: &self.identity,
        };
        let mut table = Vec::new();
        for key in keys {
            let scheme = scheme_name(key.public().scheme);
            let Quantiles { p50_us, p99_us } = bench.measure(key, samples).await?;
            self.tell(&format!(
                "  {scheme:<8} p50 {p50_us:>7} us   p99 {p99_us:>7} us"
            ));
            table.push(Latency {
                scheme,
                p50_us,
                p99_us,
                samples,
            });
        }
        Ok(table)
    }
}
