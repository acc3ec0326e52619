//! `quoin bench hammer`: transfers of one account, many at once, through the gateway of a cluster
//! that runs, with nonces of the gateway's sequencer. It looks for what must never happen: a budget
//! that is passed, a nonce under two signatures, or a signature that does not verify.
//!
//! It takes nobody's word: what a transfer costs, which budgets it is charged to, and whether a
//! signature is of the account and of that nonce is worked out here. What others sign meanwhile
//! counts in the nodes too, so that less may be left for this than a cap says.

mod verdict;

use crate::chain::{ChainNode, NextTransaction};
use crate::cli::BenchHammerArgs;
use crate::client::keys::VerifiedKey;
use crate::client::{
    Answer, Asker, Patience, RETRY_LIMIT, Refused, Session, SignedAnswer, Stamped, Subject,
};
use crate::command::sign::{TRANSFER_GAS, check, evm_account};
use crate::failure::Failure;
use crate::folder::random_request_id;
use crate::{independent, say};
use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::{ChainId, DerivationPath, Payload, RequestId, SigningIdentity};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use verdict::Verdict;

/// Who hammers what.
struct Hammer {
    session: Session,
    identity: SigningIdentity,
    key: VerifiedKey,
    subject: Subject,
    sequence: String,
    to: [u8; 20],
    /// The fees of every transfer; its nonce is not used.
    fees: NextTransaction,
    args: BenchHammerArgs,
    asked: AtomicU32,
}

/// How long the parts of one request took.
#[derive(Clone, Copy, Debug)]
struct Took {
    sequence: Duration,
    stamp: Duration,
    request: Duration,
    check: Duration,
}

/// What became of one transfer.
#[derive(Debug)]
struct Blow {
    request: Stamped,
    nonce: u64,
    took: Took,
    /// When its answer came, since the beginning.
    at: Duration,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// Signed, and the signature verifies for the account and the nonce.
    Signed(Box<SignedAnswer>),
    /// By the nodes' rules.
    Refused(Refused),
    /// Neither.
    Failed(String),
}

/// Runs the benchmark.
pub async fn run(args: BenchHammerArgs) -> Result<(), Failure> {
    let hammer = Arc::new(Hammer::of(args).await?);
    let (requests, threads) = (hammer.args.requests, hammer.args.threads);
    let name = &hammer.key.public().name;
    say::progress(format!(
        "{requests} transfers of `{name}`, {threads} at once …"
    ));
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for _ in 0..threads {
        let hammer = Arc::clone(&hammer);
        asking.spawn(async move { hammer.work(began).await });
    }
    let mut blows = Vec::new();
    while let Some(done) = asking.join_next().await {
        blows.extend(done.map_err(Failure::from_error("the benchmark broke off"))??);
    }
    let gaps = hammer
        .session
        .gateway()
        .sequence(&hammer.sequence)
        .await?
        .gaps;
    let verdict = Verdict::of(&hammer, &blows, gaps);
    if hammer.args.json {
        say::json(&verdict)?;
    } else {
        verdict.show(hammer.session.constitution());
    }
    match blows
        .iter()
        .find_map(Blow::refusal)
        .filter(|_| verdict.signed == 0)
    {
        Some(refused) => Err(Answer::Refused(refused.clone()).into_failure("nothing was signed")),
        None => verdict.judged(),
    }
}

impl Hammer {
    async fn of(args: BenchHammerArgs) -> Result<Self, Failure> {
        let session = Session::open(&args.data.folder()).await?;
        let rpc = session.file().rpc.as_deref().ok_or_else(|| {
            Failure::new("no chain node is known")
                .because("the gateway's sequencer begins at the account's nonce on the chain")
                .next("start `quoin dev` where anvil is (`cargo xtask testbeds`), or with `--rpc URL`")
        })?;
        let key = session.key(args.key.as_str()).await?;
        let chain_id = session.file().chain_id;
        evm_account(&key, chain_id, &DerivationPath::ROOT)?;
        let subject = Subject::of_key(&key, ChainId::Evm(chain_id))?;
        let account = &subject.account;
        let to = args
            .to
            .to_evm()
            .ok_or_else(|| Failure::new(format!("`{}` is not an EVM address", args.to)))?;
        Ok(Self {
            identity: session.folder().principal(&args.principal)?,
            fees: ChainNode::new(rpc)?
                .next_transaction(account.address.as_str())
                .await?,
            sequence: format!("{}:{}", account.chain, account.address),
            key,
            subject,
            to,
            args,
            asked: AtomicU32::new(0),
            session,
        })
    }

    /// Asks until all have been asked for.
    async fn work(&self, began: Instant) -> Result<Vec<Blow>, Failure> {
        let mut blows = Vec::new();
        while self.asked.fetch_add(1, Ordering::Relaxed) < self.args.requests {
            blows.push(self.blow(began).await?);
        }
        Ok(blows)
    }

    async fn blow(&self, began: Instant) -> Result<Blow, Failure> {
        let start = Instant::now();
        let id = random_request_id();
        let nonce = self.nonce(id).await?;
        let sequence = start.elapsed();
        let request = self.request(id, nonce)?;
        let (stamp, payload) = (request.stamp.to_bytes(), request.payload_bytes());
        let stamped = start.elapsed();
        let gateway = self.session.gateway();
        let answer = gateway.ask_patiently(&stamp, &payload, RETRY_LIMIT).await?;
        let answered = start.elapsed();
        let at = began.elapsed();
        let outcome = match answer {
            Answer::Signed(signed) => {
                self.verified(&request, &signed)?;
                Outcome::Signed(signed)
            }
            Answer::Refused(refused) => Outcome::Refused(refused),
            Answer::Failed(status, detail) => {
                Outcome::Failed(format!("status {status}: {}", detail.message))
            }
            other => Outcome::Failed(other.into_failure("not signed").to_string()),
        };
        let took = Took {
            sequence,
            stamp: stamped.saturating_sub(sequence),
            request: answered.saturating_sub(stamped),
            check: start.elapsed().saturating_sub(answered),
        };
        Ok(Blow {
            request,
            nonce,
            took,
            at,
            outcome,
        })
    }

    /// The account's next nonce, patiently: as many as chain nodes queue may be open at a time.
    async fn nonce(&self, id: RequestId) -> Result<u64, Failure> {
        let mut patience = Patience::of(RETRY_LIMIT);
        loop {
            let refusal = match self
                .session
                .gateway()
                .allocate(&self.sequence, id, 1)
                .await?
            {
                Ok(granted) => {
                    let first = granted.numbers.first().map(|run| run.first);
                    return first.ok_or_else(|| Failure::new("the gateway handed out no nonce"));
                }
                Err(refusal) => refusal,
            };
            if !matches!(refusal.status, 429 | 503) || !patience.pause().await {
                return Err(refusal.into_failure("no nonce was handed out"));
            }
        }
    }

    fn request(&self, request_id: RequestId, nonce: u64) -> Result<Stamped, Failure> {
        let asker = Asker {
            principal: &self.args.principal,
            identity: &self.identity,
            request_id,
        };
        let payload = Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
            chain_id: self.session.file().chain_id,
            nonce,
            max_priority_fee_per_gas: self.fees.max_priority_fee_per_gas,
            max_fee_per_gas: self.fees.max_fee_per_gas,
            gas_limit: TRANSFER_GAS,
            to: Some(self.to),
            value: self.args.amount,
            data: Vec::new(),
        }));
        self.session.stamp(&asker, &self.subject, payload)
    }

    /// Checks the signature for the digest of the transaction that was asked for, whose nonce is in
    /// it, and that an independent library recovers the account from the bytes for the chain.
    fn verified(&self, request: &Stamped, signed: &SignedAnswer) -> Result<(), Failure> {
        check(&self.key, request, signed)?;
        let raw = signed.raw.as_deref().unwrap_or_default();
        let (sender, own) = (independent::sender_of(raw)?, &self.subject.account.address);
        if sender != own.as_str() {
            return Err(
                Failure::new("the gateway answered with a transaction of another account")
                    .because(format!("it is of {sender}, and not of {own}")),
            );
        }
        Ok(())
    }
}

impl Blow {
    const fn refusal(&self) -> Option<&Refused> {
        match &self.outcome {
            Outcome::Refused(refused) => Some(refused),
            _ => None,
        }
    }
}
