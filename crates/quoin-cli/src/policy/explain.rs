//! `quoin policy explain`: why a charter would decide a request as it does, asked of nobody.
//!
//! Whoever holds the folder holds the charter, so nothing is withheld. What only the nodes know
//! (freezes, what feeds say, what is spent) is not known here: `quoin policy dry-run` asks them.

use super::cases::{Case, read_cases};
use super::test::reason_name;
use super::trial::Trial;
use crate::chain::ChainNode;
use crate::cli::{PolicyExplainArgs, PolicyWishArgs};
use crate::client::keys::VerifiedKey;
use crate::client::standing::{agreed, date};
use crate::client::{STAMP_LIFE_MS, Session, Subject};
use crate::command::sign::{TRANSFER_GAS, Transfer, transfer_payload};
use crate::failure::Failure;
use crate::folder::{random_request_id, read, read_json};
use crate::{clock, say};
use quoin_chain::{Eip1559Fields, encode_eip1559};
use quoin_core::cbor::Version;
use quoin_core::{Address, Amount, ChainId, Payload, PrincipalId, Stamp, TimeMs};
use quoin_policy::{
    BudgetRoom, Calm, Charter, Constitution, ExplainedRule, Explanation, KeyFacts, Ledger, Measure,
    Outcome, Request, Unmet, may_read_policies, summary,
};
use serde::Serialize;
use std::path::Path;

/// The fee for a unit of gas where no chain node says it.
const FEE_PER_GAS: u128 = 2_000_000_000;

/// A request and what would become of it.
#[derive(Debug, Serialize)]
struct Explained {
    /// The case's name, or the request in words.
    request: String,
    #[serde(flatten)]
    explanation: Explanation,
}

/// Runs the command.
pub async fn run(args: PolicyExplainArgs) -> Result<(), Failure> {
    let all = match &args.case {
        Some(file) => of_cases(&args, file)?,
        None => vec![of_wish(&args).await?],
    };
    if args.json {
        return say::json(&all);
    }
    for (place, explained) in all.iter().enumerate() {
        if place > 0 {
            say::line("");
        }
        say::line(format!("request    {}", explained.request));
        lines(&explained.explanation)
            .into_iter()
            .for_each(say::line);
    }
    if args.case.is_none() {
        say::line(
            "assumed    nothing is frozen, spent or said by feeds: `quoin policy dry-run` asks",
        );
    }
    Ok(())
}

fn of_cases(args: &PolicyExplainArgs, file: &Path) -> Result<Vec<Explained>, Failure> {
    let charter: Charter = match &args.charter {
        Some(file) => read_json(file)?,
        None => args.data.folder().constitution()?.charter().clone(),
    };
    let trial = Trial::of(&charter)?;
    let name = file.display().to_string();
    let all = read_cases(&name, &read(file)?)?;
    let meant = |case: &&Case| args.name.as_ref().is_none_or(|n| *n == case.name);
    let explained = all.iter().filter(meant).map(|case| {
        let prepared = trial.prepare(case)?;
        let approvals = trial.approvals(&prepared)?;
        let request = prepared.request(&approvals)?;
        Ok(Explained {
            request: case.name.clone(),
            explanation: explained(trial.constitution(), &request)?,
        })
    });
    let explained: Vec<Explained> = explained.collect::<Result<_, Failure>>()?;
    match (&args.name, explained.is_empty()) {
        (Some(case), true) => Err(Failure::new(format!("`{name}` has no case `{case}`"))),
        _ => Ok(explained),
    }
}

async fn of_wish(args: &PolicyExplainArgs) -> Result<Explained, Failure> {
    let session = Session::open_if_asked(&args.data.folder()).await?;
    let asked = Asked::of(&session, &args.wish).await?;
    let other = match &args.charter {
        Some(file) => {
            let next = super::replay::next(session.constitution(), read_json(file)?)?;
            let checked = next.check();
            Some(checked.map_err(Failure::from_error("the charter does not hold together"))?)
        }
        None => None,
    };
    // The one that was verified knows how old the entries of its address book are.
    let constitution = other.as_ref().unwrap_or(session.constitution());
    let stamp = asked.stamp(constitution, clock::now().plus(STAMP_LIFE_MS))?;
    let calm = Calm::default();
    let now = clock::now();
    let key = asked.key_facts();
    let decoded = asked.decoded()?;
    let words = summary(constitution, decoded.intent());
    let request = Request {
        decoded,
        stamp: &stamp,
        key: Some(&key),
        approvals: &[],
        first_seen: now,
        now,
        conditions: calm.conditions(),
    };
    Ok(Explained {
        request: format!("`{}` asks for a {words}", stamp.principal),
        explanation: explained(constitution, &request)?,
    })
}

/// Everything that there is to say, as if nothing had been spent.
fn explained(constitution: &Constitution, request: &Request<'_>) -> Result<Explanation, Failure> {
    // Whoever has the charter reads it in the name of somebody who may.
    let mut principals = constitution.charter().principals.iter();
    let may = |id: &PrincipalId| may_read_policies(constitution, id, request.now);
    let reader = principals.find(|p| may(&p.id)).ok_or_else(|| {
        Failure::new("nothing can be explained")
            .because("the charter has nobody with an unexpired grant who may read policies")
    })?;
    let ledger = Ledger::new();
    Ok(constitution.explain(request, &reader.id, |reservation| {
        ledger.rooms(constitution, request, reservation)
    }))
}

/// What somebody would ask for.
pub struct Asked {
    /// The principal.
    pub principal: PrincipalId,
    /// The payload.
    pub payload: Payload,
    subject: Subject,
    key: VerifiedKey,
}

impl Asked {
    /// The request that `quoin sign` would make of the same flags, but that no nonce is taken for it.
    pub async fn of(session: &Session, wish: &PolicyWishArgs) -> Result<Self, Failure> {
        let missing = || Failure::new("`--key` is missing").because("a request is made of a key");
        let name = wish.key.as_ref().ok_or_else(missing)?;
        let key = session.key(name.as_str()).await?;
        let chain_id = wish.chain.unwrap_or(session.file().chain_id);
        let payload = payload(session, wish, &key, chain_id).await?;
        let chain = match payload {
            Payload::Text(_) => ChainId::Quoin,
            _ => ChainId::Evm(chain_id),
        };
        Ok(Self {
            principal: wish.principal.clone(),
            subject: Subject::of_child(&key, chain, &wish.path)?,
            payload,
            key,
        })
    }

    /// What it means.
    pub fn decoded(&self) -> Result<quoin_chain::Decoded, Failure> {
        let Subject {
            account, scheme, ..
        } = &self.subject;
        quoin_chain::decode(&self.payload, account, *scheme)
            .map_err(Failure::from_error("the payload cannot be signed"))
    }

    /// The stamp, with the principal's first credential.
    pub fn stamp(&self, constitution: &Constitution, not_after: TimeMs) -> Result<Stamp, Failure> {
        let known = constitution.principal(&self.principal);
        let credential = known.and_then(|p| p.credentials.first());
        let credential = credential.ok_or_else(|| {
            Failure::new(format!("the charter does not know `{}`", self.principal))
                .next("name somebody with `--as`; `quoin charter grants` shows who there is")
        })?;
        Ok(Stamp {
            version: Version,
            cluster: constitution.cluster(),
            charter_number_floor: constitution.number(),
            charter_hash_floor: constitution.hash(),
            principal: self.principal.clone(),
            credential: credential.id(),
            custody: self.subject.custody,
            key: self.subject.key,
            account: self.subject.account.clone(),
            purpose: self.subject.purpose,
            payload_hash: self.payload.hash(),
            request_id: random_request_id(),
            not_after,
        })
    }

    fn key_facts(&self) -> KeyFacts {
        let public = self.key.public();
        KeyFacts {
            id: public.key,
            name: public.name.clone(),
            purpose: public.purpose,
            scheme: public.scheme,
            addresses: vec![self.subject.account.address.clone()],
            threshold: public.threshold,
            holders: match public.threshold {
                1 => 1,
                _ => u8::try_from(public.public_shares.len()).unwrap_or(u8::MAX),
            },
            state: agreed(self.key.standing()).0,
        }
    }
}

async fn payload(
    session: &Session,
    wish: &PolicyWishArgs,
    key: &VerifiedKey,
    chain_id: u64,
) -> Result<Payload, Failure> {
    if let (Some(to), Some(amount)) = (&wish.transfer, wish.amount) {
        let account = key.account_at(ChainId::Evm(chain_id), &wish.path)?;
        return transfer(session, to, amount, &account.address, chain_id).await;
    }
    if let Some(path) = &wish.transaction {
        let text = String::from_utf8(read(path)?)
            .map_err(Failure::from_error("the transaction is not in hex"))?;
        let bytes = hex::decode(text.trim().trim_start_matches("0x"))
            .map_err(Failure::from_error("the transaction is not in hex"))?;
        return Ok(Payload::EvmTransaction(bytes));
    }
    if let Some(path) = &wish.typed_data {
        return Ok(Payload::EvmTypedData(read(path)?));
    }
    if let Some(message) = &wish.message {
        return Ok(Payload::EvmMessage(message.clone().into_bytes()));
    }
    Ok(Payload::Text(wish.text.clone().unwrap_or_default()))
}

async fn transfer(
    session: &Session,
    to: &str,
    amount: Amount,
    from: &Address,
    chain_id: u64,
) -> Result<Payload, Failure> {
    let address: Address = to.parse().map_err(Failure::from_error("bad recipient"))?;
    let to = address
        .to_evm()
        .ok_or_else(|| Failure::new(format!("`{to}` is not an EVM address")))?;
    let transfer = Transfer {
        to,
        amount,
        chain_id,
    };
    if let Some(rpc) = session.file().rpc.as_deref() {
        return transfer_payload(&ChainNode::new(rpc)?, from.as_str(), &transfer).await;
    }
    // Nobody says nonce and fee here, and no rule reads the one.
    Ok(Payload::EvmTransaction(encode_eip1559(&Eip1559Fields {
        chain_id,
        max_fee_per_gas: FEE_PER_GAS,
        gas_limit: TRANSFER_GAS,
        to: Some(to),
        value: amount,
        ..Eip1559Fields::default()
    })))
}

/// An explanation for people.
pub fn lines(said: &Explanation) -> Vec<String> {
    let mut lines = vec![format!("decision   {}", decision(said))];
    if said.outcome == Outcome::Denied {
        lines.push(format!("why        {}", said.message));
    }
    lines.extend(
        said.unmet
            .iter()
            .map(|u| format!("missing    {}", unmet(u))),
    );
    lines.extend(said.permits.iter().flat_map(|r| rule("permit", r)));
    lines.extend(said.forbids.iter().flat_map(|r| rule("forbid", r)));
    if said.left_out > 0 {
        lines.push(format!("           and {} more rules", said.left_out));
    }
    lines.extend(said.budgets.iter().map(room));
    if let Some(suggestion) = &said.suggestion {
        lines.push("suggested  the smallest rule that would permit it:".to_owned());
        let text = suggestion.trim_end().lines();
        lines.extend(text.map(|line| format!("           {line}")));
    }
    lines
}

fn decision(said: &Explanation) -> String {
    let what = match said.outcome {
        Outcome::Permitted => "permitted",
        Outcome::Pending => "permitted once more has happened",
        Outcome::Denied => "denied",
    };
    let rules: Vec<String> = said.deciding.iter().map(|r| format!("`{r}`")).collect();
    let by = match rules.is_empty() {
        true => String::new(),
        false => format!(" by {}", rules.join(", ")),
    };
    let reason = said.reason.map(reason_name);
    let reason = reason.map(|r| format!(" ({r})")).unwrap_or_default();
    format!("{what}{by}{reason}")
}

/// What is missing; a time as people read it.
pub fn unmet(unmet: &Unmet) -> String {
    match unmet {
        Unmet::Delay { until } => format!("a delay until {}", date(*until)),
        other => other.to_string(),
    }
}

fn rule(kind: &str, rule: &ExplainedRule) -> Vec<String> {
    let matches = if rule.matches {
        "matches"
    } else {
        "does not match"
    };
    let but = rule.but.as_ref();
    let but = but.map(|but| format!(", but {but}")).unwrap_or_default();
    let mut lines = vec![format!("{kind:<11}`{}` {matches}{but}", rule.rule)];
    let parts = [
        ("holds", &rule.holds),
        ("fails", &rule.fails),
        ("needs", &rule.needs),
        ("error", &rule.errors),
        ("demands", &rule.demands),
    ];
    for (what, texts) in parts {
        lines.extend(
            texts
                .iter()
                .map(|text| format!("             {what:<8} {text}")),
        );
    }
    lines
}

fn room(room: &BudgetRoom) -> String {
    let unit = match &room.measure {
        Measure::Count => "requests".to_owned(),
        Measure::Asset(asset) => format!("smallest units of {asset}"),
        Measure::Usd => "micro-dollars".to_owned(),
    };
    let BudgetRoom {
        budget,
        wanted,
        left,
        ..
    } = room;
    format!("budget     `{budget}` takes {wanted} of {left} {unit}")
}
