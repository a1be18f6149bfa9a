//! `release keys`: the keys that sign releases.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use tough::schema::{RoleKeys, RoleType, Root};

use super::signing;
use crate::context::Context;
use crate::error::Invalid;
use crate::output;
use crate::release::keys::{self, Keys, ROLES, ROOT};
use crate::release::lifetime::Lifetime;
use crate::release::metadata::SPECIFICATION;
use crate::release::repository::Repository;
use crate::release::rotate;

const EXAMPLES: &str = "\
Whoever has the targets, snapshot and timestamp keys can make every box that follows them run anything. The root
key can replace the other keys, and itself: keep it where no machine on a network has it. A backup of the folder
is the only way back when it is lost: boxes then have to be installed anew.

Examples:
  holdfast-image release keys init --keys ~/holdfast-keys
  holdfast-image release keys init --keys ~/holdfast-keys --root-keys 3 --root-threshold 2
  holdfast-image release keys rotate --keys ~/holdfast-keys --repository releases --role timestamp";

/// Arguments of `release keys`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a folder of new keys, and the root.json that boxes trust.
    Init(Init),
    /// Replace the keys of a role; boxes follow by themselves.
    Rotate(Rotate),
}

#[derive(clap::Args)]
struct Init {
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// How many root keys to make.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=16))]
    root_keys: u64,
    /// How many root keys must sign.
    #[arg(long, value_name = "K", default_value = "1")]
    root_threshold: NonZeroU64,
    /// How long root.json holds; to rotate the root role makes it hold anew.
    #[arg(long, value_name = "SPAN", default_value = "365d")]
    root_expires: Lifetime,
}

#[derive(clap::Args)]
struct Rotate {
    #[command(flatten)]
    signing: signing::Signing,
    /// Whose keys to replace: all of the role that are in the folder.
    #[arg(long, value_enum)]
    role: KeyRole,
    /// Keys of the role that are not in the folder are lost: new ones take their place, too.
    #[arg(long)]
    lost: bool,
    /// How long root.json holds from now.
    #[arg(long, value_name = "SPAN", default_value = "365d")]
    root_expires: Lifetime,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyRole {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

/// Runs `release keys`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Init(args) => init(&args),
        Command::Rotate(args) => rotate(context, &args),
    }
}

fn init(args: &Init) -> Result<ExitCode> {
    if args.root_threshold.get() > args.root_keys {
        let Init { root_keys, root_threshold, .. } = args;
        return Err(Invalid(format!("{root_threshold} of {root_keys} root keys can never sign")).into());
    }
    let threshold = |role| if role == RoleType::Root { args.root_threshold } else { NonZeroU64::MIN };
    let none = |role| RoleKeys { keyids: Vec::new(), threshold: threshold(role), _extra: HashMap::new() };
    let root = Root {
        spec_version: SPECIFICATION.to_owned(),
        consistent_snapshot: true,
        version: NonZeroU64::MIN,
        expires: args.root_expires.after(Timestamp::now()),
        keys: HashMap::new(),
        roles: ROLES.into_iter().map(|role| (role, none(role))).collect(),
        _extra: HashMap::new(),
    };
    let expires = root.expires;
    keys::init(&args.keys, args.root_keys, root)?;
    output::print(&format!("{} (valid until {expires})\n", args.keys.join(ROOT).display()))?;
    Ok(ExitCode::SUCCESS)
}

fn rotate(context: &Context, args: &Rotate) -> Result<ExitCode> {
    let role = match args.role {
        KeyRole::Root => RoleType::Root,
        KeyRole::Targets => RoleType::Targets,
        KeyRole::Snapshot => RoleType::Snapshot,
        KeyRole::Timestamp => RoleType::Timestamp,
    };
    let mut keys = Keys::open(&args.signing.keys)?;
    let (path, expires) = (&args.signing.repository, args.signing.expires);
    let mut repository;
    if args.lost {
        repository = Repository::open_as_is(path, &mut keys)?;
        rotate::replace_lost(&mut keys, &mut repository, role, args.root_expires, expires)?;
    } else {
        repository = Repository::open(path, &mut keys)?;
        rotate::rotate(&mut keys, &mut repository, role, args.root_expires, expires)?;
    }
    let root = keys.root();
    output::print(&format!("{}: version {}\n", keys.folder().join(ROOT).display(), root.signed.version))?;
    signing::say_until(context, &keys, &repository)?;
    Ok(ExitCode::SUCCESS)
}
