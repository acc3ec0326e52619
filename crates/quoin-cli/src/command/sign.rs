//! `quoin sign`: build or read a payload, show what it means, ask, stamp, and check the signature.
//!
//! The signature is verified here against the certified key before it is shown: the gateway's word
//! that it verifies is not needed.

use crate::chain::{ChainNode, NextTransaction, Receipt};
use crate::cli::SignArgs;
use crate::client::keys::{VerifiedKey, scheme_name};
use crate::client::{Answer, Asker, Session, SignedAnswer, Stamped, Subject};
use crate::failure::Failure;
use crate::{folder, say};
use quoin_api::sequences::{SettleBody, SettlementBody};
use quoin_chain::{Eip1559Fields, encode_eip1559, evm_signature_bytes};
use quoin_core::stamp::Account;
use quoin_core::{Address, Amount, ChainId, DerivationPath, Payload, RequestId};
use quoin_policy::summary;
use quoin_protocol::combine;
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// Gas of a plain transfer of the chain's own coin.
pub const TRANSFER_GAS: u64 = 21_000;
/// The largest input file: hex doubles the largest payload.
const INPUT_BYTES_MAX: u64 = 300 * 1024;

/// Runs the command.
pub async fn run(args: SignArgs) -> Result<(), Failure> {
    let session = Session::open(&args.data.folder()).await?;
    let identity = session.folder().principal(&args.principal)?;
    let key = session.key(args.key.as_str()).await?;
    let chain_id = args.chain.unwrap_or(session.file().chain_id);
    let request_id = args.request_id.unwrap_or_else(folder::random_request_id);
    let (payload, lease) = payload(&session, &args, &key, chain_id, request_id).await?;
    let chain = match payload {
        Payload::Text(_) => ChainId::Quoin,
        _ => ChainId::Evm(chain_id),
    };
    let asker = Asker {
        principal: &args.principal,
        identity: &identity,
        request_id,
    };
    let subject = Subject::of_child(&key, chain, &args.path)?;
    let request = session.stamp(&asker, &subject, payload)?;
    let meaning = summary(session.constitution(), request.decoded.intent());
    say::progress(format!("request  {}", request.request_id()));
    say::progress(format!("account  {}", account_line(&request)));
    say::progress(format!("meaning  {meaning}"));
    let asked = format!("Ask for this signature as `{}`?", args.principal);
    if let Err(declined) = say::confirmed(&asked, args.yes) {
        give_back(&session, lease, request_id).await;
        return Err(declined);
    }
    let signed = match session.ask(&request).await? {
        Answer::Signed(signed) => signed,
        other => {
            let id = request.request_id();
            return Err(other.into_failure("nothing was signed").naming(id));
        }
    };
    check(&key, &request, &signed)?;
    let sent = match (&signed.raw, args.broadcast) {
        (Some(raw), true) => Some(broadcast(&session, raw).await),
        _ => None,
    };
    let (mined, failed) = match sent.transpose() {
        Ok(mined) => (mined, None),
        Err(failure) => (None, Some(failure)),
    };
    // Also when the chain node does not take it: the signature is out, and its nonce is used.
    show(&args, &key, &request, &signed, mined)?;
    failed.map_or(Ok(()), |failure| {
        Err(failure.next("it is signed: mend that, and hand the chain node what `raw` says"))
    })
}

/// The account that signs, and its path where it is derived.
fn account_line(request: &Stamped) -> String {
    let account = request.decoded.account();
    let place = format!("{} {}", account.chain, account.address);
    if account.path.is_root() {
        place
    } else {
        format!("{place} ({})", account.path)
    }
}

/// Verifies a signature against the certified key, or the child of it that was asked for, and the
/// digest decoded here.
pub fn check(key: &VerifiedKey, request: &Stamped, signed: &SignedAnswer) -> Result<(), Failure> {
    let child = key.child(&request.decoded.account().path)?;
    let digest = request.decoded.digest();
    combine::verify(key.public(), &child.tweak, digest, &signed.signature).map_err(|e| {
        Failure::new("the gateway answered with a signature that does not verify")
            .because(e)
            .next("do not use it; tell the operator of the gateway")
    })
}

/// What a transfer of the chain's own coin consists of.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The recipient.
    pub to: [u8; 20],
    /// How much, in wei.
    pub amount: Amount,
    /// The chain.
    pub chain_id: u64,
}

/// The complete transaction of a transfer: nonce and fees are filled before anybody stamps it.
pub async fn transfer_payload(
    chain: &ChainNode,
    from: &str,
    transfer: &Transfer,
) -> Result<Payload, Failure> {
    let next = chain.next_transaction(from).await?;
    Ok(transaction(&next, transfer))
}

fn transaction(next: &NextTransaction, transfer: &Transfer) -> Payload {
    Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
        chain_id: transfer.chain_id,
        nonce: next.nonce,
        max_priority_fee_per_gas: next.max_priority_fee_per_gas,
        max_fee_per_gas: next.max_fee_per_gas,
        gas_limit: TRANSFER_GAS,
        to: Some(transfer.to),
        value: transfer.amount,
        data: Vec::new(),
    }))
}

/// A nonce that the gateway has handed out to a request.
struct Lease {
    sequence: String,
    number: u64,
}

/// Takes the account's next nonce from the gateway, so that no two programs take the same; `None`
/// when the gateway cannot hand out any, and the chain's own word is all there is.
async fn lease(
    session: &Session,
    account: &Account,
    request_id: RequestId,
) -> Result<Option<Lease>, Failure> {
    let sequence = format!("{}:{}", account.chain, account.address);
    match session.gateway().allocate(&sequence, request_id, 1).await? {
        Ok(granted) => Ok(granted.numbers.first().map(|run| Lease {
            sequence,
            number: run.first,
        })),
        Err(refusal) if matches!(refusal.status, 404 | 503) => {
            let why = refusal.detail.message;
            say::progress(format!("the nonce is the chain node's word: {why}"));
            Ok(None)
        }
        Err(refusal) => Err(refusal.into_failure("no nonce was handed out")),
    }
}

/// Nobody was asked to sign: the nonce goes back. A lease that is left alone ends by itself.
async fn give_back(session: &Session, lease: Option<Lease>, request_id: RequestId) {
    let Some(lease) = lease else {
        return;
    };
    let body = SettleBody {
        request_id,
        number: Some(lease.number),
        outcome: SettlementBody::Returned,
    };
    if let Err(failure) = session.gateway().settle(&lease.sequence, &body).await {
        say::progress(format!("the nonce is held for a while: {failure}"));
    }
}

/// What fills a slot and pays nothing: the nodes let it replace whatever else has the slot.
fn cancellation(next: NextTransaction, own: [u8; 20], chain_id: u64, times: u64) -> Payload {
    let more = |fee: u128| fee.saturating_mul(u128::from(times)).max(u128::from(times));
    let next = NextTransaction {
        max_fee_per_gas: more(next.max_fee_per_gas),
        max_priority_fee_per_gas: more(next.max_priority_fee_per_gas),
        ..next
    };
    let transfer = Transfer {
        to: own,
        amount: Amount::ZERO,
        chain_id,
    };
    transaction(&next, &transfer)
}

async fn payload(
    session: &Session,
    args: &SignArgs,
    key: &VerifiedKey,
    chain_id: u64,
    request_id: RequestId,
) -> Result<(Payload, Option<Lease>), Failure> {
    if let (Some(to), Some(amount)) = (&args.transfer, args.amount) {
        let address: Address = to.parse().map_err(Failure::from_error("bad recipient"))?;
        let to = address.to_evm().ok_or_else(|| {
            Failure::new(format!("`{to}` is not an EVM address"))
                .because("transfers are of EVM chains: `0x` and 40 hex digits")
        })?;
        let chain = chain_node(session)?;
        let (account, _) = evm_account(key, chain_id, &args.path)?;
        let transfer = Transfer {
            to,
            amount,
            chain_id,
        };
        let lease = lease(session, &account, request_id).await?;
        let next = match chain.next_transaction(account.address.as_str()).await {
            Ok(next) => next,
            Err(failure) => {
                give_back(session, lease, request_id).await;
                return Err(failure);
            }
        };
        let nonce = lease.as_ref().map_or(next.nonce, |lease| lease.number);
        let payload = transaction(&NextTransaction { nonce, ..next }, &transfer);
        return Ok((payload, lease));
    }
    if let Some(nonce) = args.cancel {
        let (account, own) = evm_account(key, chain_id, &args.path)?;
        let chain = chain_node(session)?;
        let next = chain.next_transaction(account.address.as_str()).await?;
        let next = NextTransaction { nonce, ..next };
        let payload = cancellation(next, own, chain_id, args.fee_times);
        return Ok((payload, None));
    }
    Ok((other_payload(args)?, None))
}

/// The account of a key on an EVM chain, and its address there.
pub fn evm_account(
    key: &VerifiedKey,
    chain_id: u64,
    path: &DerivationPath,
) -> Result<(Account, [u8; 20]), Failure> {
    let account = key.account_at(ChainId::Evm(chain_id), path)?;
    let own = account.address.to_evm().ok_or_else(|| {
        let (name, scheme) = (&key.public().name, scheme_name(key.public().scheme));
        Failure::new(format!(
            "the key `{name}` has no account on EVM chain {chain_id}"
        ))
        .because(format!(
            "it is of the scheme `{scheme}`, and those accounts are of `ecdsa`"
        ))
        .next("name another key; `quoin key list` shows them")
    })?;
    Ok((account, own))
}

/// A payload that is complete as it is given.
fn other_payload(args: &SignArgs) -> Result<Payload, Failure> {
    if let Some(path) = &args.transaction {
        let text = input(path)?;
        let digits = text.trim().trim_start_matches("0x");
        let bytes =
            hex::decode(digits).map_err(Failure::from_error("the transaction is not in hex"))?;
        return Ok(Payload::EvmTransaction(bytes));
    }
    if let Some(path) = &args.typed_data {
        return Ok(Payload::EvmTypedData(input(path)?.into_bytes()));
    }
    if let Some(message) = &args.message {
        return Ok(Payload::EvmMessage(message.clone().into_bytes()));
    }
    Ok(Payload::Text(args.text.clone().unwrap_or_default()))
}

fn input(path: &Path) -> Result<String, Failure> {
    let what = || format!("cannot read `{}`", path.display());
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(INPUT_BYTES_MAX)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(INPUT_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(Failure::from_error(what()))?;
    Ok(text)
}

fn chain_node(session: &Session) -> Result<ChainNode, Failure> {
    let rpc = session.file().rpc.as_deref().ok_or_else(|| {
        Failure::new("no chain node is known")
            .because("nonces and fees come from one")
            .next("start `quoin dev` with `--rpc URL`, or hand in a complete `--transaction`")
    })?;
    ChainNode::new(rpc)
}

async fn broadcast(session: &Session, raw: &[u8]) -> Result<(String, Option<Receipt>), Failure> {
    say::progress("handing the transaction to the chain node …");
    chain_node(session)?.broadcast(raw).await
}

fn show(
    args: &SignArgs,
    key: &VerifiedKey,
    request: &Stamped,
    signed: &SignedAnswer,
    mined: Option<(String, Option<Receipt>)>,
) -> Result<(), Failure> {
    let raw = signed
        .raw
        .as_ref()
        .map(|raw| format!("0x{}", hex::encode(raw)));
    let (sent, receipt) = mined.map_or((None, None), |(hash, receipt)| (Some(hash), receipt));
    let was_sent = sent.is_some();
    let hash = sent.or_else(|| signed.hash.map(|h| format!("0x{}", hex::encode(h))));
    let signature = match (signed.recovery_id, &request.payload) {
        (Some(parity), Payload::EvmTypedData(_) | Payload::EvmMessage(_)) => wallet(signed, parity),
        _ => hex::encode(signed.signature),
    };
    if args.json {
        return say::json(&json!({
            "request_id": request.request_id(),
            "key": key.public().name,
            "scheme": scheme_name(key.public().scheme),
            "account": request.decoded.account(),
            "signature": signature,
            "recovery_id": signed.recovery_id,
            "raw": raw,
            "hash": hash,
            "mined": receipt.as_ref().map(|r| r.succeeded),
            "block": receipt.as_ref().map(|r| r.block),
            "rules": signed.rules,
        }));
    }
    say::line(format!("signature  {signature}"));
    if let Some(raw) = raw {
        say::line(format!("raw        {raw}"));
    }
    if let Some(hash) = hash {
        say::line(format!("hash       {hash}"));
    }
    match receipt {
        Some(receipt) if receipt.succeeded => {
            say::line(format!("mined      block {}", receipt.block))
        }
        Some(receipt) => say::line(format!("REVERTED   block {}", receipt.block)),
        None if was_sent => say::line("sent       not mined yet"),
        None => {}
    }
    Ok(())
}

/// The 65 bytes that wallets return.
fn wallet(signed: &SignedAnswer, parity: u8) -> String {
    let (mut r, mut s) = ([0u8; 32], [0u8; 32]);
    let (left, right) = signed.signature.split_at(32);
    r.copy_from_slice(left);
    s.copy_from_slice(right);
    format!(
        "0x{}",
        hex::encode(evm_signature_bytes(&r, &s, parity == 1))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_sends_nothing_to_oneself_at_its_nonce_for_a_higher_fee() {
        let next = NextTransaction {
            nonce: 7,
            max_fee_per_gas: 100,
            max_priority_fee_per_gas: 0,
        };
        let own = [9; 20];
        let Payload::EvmTransaction(bytes) = cancellation(next, own, 1, 3) else {
            panic!("not a transaction");
        };
        let expected = encode_eip1559(&Eip1559Fields {
            chain_id: 1,
            nonce: 7,
            max_priority_fee_per_gas: 3,
            max_fee_per_gas: 300,
            gas_limit: TRANSFER_GAS,
            to: Some(own),
            value: Amount::ZERO,
            data: Vec::new(),
        });
        assert_eq!(bytes, expected);
    }
}
