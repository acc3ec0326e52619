//! `quoin sign`: build or read a payload, show what it means, ask, stamp, and check the signature.
//!
//! The signature is verified here against the certified key before it is shown: the gateway's word
//! that it verifies is not needed.

use crate::chain::{ChainNode, Receipt};
use crate::cli::SignArgs;
use crate::client::keys::{VerifiedKey, scheme_name};
use crate::client::{Answer, Asker, Session, SignedAnswer, Stamped, Subject};
use crate::failure::Failure;
use crate::{folder, say};
use quoin_chain::{Eip1559Fields, encode_eip1559, evm_signature_bytes};
use quoin_core::{Address, Amount, ChainId, Payload};
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
    let payload = payload(&session, &args, &key, chain_id).await?;
    let chain = match payload {
        Payload::Text(_) => ChainId::Quoin,
        _ => ChainId::Evm(chain_id),
    };
    let asker = Asker {
        principal: &args.principal,
        identity: &identity,
        request_id: args.request_id.unwrap_or_else(folder::random_request_id),
    };
    let subject = Subject::of_child(&key, chain, &args.path)?;
    let request = session.stamp(&asker, &subject, payload)?;
    let meaning = summary(session.constitution(), request.decoded.intent());
    say::progress(format!("request  {}", request.request_id()));
    say::progress(format!("account  {}", account_line(&request)));
    say::progress(format!("meaning  {meaning}"));
    say::confirmed(
        &format!("Ask for this signature as `{}`?", args.principal),
        args.yes,
    )?;
    let signed = match session.ask(&request).await? {
        Answer::Signed(signed) => signed,
        other => {
            let id = request.request_id();
            return Err(other.into_failure("nothing was signed").naming(id));
        }
    };
    check(&key, &request, &signed)?;
    let mined = match (&signed.raw, args.broadcast) {
        (Some(raw), true) => Some(broadcast(&session, raw).await?),
        _ => None,
    };
    show(&args, &key, &request, &signed, mined)
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
    Ok(Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
        chain_id: transfer.chain_id,
        nonce: next.nonce,
        max_priority_fee_per_gas: next.max_priority_fee_per_gas,
        max_fee_per_gas: next.max_fee_per_gas,
        gas_limit: TRANSFER_GAS,
        to: Some(transfer.to),
        value: transfer.amount,
        data: Vec::new(),
    })))
}

async fn payload(
    session: &Session,
    args: &SignArgs,
    key: &VerifiedKey,
    chain_id: u64,
) -> Result<Payload, Failure> {
    if let (Some(to), Some(amount)) = (&args.transfer, args.amount) {
        let address: Address = to.parse().map_err(Failure::from_error("bad recipient"))?;
        let to = address.to_evm().ok_or_else(|| {
            Failure::new(format!("`{to}` is not an EVM address"))
                .because("transfers are of EVM chains: `0x` and 40 hex digits")
        })?;
        let chain = chain_node(session)?;
        let account = key.account_at(ChainId::Evm(chain_id), &args.path)?;
        let transfer = Transfer {
            to,
            amount,
            chain_id,
        };
        return transfer_payload(&chain, account.address.as_str(), &transfer).await;
    }
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
        None if args.broadcast => say::line("sent       not mined yet"),
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
