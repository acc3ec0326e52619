//! Whole keys: export and import, offline ceremonies that end or start outside of the cluster.
//!
//! Both pass through backups. An export recovers shares that officers open; an import deals shares
//! and seals them to the officers, and every node then restores its own.

use super::backup::{find, newest, of_name, read_officers, recover_share};
use super::single::{load_private, write_single};
use crate::cli::{KeyExportArgs, KeyImportArgs};
use crate::failure::Failure;
use crate::single::{Curve, Extended};
use crate::{folder, say};
use ed25519_dalek::hazmat::ExpandedSecretKey;
use quoin_core::{CeremonyId, KeyId, NodeIndex, Scheme, SecretBytes};
use quoin_node::backup;
use quoin_protocol::KeyShare;
use quoin_protocol::backup::{ImportParams, dangerous_deal, dangerous_recover_key};
use rand_core::{OsRng, RngCore};
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// Runs `quoin key export`.
pub fn export(args: &KeyExportArgs) -> Result<(), Failure> {
    if args.out.exists() {
        return Err(Failure::new(format!("`{}` exists", args.out.display()))
            .because("a file that may hold a key is not overwritten")
            .next("name another file with `--out`"));
    }
    let officers = read_officers(&args.officers)?;
    let own: BTreeSet<String> = officers.iter().map(|o| o.to_public().to_string()).collect();
    let found = of_name(find(&args.backups)?, Some(&args.name))?;
    let newest = newest(&found);
    let current = found.iter();
    let current = current.filter(|f| newest.get(&f.public().key) == Some(&f.public().epoch));
    let (mut shares, mut quorum): (Vec<KeyShare>, BTreeSet<&str>) = Default::default();
    for one in current {
        shares.push(recover_share(one, &officers)?);
        let here = one.file.parts.iter().filter(|p| own.contains(&p.recipient));
        quorum.extend(here.map(|p| p.officer.as_str()));
    }
    let key = dangerous_recover_key(&shares).map_err(Failure::from_error(format!(
        "the key `{}` cannot be made whole",
        args.name
    )))?;
    let public = shares.first().map(|s| s.public.clone());
    let public = public.ok_or_else(|| Failure::new("no shares"))?;
    let text = written(args, &key, public.scheme, public.chain_code)?;
    folder::write_file(&args.out, text.as_bytes(), 0o600)?;
    let quorum: Vec<&str> = quorum.into_iter().collect();
    if args.json {
        return say::json(&serde_json::json!({
            "key": public.key,
            "name": public.name,
            "epoch": public.epoch.0,
            "public_key": hex::encode(&public.public_key),
            "quorum": quorum,
            "out": args.out,
        }));
    }
    say::progress(format!(
        "`{}` holds the whole key `{}`, made by {}: whoever reads it can sign without any rule. \
         Compromise the key in the cluster once its money has moved",
        args.out.display(),
        public.name,
        quorum.join(", ")
    ));
    Ok(())
}

fn written(
    args: &KeyExportArgs,
    key: &SecretBytes<32>,
    scheme: Scheme,
    chain_code: [u8; 32],
) -> Result<Zeroizing<String>, Failure> {
    let secret = key.duplicate_secret();
    let curve = match scheme {
        Scheme::Ed25519 => Curve::Ed25519,
        _ => Curve::Secp256k1,
    };
    let top = Extended::top(curve, secret, chain_code);
    write_single(args.to, top, args.out_password_file.as_deref())
}

/// Runs `quoin key import`.
pub fn import(args: &KeyImportArgs) -> Result<(), Failure> {
    let constitution = args.data.folder().constitution()?;
    let charter = constitution.charter();
    let policy = charter.backup.as_ref().ok_or_else(|| {
        Failure::new("this cluster's charter names no officers")
            .because("an imported key reaches the nodes sealed to them")
            .next("add `backup` to the charter with `quoin charter apply`")
    })?;
    let scheme = Scheme::from(args.source.scheme);
    let (secret, chain_code) = load_private(&args.source)?;
    let secret = match scheme {
        // A seed of RFC 8032 is no scalar: shares are of the scalar that it stands for.
        Scheme::Ed25519 => {
            let expanded = ExpandedSecretKey::from(secret.expose());
            SecretBytes::take(&mut Zeroizing::new(expanded.scalar.to_bytes()))
        }
        _ => secret,
    };
    let mut nodes: Vec<NodeIndex> = charter.nodes.iter().map(|n| n.index).collect();
    nodes.sort_unstable();
    let params = ImportParams {
        cluster: constitution.cluster(),
        charter: charter.number,
        ceremony: CeremonyId(random()),
        key: KeyId(random()),
        name: args.name.clone(),
        scheme,
        purpose: args.purpose.into(),
        threshold: charter.threshold,
        nodes,
        chain_code,
    };
    let shares = dangerous_deal(params, &secret, &mut OsRng)
        .map_err(Failure::from_error("the key cannot be imported"))?;
    let mut files = Vec::new();
    for share in &shares {
        let file = backup::seal(share, policy, &mut OsRng);
        let path = file.and_then(|file| file.write_durably(&args.out));
        files.push(path.map_err(Failure::from_error("the key cannot be imported"))?);
    }
    let public = shares.first().map(|s| hex::encode(&s.public.public_key));
    if args.json {
        return say::json(&serde_json::json!({
            "name": args.name,
            "public_key": public,
            "files": files,
        }));
    }
    for file in &files {
        say::line(file.display());
    }
    say::progress(
        "stop each node, run `quoin key restore` for it with these files and the officers, start \
         it, and refresh the key. The source is still the key: destroy it if it should not be",
    );
    Ok(())
}

fn random() -> [u8; 16] {
    let mut bytes = [0u8; 16];
    OsRng.fill_bytes(&mut bytes);
    bytes
}
