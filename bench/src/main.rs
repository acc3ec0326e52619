//! Measures Quoin's protocols beside those of its peers, in one run and on one thread.
//!
//! Started by `cargo xtask bench protocol`, which makes sure that it is a release build. It
//! verifies every signature that it makes; it does not judge the peers' security.

mod book;
mod meter;
mod peers;
mod plan;
mod quoin;
mod report;
mod wire;

use anyhow::{Result, bail};
use plan::{Case, SIZES};

const HELP: &str = "\
Measure Quoin's protocols beside those of its peers.

Usage: quoin-bench [--json] [--quick] [--only SUBJECT]...

Options:
  --json           print the rows as JSON, and nothing else on standard output
  --quick          run everything once: to see that it works, not to be quoted
  --only SUBJECT   measure only `quoin` or one of the peers";

/// What the command line asks for.
#[derive(Default)]
struct Wish {
    json: bool,
    quick: bool,
    only: Vec<String>,
}

fn main() -> Result<()> {
    let Some(wish) = wish(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    let mut cases: Vec<Case> = SIZES
        .into_iter()
        .flat_map(|size| {
            let mut all = quoin::cases(size);
            all.extend(peers::dkls23::cases(size));
            all.extend(peers::cait_sith::cases(size));
            all.extend(peers::frost::cases(size));
            all.extend(peers::cggmp24::cases(size));
            all
        })
        .filter(|case| wish.only.is_empty() || wish.only.iter().any(|o| o == case.subject()))
        .collect();
    if wish.quick {
        cases = cases.into_iter().map(Case::once).collect();
    }
    let rows = plan::run(cases)?.rows();
    if wish.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        eprint!("{}", report::gaps(&rows));
    } else {
        print!("{}", report::whole(&rows, &place()));
    }
    Ok(())
}

/// The machine and the commit, as far as they can be known.
fn place() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| Some(line.split_once(':')?.1.trim()))
        .unwrap_or("unknown processor");
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let commit = std::env::var(COMMIT).unwrap_or_else(|_| "unknown".to_owned());
    let (system, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{model}, {threads} threads, {system} {arch}; commit {commit}\n")
}

/// The variable in which the caller names the commit.
const COMMIT: &str = "QUOIN_BENCH_COMMIT";

/// Reads the command line; `None` when it asks for help.
fn wish(mut args: impl Iterator<Item = String>) -> Result<Option<Wish>> {
    let mut wish = Wish::default();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => wish.json = true,
            "--quick" => wish.quick = true,
            "--only" => match args.next() {
                Some(subject) => wish.only.push(subject),
                None => bail!("`--only` needs a subject"),
            },
            "--help" | "-h" => return Ok(None),
            other => bail!("unknown argument `{other}`\n\n{HELP}"),
        }
    }
    Ok(Some(wish))
}
