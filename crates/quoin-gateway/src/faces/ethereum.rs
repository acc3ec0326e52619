//! The calls of Ethereum's JSON-RPC that are about keys: they are stamped with the agent's
//! identity and take the same way through the core as every other request.

use super::Faces;
use super::fees::{bytes, check_args, complete, pending_nonce, quantity_u64};
use super::rpc::{Agent, SignTransactionShape};
use super::sequence::Numbered;
use crate::adapters::scalars;
use crate::core::outcome::{RawTransaction, SignedRequest};
use crate::core::{Event, Outcome};
use crate::run::wall_clock;
use crate::sequencer::{Ask, SequenceError, SequenceId};
use quoin_api::rpc::{CODE_OVERLOADED, CODE_PENDING, Call, RpcError, TransactionArgs};
use quoin_core::cbor::{self, Version};
use quoin_core::stamp::Account;
use quoin_core::{
    Address, ChainId, Class, CustodyMethod, Payload, Purpose, RequestId, Signed, Stamp,
};
use rand_core::{OsRng, RngCore};
use serde_json::{Value, json};
use std::time::Instant;

/// How long a stamp of this face is good for.
const STAMP_MS: u64 = 60_000;

/// The agent's account, as the key's certificate shows it.
#[derive(Debug)]
pub(super) struct Own {
    address: Address,
    purpose: Purpose,
    custody: CustodyMethod,
}

/// Serves a call that is about keys; `None` for all others.
pub(super) async fn serve(
    faces: &Faces,
    agent: &Agent,
    call: &Call,
) -> Option<Result<Value, RpcError>> {
    let params = &call.params;
    Some(match call.method.as_str() {
        "eth_accounts" | "eth_requestAccounts" => accounts(faces, agent).await,
        "eth_chainId" => Ok(format!("{:#x}", agent.chain_id).into()),
        "eth_sendTransaction" => send_transaction(faces, agent, params).await,
        "eth_signTransaction" => sign_transaction(faces, agent, params).await,
        "eth_signTypedData" | "eth_signTypedData_v4" => typed_data(faces, agent, params).await,
        "personal_sign" | "eth_sign" => message(faces, agent, params).await,
        // They would make the chain's node sign with a key of its own.
        "personal_sendTransaction" | "personal_unlockAccount" | "personal_importRawKey" => {
            Err(RpcError::new(-32_601, "this method is not offered here"))
        }
        _ => return None,
    })
}

/// The agent's address, from the key's certificate that all nodes have signed.
async fn account<'a>(faces: &Faces, agent: &'a Agent) -> Result<&'a Own, RpcError> {
    let find = async || {
        let call = |client| Event::KeysQuery { client };
        let Outcome::Keys(keys) = faces.handle.call(call).await else {
            return Err(RpcError::new(CODE_OVERLOADED, "the gateway is overloaded"));
        };
        let key = keys.into_iter().find(|k| k.entry.public.key == agent.key);
        let unknown = || {
            let message = format!("the key `{}` is not known yet", agent.key);
            RpcError::new(Class::Peer.json_rpc_code(), message)
        };
        let public = key.ok_or_else(unknown)?.entry.public;
        let not_evm = |_| {
            let message = format!("the key `{}` has no EVM address", agent.key);
            RpcError::new(Class::Environment.json_rpc_code(), message)
        };
        let point = public.public_key.as_slice().try_into();
        let point = point.map_err(|_| not_evm(()))?;
        let address = quoin_chain::address::evm_address(point).map_err(|_| not_evm(()))?;
        Ok(Own {
            address,
            purpose: public.purpose,
            custody: match public.threshold {
                1 => CustodyMethod::Local,
                _ => CustodyMethod::Mpc,
            },
        })
    };
    agent.account.get_or_try_init(find).await
}

async fn accounts(faces: &Faces, agent: &Agent) -> Result<Value, RpcError> {
    let address = &account(faces, agent).await?.address;
    Ok(json!([address.as_str()]))
}

async fn send_transaction(faces: &Faces, agent: &Agent, params: &Value) -> Result<Value, RpcError> {
    let args = transaction_args(params)?;
    let address = &account(faces, agent).await?.address;
    check_args(&args, address, agent.chain_id)?;
    // Held until the chain's node has the transaction: those of one account reach it in order, and
    // a refusal leaves no hole below one that was signed meanwhile.
    let lane = faces.sequences.lane(&sequence(agent, address));
    let mut stuck = lane.lock().await;
    let turn = turn(faces, agent, &args, *stuck).await?;
    // Whatever breaks off from here on, the next transaction goes on with this number: the same
    // payment may be signed for it again, a cancel too, and the nodes refuse every other.
    let before = stuck.replace(turn.number);
    let signed = match sign_filled(faces, agent, &args, &turn).await {
        Ok(signed) => signed,
        Err(error) => {
            if !may_be_signed(faces, &turn) {
                *stuck = before.filter(|number| *number != turn.number || !turn.leased);
            }
            return Err(error);
        }
    };
    let raw = format!("0x{}", hex::encode(&signed.raw));
    agent
        .upstream
        .call("eth_sendRawTransaction", json!([raw]))
        .await?;
    *stuck = before.filter(|number| *number != turn.number);
    Ok(format!("0x{}", hex::encode(signed.hash)).into())
}

async fn sign_transaction(faces: &Faces, agent: &Agent, params: &Value) -> Result<Value, RpcError> {
    let args = transaction_args(params)?;
    let address = &account(faces, agent).await?.address;
    check_args(&args, address, agent.chain_id)?;
    let turn = turn(faces, agent, &args, None).await?;
    let signed = sign_filled(faces, agent, &args, &turn).await?;
    let raw = format!("0x{}", hex::encode(&signed.raw));
    Ok(match agent.shape {
        SignTransactionShape::Hex => raw.into(),
        SignTransactionShape::Object => {
            let hash = format!("0x{}", hex::encode(signed.hash));
            let nonce = format!("{:#x}", turn.number);
            json!({"raw": raw, "tx": {"hash": hash, "nonce": nonce}})
        }
    })
}

/// A transaction's number, and the request that it is for.
struct Turn {
    sequence: SequenceId,
    request: RequestId,
    number: u64,
    /// Whether the number was handed out to the request; otherwise the caller chose it, or it goes
    /// on with one that may be signed already.
    leased: bool,
}

fn sequence(agent: &Agent, address: &Address) -> SequenceId {
    SequenceId::Evm {
        chain_id: agent.chain_id,
        address: address.clone(),
    }
}

/// The number of the next transaction: the caller's own, the one that is stuck unless the chain
/// shows it by now, or the next of the sequence.
async fn turn(
    faces: &Faces,
    agent: &Agent,
    args: &TransactionArgs,
    stuck: Option<u64>,
) -> Result<Turn, RpcError> {
    let address = &account(faces, agent).await?.address;
    let mut turn = Turn {
        sequence: sequence(agent, address),
        request: random_id(),
        number: 0,
        leased: false,
    };
    if let Some(nonce) = &args.nonce {
        turn.number = quantity_u64("nonce", nonce)?;
        return Ok(turn);
    }
    let chain_next = pending_nonce(&agent.upstream, address).await?;
    if let Some(number) = stuck.filter(|number| *number >= chain_next) {
        turn.number = number;
        return Ok(turn);
    }
    let ask = Ask {
        request: turn.request,
        count: 1,
        chain_next: Some(chain_next),
    };
    let granted = faces.sequences.allocate(&turn.sequence, &ask).await;
    let granted = granted.map_err(|e| of_sequence(&e))?;
    let first = granted.runs.first().map(|run| run.first);
    turn.number = first.ok_or_else(|| of_sequence(&SequenceError::NotLeased))?;
    turn.leased = true;
    Ok(turn)
}

fn random_id() -> RequestId {
    let mut id = [0u8; 16];
    OsRng.fill_bytes(&mut id);
    RequestId(id)
}

/// Whether a signature with the number may exist, as far as is known here.
fn may_be_signed(faces: &Faces, turn: &Turn) -> bool {
    let standing = faces.sequences.standing(&turn.sequence);
    let mut open = standing.into_iter().flat_map(|s| s.open);
    open.any(|open| open.number == turn.number && open.state.may_be_signed())
}

fn of_sequence(error: &SequenceError) -> RpcError {
    let code = match error.is_limit() {
        true => CODE_OVERLOADED,
        false => error.class().json_rpc_code(),
    };
    RpcError::new(code, error.to_string())
}

async fn sign_filled(
    faces: &Faces,
    agent: &Agent,
    args: &TransactionArgs,
    turn: &Turn,
) -> Result<RawTransaction, RpcError> {
    let address = &account(faces, agent).await?.address;
    let unasked = Unasked::of(faces, turn);
    let unsigned = complete(&agent.upstream, args, address, agent.chain_id, turn.number).await?;
    let payload = Payload::EvmTransaction(unsigned);
    let signed = sign(faces, agent, payload, turn.request, Some((turn, unasked))).await?;
    signed.transaction.ok_or_else(|| {
        let message = "the signed transaction could not be assembled";
        RpcError::new(Class::Internal.json_rpc_code(), message)
    })
}

/// Gives a number back when what comes before asking for a signature fails, or its caller hangs up.
struct Unasked<'a>(Option<(&'a Faces, &'a Turn)>);

impl<'a> Unasked<'a> {
    fn of(faces: &'a Faces, turn: &'a Turn) -> Self {
        Self(turn.leased.then_some((faces, turn)))
    }

    /// The number is kept: a signature is asked for now.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unasked<'_> {
    fn drop(&mut self) {
        if let Some((faces, turn)) = self.0.take() {
            faces.sequences.give_back(&turn.sequence, turn.request);
        }
    }
}

fn transaction_args(params: &Value) -> Result<TransactionArgs, RpcError> {
    let first = params.get(0).cloned().unwrap_or_default();
    serde_json::from_value(first).map_err(|e| RpcError::params(format!("transaction: {e}")))
}

/// `[address, typed data]`, where the data is JSON or a text of JSON.
async fn typed_data(faces: &Faces, agent: &Agent, params: &Value) -> Result<Value, RpcError> {
    let own = &account(faces, agent).await?.address;
    let (Some(address), Some(data)) = (params.get(0), params.get(1)) else {
        return Err(RpcError::params("expected an address and typed data"));
    };
    if !is_own(address, own) {
        return Err(RpcError::params(format!("the address is not `{own}`")));
    }
    let text = match data {
        Value::String(text) => text.clone(),
        Value::Object(_) => data.to_string(),
        _ => {
            return Err(RpcError::params(
                "the typed data is neither text nor object",
            ));
        }
    };
    let signed = sign(
        faces,
        agent,
        Payload::EvmTypedData(text.into_bytes()),
        random_id(),
        None,
    )
    .await?;
    signature_bytes(&signed)
}

/// `personal_sign` has the message first and `eth_sign` the address; clients mix them up, so the
/// one that is our address tells.
async fn message(faces: &Faces, agent: &Agent, params: &Value) -> Result<Value, RpcError> {
    let own = &account(faces, agent).await?.address;
    let (first, second) = (params.get(0), params.get(1));
    let message = match (first, second) {
        (Some(message), Some(address)) if is_own(address, own) => message,
        (Some(address), Some(message)) if is_own(address, own) => message,
        _ => return Err(RpcError::params(format!("no parameter is `{own}`"))),
    };
    let text = message
        .as_str()
        .ok_or_else(|| RpcError::params("the message is not a text"))?;
    let message = if text.starts_with("0x") {
        bytes("message", text)?
    } else {
        text.as_bytes().to_vec()
    };
    let signed = sign(
        faces,
        agent,
        Payload::EvmMessage(message),
        random_id(),
        None,
    )
    .await?;
    signature_bytes(&signed)
}

fn is_own(value: &Value, own: &Address) -> bool {
    let given = value.as_str().and_then(|text| text.parse::<Address>().ok());
    given.as_ref() == Some(own)
}

/// `r || s || v` with v of 27 or 28, in hex.
fn signature_bytes(signed: &SignedRequest) -> Result<Value, RpcError> {
    let parts = scalars(&signed.finished.signature).zip(signed.finished.recovery_id);
    let Some(((r, s), id)) = parts else {
        let message = "the key's scheme has no Ethereum signatures";
        return Err(RpcError::new(Class::Environment.json_rpc_code(), message));
    };
    let bytes = quoin_chain::evm_signature_bytes(r, s, id & 1 == 1);
    Ok(format!("0x{}", hex::encode(bytes)).into())
}

/// Stamps a payload with the agent's identity and takes it through the core.
async fn sign(
    faces: &Faces,
    agent: &Agent,
    payload: Payload,
    request_id: RequestId,
    turn: Option<(&Turn, Unasked<'_>)>,
) -> Result<SignedRequest, RpcError> {
    let status = match faces
        .handle
        .call(|client| Event::StatusQuery { client })
        .await
    {
        Outcome::Status(status) => status,
        other => return Err(error_of(RequestId([0; 16]), other)),
    };
    let own = account(faces, agent).await?;
    let not_after = wall_clock().plus(STAMP_MS);
    let stamp = Stamp {
        version: Version,
        cluster: status.cluster,
        charter_number_floor: status.charter_number,
        charter_hash_floor: status.charter_hash,
        principal: agent.principal.clone(),
        credential: agent.identity.id(),
        custody: own.custody,
        key: Some(agent.key),
        account: Account {
            chain: ChainId::Evm(agent.chain_id),
            address: own.address.clone(),
            path: quoin_core::DerivationPath::ROOT,
        },
        purpose: own.purpose,
        payload_hash: payload.hash(),
        request_id,
        not_after,
    };
    let stamp = Signed::sign(stamp, &agent.identity).to_bytes();
    let payload = cbor::encode(&payload);
    let began = Instant::now();
    let numbered = turn.map(|(turn, unasked)| {
        unasked.keep();
        Numbered {
            sequence: turn.sequence.clone(),
            request: request_id,
            number: turn.number,
            not_after,
            ours: true,
        }
    });
    let carried = faces
        .sequences
        .carry(&faces.handle, numbered, stamp, payload);
    let outcome = carried.await.map_err(|e| of_sequence(&e))?;
    faces.metrics.waited(&outcome, began.elapsed());
    match outcome {
        Outcome::Signed(signed) => Ok(*signed),
        other => Err(error_of(request_id, other)),
    }
}

/// What a call is told when its request was not signed.
fn error_of(request_id: RequestId, outcome: Outcome) -> RpcError {
    match outcome {
        Outcome::Refused(refused) => RpcError {
            code: Class::Refused.json_rpc_code(),
            message: format!("refused by policy: {}", refused.message),
            data: Some(json!({
                "rule": refused.rule,
                "field": refused.field,
                "message": refused.message,
                "suggestion": refused.suggestion,
                "request_id": request_id,
            })),
        },
        Outcome::Pending(pending) => RpcError {
            code: CODE_PENDING,
            message: format!("waits for {}", pending.unmet.join(", ")),
            data: Some(json!({
                "intent_hash": pending.intent_hash,
                "unmet": pending.unmet,
                "request_id": request_id,
            })),
        },
        Outcome::Failed(failure) => RpcError {
            code: failure.class.json_rpc_code(),
            message: failure.message,
            data: Some(json!({
                "field": failure.field,
                "nodes": failure.nodes,
                "request_id": request_id,
            })),
        },
        Outcome::Overloaded => RpcError::new(CODE_OVERLOADED, "too many requests are under way"),
        other => {
            let message = format!("unexpected outcome `{}`", other.kind());
            RpcError::new(Class::Internal.json_rpc_code(), message)
        }
    }
}
