//! The payloads of cases: what somebody wants, in a short form, as the bytes that would be signed.

use super::cases::Place;
use crate::command::sign::TRANSFER_GAS;
use crate::failure::Failure;
use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::payload::{
    ChangeKey, ChangeNode, CreateKey, KeyChange, PAYLOAD_BYTES_MAX, Unfreeze,
};
use quoin_core::{Address, Amount, AssetId, ChainId, KeyId, Payload, cbor};
use quoin_policy::{CLUSTER_ACCOUNT, Charter};
use serde::Deserialize;
use serde_json::Value;

/// What a transaction of a case pays for a unit of gas.
const FEE_PER_GAS: u128 = 2_000_000_000;
/// Gas of a call of a token.
const TOKEN_GAS: u64 = 65_000;
/// `transfer(address,uint256)`.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// `approve(address,uint256)`.
const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];
/// Whoever asks, as a recipient.
const ITSELF: &str = "itself";

/// A payload in short.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PayloadForm {
    /// Coins or tokens to somebody.
    Transfer(TransferForm),
    /// A token's allowance.
    Allowance(AllowanceForm),
    /// An unsigned EVM transaction in hex.
    Transaction(String),
    /// EIP-712 typed data.
    TypedData(Value),
    /// An EIP-191 message.
    Message(String),
    /// A text under Quoin's own tag.
    Text(String),
    /// The making of a key.
    CreateKey(CreateKey),
    /// A change of the case's key.
    ChangeKey(KeyChange),
    /// A change of how a node is seen.
    ChangeNode(ChangeNode),
    /// The end of freezes.
    Unfreeze(Unfreeze),
    /// The canonical bytes of any payload in hex, as `quoin` sends it to a gateway.
    Cbor(String),
}

/// A transfer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferForm {
    /// An address, a name of the address book, or `itself`.
    to: String,
    /// `1.5 ETH`, by a symbol of the charter; or a number of smallest units of `asset`.
    amount: String,
    /// The asset [default: the one of the symbol, or the coin of the chain].
    asset: Option<AssetId>,
}

/// An allowance.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowanceForm {
    /// As `to` of a transfer.
    spender: String,
    /// As in a transfer.
    amount: String,
    /// As in a transfer; a token.
    asset: Option<AssetId>,
}

/// Makes payloads.
pub struct Maker<'a> {
    /// For symbols and names.
    pub charter: &'a Charter,
    /// The chain that the case names.
    pub chain: Option<&'a ChainId>,
    /// The account of the case's key.
    pub own: Option<&'a Address>,
    /// The case's key.
    pub key: Option<KeyId>,
    /// The nonce of transactions.
    pub nonce: u64,
    /// For messages.
    pub place: &'a Place,
}

impl Maker<'_> {
    /// The payload, and the chain and address that it is for.
    pub fn make(&self, form: &PayloadForm) -> Result<(Payload, ChainId, Address), Failure> {
        let payload = match form {
            PayloadForm::Transfer(form) => {
                let (asset, amount) = self.value(&form.amount, form.asset.as_ref())?;
                let to = self.evm(&self.recipient(&form.to, &asset.chain)?)?;
                return self.movement(&asset, TRANSFER, to, amount);
            }
            PayloadForm::Allowance(form) => {
                let (asset, amount) = self.value(&form.amount, form.asset.as_ref())?;
                let spender = self.evm(&self.recipient(&form.spender, &asset.chain)?)?;
                if asset.token.is_none() {
                    return Err(self.fault("only a token has allowances"));
                }
                return self.movement(&asset, APPROVE, spender, amount);
            }
            PayloadForm::Transaction(text) => Payload::EvmTransaction(self.bytes(text)?),
            PayloadForm::TypedData(value) => Payload::EvmTypedData(value.to_string().into_bytes()),
            PayloadForm::Message(text) => Payload::EvmMessage(text.clone().into_bytes()),
            PayloadForm::Text(text) => Payload::Text(text.clone()),
            PayloadForm::CreateKey(create) => Payload::CreateKey(create.clone()),
            PayloadForm::ChangeKey(change) => Payload::ChangeKey(ChangeKey {
                key: self
                    .key
                    .ok_or_else(|| self.place.fault("key", "it is missing"))?,
                change: change.clone(),
            }),
            PayloadForm::ChangeNode(change) => Payload::ChangeNode(*change),
            PayloadForm::Unfreeze(unfreeze) => Payload::Unfreeze(unfreeze.clone()),
            PayloadForm::Cbor(text) => cbor::decode(&self.bytes(text)?, PAYLOAD_BYTES_MAX + 64)
                .map_err(|e| self.fault(e))?,
        };
        let (chain, address) = self.account(&payload)?;
        Ok((payload, chain, address))
    }

    fn fault(&self, why: impl std::fmt::Display) -> Failure {
        self.place.fault("payload", why)
    }

    fn bytes(&self, text: &str) -> Result<Vec<u8>, Failure> {
        let digits = text.trim().trim_start_matches("0x");
        hex::decode(digits).map_err(|e| self.fault(format!("not hex: {e}")))
    }

    /// The account that a payload is for.
    fn account(&self, payload: &Payload) -> Result<(ChainId, Address), Failure> {
        let own = || {
            let own = self.own.cloned();
            own.ok_or_else(|| self.place.fault("key", "it is missing"))
        };
        Ok(match payload {
            Payload::CreateKey(_) | Payload::ChangeNode(_) | Payload::Unfreeze(_) => {
                (ChainId::Quoin, self.address(CLUSTER_ACCOUNT)?)
            }
            Payload::ChangeKey(change) => (ChainId::Quoin, self.address(&change.key.to_string())?),
            Payload::Text(_) => (ChainId::Quoin, own()?),
            Payload::EvmTransaction(_) | Payload::EvmTypedData(_) | Payload::EvmMessage(_) => {
                (self.chain()?, own()?)
            }
        })
    }

    /// The case's chain; without one, that of the charter's first asset.
    fn chain(&self) -> Result<ChainId, Failure> {
        let first = self.charter.assets.first().map(|a| &a.asset.chain);
        let chain = self.chain.or(first).cloned();
        chain.ok_or_else(|| {
            self.place
                .fault("chain", "it is missing, and the charter has no asset")
        })
    }

    fn address(&self, text: &str) -> Result<Address, Failure> {
        text.parse()
            .map_err(|e| self.fault(format!("`{text}`: {e}")))
    }

    fn evm(&self, address: &Address) -> Result<[u8; 20], Failure> {
        let bytes = address.to_evm();
        bytes.ok_or_else(|| self.fault(format!("`{address}` is not an EVM address")))
    }

    fn recipient(&self, text: &str, chain: &ChainId) -> Result<Address, Failure> {
        if text == ITSELF {
            let own = self.own.cloned();
            return own.ok_or_else(|| self.place.fault("key", "it is missing"));
        }
        if text.starts_with("0x") {
            return self.address(text);
        }
        let mut book = self.charter.book.iter();
        let entry = book.find(|e| e.name.as_str() == text && e.chain == *chain);
        let entry = entry.ok_or_else(|| {
            self.fault(format!(
                "`{text}` is no address, and the book has no such name on `{chain}`"
            ))
        })?;
        Ok(entry.address.clone())
    }

    /// The asset, and how many smallest units of it.
    fn value(&self, text: &str, asset: Option<&AssetId>) -> Result<(AssetId, Amount), Failure> {
        let Some((number, symbol)) = text.split_once(' ') else {
            let amount = text
                .parse()
                .map_err(|e| self.fault(format!("`amount`: `{text}`: {e}")))?;
            let coin = || {
                Ok(AssetId {
                    chain: self.chain()?,
                    token: None,
                })
            };
            return Ok((asset.cloned().map_or_else(coin, Ok)?, amount));
        };
        let fits = |a: &&quoin_policy::Asset| {
            let on = |chain: &ChainId| a.asset.chain == *chain;
            a.symbol == symbol
                && asset.is_none_or(|asset| a.asset == *asset)
                && self.chain.is_none_or(on)
        };
        let found: Vec<_> = self.charter.assets.iter().filter(fits).collect();
        let [asset] = found.as_slice() else {
            let count = found.len();
            return Err(self.fault(format!(
                "`amount`: the charter has {count} assets with the symbol `{symbol}` that fit"
            )));
        };
        let amount = smallest_units(number, asset.decimals).ok_or_else(|| {
            let decimals = asset.decimals;
            self.fault(format!(
                "`amount`: `{number}` is no number of at most {decimals} decimals"
            ))
        })?;
        Ok((asset.asset.clone(), amount))
    }

    /// A transaction that moves a coin, or calls a token.
    fn movement(
        &self,
        asset: &AssetId,
        selector: [u8; 4],
        to: [u8; 20],
        amount: Amount,
    ) -> Result<(Payload, ChainId, Address), Failure> {
        let chain = asset.chain.clone();
        let ChainId::Evm(chain_id) = chain else {
            return Err(self.fault(format!("`{chain}` is no EVM chain")));
        };
        let fields = Eip1559Fields {
            chain_id,
            nonce: self.nonce,
            max_fee_per_gas: FEE_PER_GAS,
            gas_limit: TRANSFER_GAS,
            to: Some(to),
            value: amount,
            ..Eip1559Fields::default()
        };
        let fields = match &asset.token {
            None => fields,
            Some(token) => Eip1559Fields {
                gas_limit: TOKEN_GAS,
                to: Some(self.evm(token)?),
                value: Amount::ZERO,
                data: [&selector[..], &[0; 12], &to, &amount.to_be_bytes()].concat(),
                ..fields
            },
        };
        let own = self.own.cloned();
        let own = own.ok_or_else(|| self.place.fault("key", "it is missing"))?;
        Ok((Payload::EvmTransaction(encode_eip1559(&fields)), chain, own))
    }
}

/// `1.5` of an asset with so many decimals, in smallest units.
fn smallest_units(number: &str, decimals: u8) -> Option<Amount> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let places = usize::from(decimals);
    if whole.is_empty() || fraction.len() > places || !digits(whole) || !digits(fraction) {
        return None;
    }
    let text = format!("{whole}{fraction:0<places$}");
    let trimmed = text.trim_start_matches('0');
    if trimmed.is_empty() { "0" } else { trimmed }.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_people_do() {
        let units = |text, decimals| smallest_units(text, decimals).map(|a| a.to_string());
        assert_eq!(units("1.5", 18).as_deref(), Some("1500000000000000000"));
        assert_eq!(units("0", 6).as_deref(), Some("0"));
        assert_eq!(units("12", 0).as_deref(), Some("12"));
        assert_eq!(units("0.000001", 6).as_deref(), Some("1"));
        for wrong in ["", ".5", "1.0000001", "-1", "1e3", "1,5", "+1"] {
            assert_eq!(units(wrong, 6), None, "{wrong}");
        }
    }
}
