//! The binary `quoin`: parses the command line, runs one command, and turns its outcome into an
//! exit code. What the commands do is in the modules.

mod bench;
mod chain;
mod cli;
mod client;
mod clock;
mod command;
mod dev;
mod failure;
mod folder;
mod gateway;
mod independent;
mod latency;
mod policy;
mod say;
mod single;

use clap::Parser;
use cli::{BenchCommand, Cli, Command, DevCommand, NodeCommand};
use failure::Failure;
use quoin_core::payload::NodeChange;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command)),
        Err(error) => Err(Failure::new("cannot start the runtime").because(error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::progress(format!("quoin: {failure}"));
            ExitCode::from(failure.exit().code())
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Dev(args) => dev(*args).await,
        Command::Node(args) => node(args).await,
        Command::Gateway(args) => command::serve::gateway(args).await,
        Command::Init(command) => command::init::run(command),
        Command::Key(command) => interruptible(command::key::run(command)).await,
        Command::Officer(command) => command::backup::officer(command),
        Command::Drill(args) => interruptible(command::backup::drill(args)).await,
        Command::Sign(args) => interruptible(command::sign::run(*args)).await,
        Command::Approve(args) => interruptible(command::approve::run(args)).await,
        Command::Veto(args) => interruptible(command::notice::veto(args)).await,
        Command::Receipt(args) => interruptible(command::notice::receipt(args)).await,
        Command::Freeze(args) => interruptible(command::freeze::freeze(*args)).await,
        Command::Freezes(args) => interruptible(command::freeze::list(args)).await,
        Command::Unfreeze(args) => interruptible(command::unfreeze::run(args)).await,
        Command::Book(command) => interruptible(command::book::run(command)).await,
        Command::Feed(command) => interruptible(command::feed::run(command)).await,
        Command::Outstanding(args) => interruptible(command::outstanding::run(args)).await,
        Command::Charter(command) => interruptible(command::charter::run(command)).await,
        Command::Sequence(command) => interruptible(command::sequence::run(command)).await,
        Command::Policy(command) => interruptible(policy::run(command)).await,
        Command::Journal(command) => command::journal::run(command),
        Command::Single(command) => command::single::run(command),
        Command::Bench(BenchCommand::Gateway(args)) => bench::run(args).await,
        Command::Bench(BenchCommand::Load(args)) => bench::load::run(args).await,
        Command::Bench(BenchCommand::Sequencer(args)) => bench::sequencer::run(args).await,
        Command::Bench(BenchCommand::Hammer(args)) => interruptible(bench::hammer::run(args)).await,
        Command::WithParent(args) => command::serve::with_parent(args).await,
    }
}

async fn node(mut args: cli::NodeArgs) -> Result<(), Failure> {
    let (args, change) = match args.command.take() {
        Some(NodeCommand::Pardon(args)) => (args, NodeChange::Pardon),
        Some(NodeCommand::Readmit(args)) => (args, NodeChange::Readmit),
        None => return command::serve::node(args).await,
    };
    interruptible(command::change::node(args, change)).await
}

async fn dev(mut args: cli::DevArgs) -> Result<(), Failure> {
    match args.command.take() {
        Some(DevCommand::Grow(grow)) => interruptible(dev::grow::run(grow)).await,
        None if args.demo => dev::demo::run(args).await,
        None => dev::run(args).await,
    }
}

/// Runs a command until it is done or the person presses Ctrl-C.
async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    }
}
