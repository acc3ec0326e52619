//! Processes that run until they are told to stop: `quoin node`, `quoin gateway`, and the hidden
//! `with-parent`, which ties a foreign program's life to its parent's.
//!
//! A process that is started with a pipe as its standard input learns of its parent's death by the
//! end of that pipe, whatever killed the parent.

use crate::cli::{GatewayArgs, NodeArgs, WithParentArgs};
use crate::failure::Failure;
use crate::gateway;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How long a foreign program may take to end after it was asked to.
const END_LIMIT: Duration = Duration::from_secs(4);

/// Runs one node.
pub async fn node(args: NodeArgs) -> Result<(), Failure> {
    start_logging();
    let shutdown = told_to_stop(args.exit_with_parent)?;
    let data = args
        .data
        .ok_or_else(|| Failure::new("no folder of a node is named"))?;
    quoin_node::run::run(&data, shutdown).await.map_err(|e| {
        Failure::new(format!("the node in `{}` cannot run", data.display())).because(e)
    })
}

/// Runs a gateway.
pub async fn gateway(args: GatewayArgs) -> Result<(), Failure> {
    start_logging();
    let shutdown = told_to_stop(args.exit_with_parent)?;
    let running = gateway::start(&args.data).await?;
    tracing::info!(address = %running.address(), "the gateway listens");
    shutdown.await;
    running.stop().await;
    Ok(())
}

/// Runs a program until it ends, or until standard input does.
pub async fn with_parent(args: WithParentArgs) -> Result<(), Failure> {
    let (program, rest) = args
        .program
        .split_first()
        .ok_or_else(|| Failure::new("no program is named"))?;
    let shutdown = told_to_stop(true)?;
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(Failure::from_error(format!(
            "cannot run `{}`",
            program.to_string_lossy()
        )))?;
    tokio::select! {
        ended = child.wait() => {
            let status = ended.map_err(Failure::from_error("the program cannot be waited for"))?;
            if status.success() {
                Ok(())
            } else {
                Err(Failure::new("the program failed").because(status))
            }
        }
        () = shutdown => {
            end_gently(&mut child).await;
            Ok(())
        }
    }
}

/// Asks a program to end as Ctrl-C would, so that it can write its state, then insists.
async fn end_gently(child: &mut tokio::process::Child) {
    if let Some(pid) = child.id() {
        let asked = Command::new("kill")
            .args(["-INT", &pid.to_string()])
            .status()
            .await;
        if asked.is_ok() && tokio::time::timeout(END_LIMIT, child.wait()).await.is_ok() {
            return;
        }
    }
    let _ = child.kill().await;
}

/// Resolves when somebody presses Ctrl-C, the process is asked to terminate, or, when
/// `with_parent`, standard input ends.
fn told_to_stop(with_parent: bool) -> Result<impl Future<Output = ()> + Send, Failure> {
    let what = "cannot listen for signals";
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::from_error(what))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::from_error(what))?;
    let parent = with_parent.then(parent_gone);
    Ok(async move {
        let parent = async {
            match parent {
                Some(gone) => {
                    let _ = gone.await;
                }
                None => std::future::pending().await,
            }
        };
        // A child of a terminal's foreground group hears its Ctrl-C too; the parent decides there.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv(), if !with_parent => {}
            () = parent => {}
        }
    })
}

/// Resolves when standard input ends. A plain thread, because a blocked read cannot be cancelled
/// and must not hold up the end of the process.
fn parent_gone() -> oneshot::Receiver<()> {
    let (gone, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = [0u8; 64];
        while matches!(input.read(&mut buffer), Ok(read) if read > 0) {}
        let _ = gone.send(());
    });
    receiver
}

/// Logs to standard error, at the level that `QUOIN_LOG` names or at `info`.
fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("QUOIN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}
