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
mod say;

use clap::Parser;
use cli::{BenchCommand, Cli, Command};
use failure::Failure;
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
        Command::Dev(args) if args.demo => dev::demo::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Node(args) => command::serve::node(args).await,
        Command::Gateway(args) => command::serve::gateway(args).await,
        Command::Init(command) => command::init::run(command),
        Command::Key(command) => interruptible(command::key::run(command)).await,
        Command::Sign(args) => interruptible(command::sign::run(*args)).await,
        Command::Approve(args) => interruptible(command::approve::run(args)).await,
        Command::Charter(command) => interruptible(command::charter::run(command)).await,
        Command::Journal(command) => command::journal::run(command),
        Command::Bench(BenchCommand::Gateway(args)) => bench::run(args).await,
        Command::WithParent(args) => command::serve::with_parent(args).await,
    }
}

/// Runs a command until it is done or the person presses Ctrl-C.
async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    }
}
