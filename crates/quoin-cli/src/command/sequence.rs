//! `quoin sequence`: the gateway's nonces, with the gaps among them.

use crate::cli::{OutcomeArg, SequenceCommand, SequenceNextArgs, SequenceSettleArgs};
use crate::client::Gateway;
use crate::failure::Failure;
use crate::{folder, say};
use quoin_api::sequences::{NumberStateBody, RunBody, SequenceBody, SettleBody, SettlementBody};

/// Runs the command.
pub async fn run(command: SequenceCommand) -> Result<(), Failure> {
    match command {
        SequenceCommand::List(args) => {
            let gateway = gateway(&args.data)?;
            let all = gateway.sequences().await?;
            if args.json {
                return say::json(&all);
            }
            for sequence in &all.sequences {
                say::line(line(sequence));
            }
            Ok(())
        }
        SequenceCommand::Show(args) => {
            let sequence = gateway(&args.data)?.sequence(&args.sequence).await?;
            show(&sequence, args.json)
        }
        SequenceCommand::Next(args) => next(args).await,
        SequenceCommand::Settle(args) => settle(args).await,
    }
}

fn gateway(data: &crate::cli::DataArg) -> Result<Gateway, Failure> {
    Gateway::new(&data.folder().cluster()?.gateway)
}

async fn next(args: SequenceNextArgs) -> Result<(), Failure> {
    let request = args.request_id.unwrap_or_else(folder::random_request_id);
    let gateway = gateway(&args.data)?;
    let granted = gateway
        .allocate(&args.sequence, request, args.count)
        .await?;
    let granted = granted.map_err(|refusal| refusal.into_failure("no number was handed out"))?;
    if args.json {
        return say::json(&granted);
    }
    say::line(format!("request  {request}"));
    say::line(format!("numbers  {}", runs(&granted.numbers)));
    Ok(())
}

async fn settle(args: SequenceSettleArgs) -> Result<(), Failure> {
    let body = SettleBody {
        request_id: args.request_id,
        number: args.number,
        outcome: match args.outcome {
            OutcomeArg::Used => SettlementBody::Used,
            OutcomeArg::Returned => SettlementBody::Returned,
        },
    };
    let sequence = gateway(&args.data)?.settle(&args.sequence, &body).await?;
    show(&sequence, args.json)
}

fn line(sequence: &SequenceBody) -> String {
    let gaps = match sequence.gaps.as_slice() {
        [] => "no gaps".to_owned(),
        gaps => format!("GAPS {}", runs(gaps)),
    };
    let (name, next, open) = (&sequence.sequence, sequence.next, sequence.open.len());
    format!("{name}  next {next}  {open} open  {gaps}")
}

fn show(sequence: &SequenceBody, json: bool) -> Result<(), Failure> {
    if json {
        return say::json(sequence);
    }
    say::line(line(sequence));
    if let Some(chain) = sequence.chain_next {
        say::line(format!("the chain's next  {chain}"));
    }
    if !sequence.free.is_empty() {
        say::line(format!("given back        {}", runs(&sequence.free)));
    }
    for open in &sequence.open {
        let state = match open.state {
            NumberStateBody::Held => "held",
            NumberStateBody::Asked => "may be signed",
            NumberStateBody::Used => "used, and not shown by the chain yet",
        };
        let request = open.request.as_deref().unwrap_or("-");
        say::line(format!("{:<8} {state}  (request {request}…)", open.number));
    }
    Ok(())
}

fn runs(runs: &[RunBody]) -> String {
    let texts = runs.iter().map(|run| match run.count {
        1 => run.first.to_string(),
        count => {
            let last = run.first.saturating_add(count.saturating_sub(1));
            format!("{}-{last}", run.first)
        }
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_written_as_people_write_them() {
        let run = |first, count| RunBody { first, count };
        assert_eq!(runs(&[run(4, 1), run(6, 3)]), "4, 6-8");
        assert_eq!(runs(&[run(u64::MAX, 2)]), format!("{0}-{0}", u64::MAX));
    }
}
