//! `quoin single`: single keys in the formats of wallets, without a cluster and without a network.

use crate::cli::{
    SchemeArg, SingleCommand, SingleConvertArgs, SingleFormatArg, SingleShowArgs, SingleSourceArgs,
};
use crate::client::keys::{addresses, scheme_name};
use crate::failure::Failure;
use crate::single::{
    Curve, Extended, SingleFault, SingleKey, Strength, open_keystore, read_wif, read_xpub,
    seal_keystore, seed_of, write_wif,
};
use crate::{folder, say};
use quoin_core::{Scheme, SecretBytes};
use quoin_protocol::derive::ChildKey;
use rand_core::OsRng;
use serde_json::json;
use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

/// The longest input: a keystore has less than a thousand bytes.
const INPUT_BYTES_MAX: u64 = 16 * 1024;

/// Runs the command.
pub fn run(command: SingleCommand) -> Result<(), Failure> {
    match command {
        SingleCommand::Show(args) => show(&args),
        SingleCommand::Convert(args) => convert(&args),
    }
}

/// What a file holds.
enum Loaded {
    /// A private key with its chain code.
    Tree(Extended),
    /// A public key with its chain code.
    Public(ChildKey),
    /// A private key alone.
    Key(SingleKey),
}

fn show(args: &SingleShowArgs) -> Result<(), Failure> {
    let scheme = Scheme::from(args.source.scheme);
    let (public, is_tree) = match load(&args.source)? {
        Loaded::Tree(key) => (key.public(scheme).map_err(unusable)?, true),
        Loaded::Public(key) => (key, true),
        Loaded::Key(key) => (key.public(scheme).map_err(unusable)?, false),
    };
    let addresses = addresses(&public, &args.chains)?;
    let public_key = hex::encode(&public.public_key);
    let xpub = public.xpub().filter(|_| is_tree);
    let path = args.source.path.to_string();
    if args.json {
        return say::json(&json!({
            "scheme": scheme_name(scheme),
            "path": path,
            "public_key": public_key,
            "xpub": xpub,
            "addresses": addresses,
        }));
    }
    say::line(format!("{path}  {}", scheme_name(scheme)));
    for address in addresses {
        say::line(format!(
            "  address    {} {}",
            address.chain, address.address
        ));
    }
    say::line(format!("  public key {public_key}"));
    if let Some(xpub) = xpub {
        say::line(format!("  xpub       {xpub}"));
    }
    Ok(())
}

fn convert(args: &SingleConvertArgs) -> Result<(), Failure> {
    if args.out.exists() {
        return Err(Failure::new(format!("`{}` exists", args.out.display()))
            .because("a file that may hold a key is not overwritten")
            .next("name another file with `--out`"));
    }
    let text = match (args.to, load(&args.source)?) {
        (_, Loaded::Public(_)) => {
            return Err(Failure::new("an xpub holds no private key")
                .next("show it with `quoin single show`"));
        }
        (SingleFormatArg::Mnemonic | SingleFormatArg::Xpub, _) => {
            return Err(Failure::new("nothing is converted to that format")
                .because("words are the source of a key and not the other way round")
                .next("`quoin single show` prints the xpub"));
        }
        (SingleFormatArg::Xprv, Loaded::Tree(key)) => key.to_xprv().map_err(unusable)?,
        (SingleFormatArg::Xprv, Loaded::Key(_)) => {
            return Err(Failure::new("a key alone has no xprv")
                .because("an xprv has a chain code, which this format does not"));
        }
        (to, Loaded::Tree(key)) => write(to, &key.into_key(), args.out_password_file.as_deref())?,
        (to, Loaded::Key(key)) => write(to, &key, args.out_password_file.as_deref())?,
    };
    folder::write_file(&args.out, text.as_bytes(), 0o600)?;
    say::progress(format!(
        "`{}` holds the whole key: whoever reads it can spend all that the key can",
        args.out.display()
    ));
    Ok(())
}

/// A private key and its chain code; a format without one gets a chain code of zeros.
pub(super) fn load_private(
    source: &SingleSourceArgs,
) -> Result<(SecretBytes<32>, [u8; 32]), Failure> {
    match load(source)? {
        Loaded::Tree(key) => {
            let chain_code = key.chain_code();
            Ok((key.into_key().secret, chain_code))
        }
        Loaded::Key(key) => Ok((key.secret, [0; 32])),
        Loaded::Public(_) => Err(Failure::new("an xpub holds no private key")),
    }
}

/// A private key with its chain code in one of the formats.
pub(super) fn write_single(
    to: SingleFormatArg,
    key: Extended,
    password_file: Option<&Path>,
) -> Result<Zeroizing<String>, Failure> {
    match to {
        SingleFormatArg::Xprv => key.to_xprv().map_err(unusable),
        SingleFormatArg::Mnemonic | SingleFormatArg::Xpub => {
            Err(Failure::new("a key is not exported in that format")
                .because("words are the source of a key, and an xpub holds no private key"))
        }
        to => write(to, &key.into_key(), password_file),
    }
}

fn write(
    to: SingleFormatArg,
    key: &SingleKey,
    password_file: Option<&Path>,
) -> Result<Zeroizing<String>, Failure> {
    if to == SingleFormatArg::Hex {
        return Ok(Zeroizing::new(hex::encode(key.secret.expose())));
    }
    if key.curve == Curve::Ed25519 {
        return Err(unusable(SingleFault::WrongCurve));
    }
    if to == SingleFormatArg::Wif {
        return Ok(write_wif(&key.secret));
    }
    let password = password(password_file)?.ok_or_else(|| {
        Failure::new("a keystore needs a password")
            .next("name a file that holds it with `--out-password-file`")
    })?;
    let made = seal_keystore(
        &key.secret,
        password.as_bytes(),
        Strength::STANDARD,
        &mut OsRng,
    );
    made.map(Zeroizing::new).map_err(unusable)
}

fn load(source: &SingleSourceArgs) -> Result<Loaded, Failure> {
    let text = input(&source.file)?;
    let password = password(source.password_file.as_deref())?;
    let password = password.as_ref().map_or("", |p| p.as_str());
    read(source, &text, password).map_err(unusable)
}

fn read(source: &SingleSourceArgs, text: &str, password: &str) -> Result<Loaded, SingleFault> {
    let curve = match source.scheme {
        SchemeArg::Ed25519 => Curve::Ed25519,
        SchemeArg::Ecdsa | SchemeArg::Taproot => Curve::Secp256k1,
    };
    let secp256k1 = || match curve {
        Curve::Secp256k1 => Ok(()),
        Curve::Ed25519 => Err(SingleFault::WrongCurve),
    };
    let alone = |secret: SecretBytes<32>| match source.path.indices() {
        [] => Ok(Loaded::Key(SingleKey { curve, secret })),
        _ => Err(SingleFault::Malformed(
            "this format has no chain code, so a key of it has no children",
        )),
    };
    match source.from {
        SingleFormatArg::Mnemonic => {
            let top = Extended::from_seed(curve, seed_of(text, password)?.as_slice())?;
            Ok(Loaded::Tree(top.at(&source.path)?))
        }
        SingleFormatArg::Xprv => {
            secp256k1()?;
            Ok(Loaded::Tree(Extended::from_xprv(text)?.at(&source.path)?))
        }
        SingleFormatArg::Xpub => {
            let top = read_xpub(text, source.scheme.into())?;
            let path = source
                .path
                .public()
                .ok_or(SingleFault::Malformed("an xpub has no hardened children"))?;
            Ok(Loaded::Public(top.child(&path)?))
        }
        SingleFormatArg::Keystore => {
            secp256k1()?;
            alone(open_keystore(text, password.as_bytes())?)
        }
        SingleFormatArg::Wif => {
            secp256k1()?;
            alone(read_wif(text)?)
        }
        SingleFormatArg::Hex => alone(SingleKey::read_hex(text)?),
    }
}

fn unusable(fault: SingleFault) -> Failure {
    Failure::new("the key is not usable").because(fault)
}

/// The first line of a password's file, which may end with a line end.
fn password(file: Option<&Path>) -> Result<Option<Zeroizing<String>>, Failure> {
    let Some(file) = file else {
        return Ok(None);
    };
    let text = input(file)?;
    let line = text.trim_end_matches(['\r', '\n']);
    Ok(Some(Zeroizing::new(line.to_owned())))
}

fn input(path: &Path) -> Result<Zeroizing<String>, Failure> {
    // All that will be read fits, so no half-read copy is left behind in memory.
    let mut text = Zeroizing::new(String::with_capacity(INPUT_BYTES_MAX as usize + 1));
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(INPUT_BYTES_MAX)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(INPUT_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(Failure::from_error(format!(
        "cannot read `{}`",
        path.display()
    )))?;
    Ok(text)
}
