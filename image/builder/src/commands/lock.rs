//! `lock`: from signed releases to lock files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use crate::app::recipe::{self, AppRecipe};
use crate::config::{Config, PackageSet};
use crate::context::Context;
use crate::error::{HintExt, Invalid};
use crate::lock::resolve::{Archives, Update, changes, keyring};
use crate::lock::{APP, IMAGE, Lockfile, TOOLS};
use crate::output;

const EXAMPLES: &str = "\
Without --update every version that is still there stays; what is new in holdfast.toml is added.
The lock files are image/holdfast.lock and one beside each recipes/apps/NAME.toml. No mirror is
written into them.

Examples:
  holdfast-image lock
  holdfast-image lock --update
  holdfast-image lock --update openssh-server nginx
  holdfast-image lock --mirror /srv/mirror        # holds debian/ and debian-security/";

/// Arguments of `lock`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Move these packages to the newest version, or all without a name, and print what changed.
    #[arg(long, num_args = 0.., value_name = "PACKAGE")]
    update: Option<Vec<String>>,
    /// Lock this app only, a file like recipes/apps/NAME.toml.
    #[arg(long, value_name = "FILE")]
    app: Option<PathBuf>,
}

/// One lock file to be made.
struct Target {
    path: PathBuf,
    sets: Vec<(&'static str, PackageSet)>,
    old: Option<Lockfile>,
}

/// Runs `lock`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let config = context.config()?;
    let targets = match &args.app {
        Some(file) => vec![app_target(file)?],
        None => targets(context, &config)?,
    };
    let update = update(&args, &targets)?;
    let newest = targets.iter().filter_map(|target| target.old.as_ref()).max_by_key(|old| old.epoch());
    let archives = archives(context, &config, newest)?;
    for target in &targets {
        let sets: Vec<(&str, &PackageSet)> = target.sets.iter().map(|(name, set)| (*name, set)).collect();
        let name = target.path.display();
        let resolve = || archives.resolve(&sets, target.old.as_ref(), &update);
        let lockfile = context.progress.step(&format!("resolve {name}"), resolve)?;
        lockfile.write(&target.path)?;
        let count: usize = lockfile.sets.values().map(Vec::len).sum();
        let changes: String =
            changes(target.old.as_ref(), &lockfile).iter().map(|line| format!("  {line}\n")).collect();
        output::print(&format!("{name}: {count} packages\n{changes}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Locks the image and its tools anew, everything as new as can be, for a test build.
pub(crate) fn image(context: &Context, old: &Lockfile) -> Result<Lockfile> {
    let config = context.config()?;
    let archives = archives(context, &config, Some(old))?;
    let sets = [(IMAGE, &config.packages), (TOOLS, &config.tools)];
    Ok(archives.resolve(&sets, Some(old), &Update::All)?)
}

/// Locks an app anew, everything as new as can be, for a test build.
pub(crate) fn app(context: &Context, recipe: &AppRecipe, old: &Lockfile) -> Result<Lockfile> {
    let config = context.config()?;
    let archives = archives(context, &config, Some(old))?;
    Ok(archives.resolve(&[(APP, &recipe.packages)], Some(old), &Update::All)?)
}

fn archives(context: &Context, config: &Config, old: Option<&Lockfile>) -> Result<Archives> {
    let keyring = keyring(&config.archive, &context.image_file("")?)?;
    Archives::fetch(&config.archive, &keyring, &context.mirror, &context.cache, old, &context.progress)
}

fn targets(context: &Context, config: &Config) -> Result<Vec<Target>> {
    let path = context.image_file("holdfast.lock")?;
    let sets = vec![(IMAGE, config.packages.clone()), (TOOLS, config.tools.clone())];
    let mut targets = vec![Target { old: existing(&path)?, path, sets }];
    for file in recipe::library(context.root()?)? {
        targets.push(app_target(&file)?);
    }
    Ok(targets)
}

fn app_target(file: &Path) -> Result<Target> {
    let recipe = AppRecipe::load(file)?;
    let path = recipe::lock_path(file);
    Ok(Target { old: existing(&path)?, path, sets: vec![(APP, recipe.packages)] })
}

fn existing(path: &Path) -> Result<Option<Lockfile>> {
    if path.exists() { Lockfile::load(path).map(Some) } else { Ok(None) }
}

fn update(args: &Args, targets: &[Target]) -> Result<Update> {
    let names: BTreeSet<String> = match &args.update {
        None => return Ok(Update::Keep),
        Some(names) if names.is_empty() => return Ok(Update::All),
        Some(names) => names.iter().cloned().collect(),
    };
    let locked = |name: &String| {
        let mut packages =
            targets.iter().filter_map(|t| t.old.as_ref()).flat_map(|l| l.sets.values().flatten());
        packages.any(|package| package.name == *name)
    };
    match names.iter().find(|name| !locked(name)) {
        Some(unknown) => Err(Invalid(format!("no lock file has a package `{unknown}`")))
            .hint("packages are added in image/holdfast.toml or an app's recipe"),
        None => Ok(Update::Only(names)),
    }
}
