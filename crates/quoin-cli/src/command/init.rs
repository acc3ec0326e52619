//! `quoin init`: identities are made where they live, and the genesis travels to be signed.
//!
//! Each node, gateway and person makes its own identity on its own host and hands out the public
//! part. The charter names them all; the genesis file goes from host to host, and each adds its
//! signature. The cluster's id is the hash of what they signed.

use crate::cli::{
    InitCommand, InitGatewayArgs, InitGenesisArgs, InitNodeArgs, InitPinArgs, InitPrincipalArgs,
};
use crate::failure::Failure;
use crate::folder::{
    ClusterFile, Folder, create_identity, load_identity, read, read_json, write_file,
};
use crate::say;
use quoin_core::Certificate;
use quoin_node::run::NodeFile;
use quoin_policy::{Charter, cluster_words, verify_genesis};
use serde_json::json;

/// Runs the command.
pub fn run(command: InitCommand) -> Result<(), Failure> {
    match command {
        InitCommand::Node(args) => node(args),
        InitCommand::Gateway(args) => gateway(&args),
        InitCommand::Principal(args) => principal(&args),
        InitCommand::Genesis(args) => genesis(&args),
        InitCommand::Pin(args) => pin(args),
    }
}

fn node(args: InitNodeArgs) -> Result<(), Failure> {
    let what = || {
        format!(
            "cannot make node {} in `{}`",
            args.index,
            args.dir.display()
        )
    };
    let public =
        quoin_node::run::create_identity(&args.dir).map_err(Failure::from_error(what()))?;
    let file = NodeFile {
        index: args.index,
        listen: args.listen,
        peers: args
            .peers
            .into_iter()
            .filter(|(index, _)| *index != args.index)
            .collect(),
        genesis: args.genesis,
        key_file: None,
        passphrase_file: None,
        backups: None,
        require_locked_memory: false,
    };
    quoin_node::run::write_node_file(&args.dir, &file).map_err(Failure::from_error(format!(
        "cannot write the settings of node {}",
        file.index
    )))?;
    say::progress("put this into `nodes` of the charter:");
    say::progress(
        "(a node of a cluster that runs also needs the charters: `quoin charter show --chain FILE` \
         writes them; the file is `charters.cbor` in the node's folder)",
    );
    say::json(&json!({
        "index": file.index,
        "credential": public.credential,
        "tls_key_hash": hex::encode(public.tls_key_hash),
        "operator": "",
    }))
}

fn gateway(args: &InitGatewayArgs) -> Result<(), Failure> {
    let hash = crate::gateway::create_gateway(&args.dir)?;
    say::progress("put this into `gateways` of the charter:");
    say::json(&json!({ "id": crate::dev::create::GATEWAY_ID, "tls_key_hash": hex::encode(hash) }))
}

fn principal(args: &InitPrincipalArgs) -> Result<(), Failure> {
    if args.out.exists() {
        return Err(Failure::new(format!("`{}` exists", args.out.display()))
            .because("a credential is never overwritten"));
    }
    let identity = create_identity(&args.out)?;
    say::progress("put this into `credentials` of a principal of the charter:");
    say::json(&json!({ "credential": identity.public() }))
}

fn genesis(args: &InitGenesisArgs) -> Result<(), Failure> {
    let charter: Charter = read_json(&args.charter)?;
    let mut certificate = if args.out.exists() {
        started(args, &charter)?
    } else {
        Certificate::unsigned(charter)
    };
    for dir in &args.nodes {
        quoin_node::run::sign_genesis(dir, &mut certificate).map_err(Failure::from_error(
            format!("the node in `{}` cannot sign", dir.display()),
        ))?;
    }
    for path in &args.governors {
        certificate.endorse(&load_identity(path)?);
    }
    write_file(&args.out, &certificate.to_bytes(), 0o644)?;
    let id = certificate.unverified().cluster_id();
    let missing = missing_signers(&certificate);
    let complete = if missing.is_empty() {
        let verified = verify_genesis(&certificate);
        verified.map_err(Failure::from_error("the genesis does not verify"))?;
        true
    } else {
        say::progress(format!("still to sign: {}", missing.join(", ")));
        false
    };
    say::json(&json!({
        "cluster": id,
        "words": cluster_words(&id),
        "complete": complete,
        "missing": missing,
    }))
}

/// A genesis that others have signed already; it must be of the same charter.
fn started(args: &InitGenesisArgs, charter: &Charter) -> Result<Certificate<Charter>, Failure> {
    let bytes = read(&args.out)?;
    let certificate = Certificate::from_bytes(&bytes).map_err(Failure::from_error(format!(
        "`{}` is no genesis",
        args.out.display()
    )))?;
    if certificate.unverified() == charter {
        return Ok(certificate);
    }
    Err(
        Failure::new(format!("`{}` is of another charter", args.out.display()))
            .because(format!("it differs from `{}`", args.charter.display()))
            .next("compare the two; a signature is worth only what its charter says"),
    )
}

/// Who has not signed yet.
fn missing_signers(certificate: &Certificate<Charter>) -> Vec<String> {
    let charter = certificate.unverified();
    let nodes = charter
        .nodes
        .iter()
        .filter(|n| !certificate.endorsed_by(&n.credential))
        .map(|n| format!("node {}", n.index));
    let governors = charter
        .governors()
        .filter(|g| !g.credentials.iter().any(|c| certificate.endorsed_by(c)))
        .map(|g| format!("governor {}", g.id));
    nodes.chain(governors).collect()
}

fn pin(args: InitPinArgs) -> Result<(), Failure> {
    let bytes = read(&args.genesis)?;
    let certificate = Certificate::from_bytes(&bytes).map_err(Failure::from_error(format!(
        "`{}` is no genesis",
        args.genesis.display()
    )))?;
    let (_, cluster) =
        verify_genesis(&certificate).map_err(Failure::from_error("the genesis does not verify"))?;
    let folder = Folder::at(&args.data);
    if folder.is_initialised() {
        return Err(
            Failure::new(format!("`{}` pins a cluster already", args.data.display()))
                .next("name another folder with `--data`"),
        );
    }
    folder.create()?;
    write_file(&folder.path("genesis.cbor"), &bytes, 0o600)?;
    folder.save_cluster(&ClusterFile {
        cluster,
        gateway: args.gateway,
        chain_id: args.chain_id,
        rpc: args.rpc,
        dev: false,
        nodes: args.nodes.into_iter().collect(),
    })?;
    say::line(format!("pinned {cluster}"));
    say::line(format!(
        "compare these words with the other operators: {}",
        cluster_words(&cluster)
    ));
    Ok(())
}
