//! `app`: OCI images of apps, built from Debian packages and pushed to a registry.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use ureq::tls::Certificate;

use crate::app::build;
use crate::app::recipe::{self, AppRecipe};
use crate::context::Context;
use crate::error::{HintExt, Invalid};
use crate::lock::{APP, LockError};
use crate::oci::image::Image;
use crate::oci::layout::{self, Layout};
use crate::oci::push::{Access, Target, certificates, push};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  holdfast-image app build nginx                  # recipes/apps/nginx.toml to target/apps/nginx
  holdfast-image app build ./mine.toml --output target/mine
  holdfast-image app push target/apps/nginx 127.0.0.1:5000/nginx:1 --plain-http
  pass show registry | holdfast-image app push target/mine registry.example.org/mine:3 \\
      --username ops --password-stdin";

/// Arguments of `app`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build an app's image, the same bytes each time, as an OCI image layout.
    Build(BuildArgs),
    /// Push the image of a layout to a registry.
    Push(PushArgs),
}

#[derive(clap::Args)]
struct BuildArgs {
    /// A name of recipes/apps, or a recipe's file.
    #[arg(value_name = "NAME|FILE")]
    app: PathBuf,
    /// The layout's folder [default: target/apps/NAME].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(clap::Args)]
struct PushArgs {
    /// The layout's folder.
    layout: PathBuf,
    /// `HOST[:PORT]/NAME[:TAG]`.
    reference: String,
    /// Speak HTTP.
    #[arg(long)]
    plain_http: bool,
    /// Trust these authorities (PEM) instead of the public ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Log in under this name.
    #[arg(long)]
    username: Option<String>,
    /// Read the password from stdin instead of HOLDFAST_REGISTRY_PASSWORD.
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

/// Runs `app`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    match args.verb {
        Verb::Build(args) => run_build(context, &args),
        Verb::Push(args) => run_push(context, &args),
    }
}

/// Builds the image of an app: a name of `recipes/apps`, or a recipe's file.
pub(crate) fn image(context: &Context, app: &Path) -> Result<(AppRecipe, Image)> {
    let file = recipe_file(context, app)?;
    let recipe = AppRecipe::load(&file)?;
    let lock = recipe::lock_path(&file);
    let relock = || crate::commands::lock::app(context, &recipe, &crate::lock::Lockfile::load(&lock)?);
    let fetched = match context.fetch_lock(&lock, &[APP], relock) {
        Err(error) if matches!(error.downcast_ref(), Some(LockError::Missing(_))) => {
            return Err(error)
                .hint(format!("for this app alone: `holdfast-image lock --app {}`", file.display()));
        }
        fetched => fetched?,
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    let name = format!("build {}", recipe.app.reference);
    let epoch = fetched.lockfile.epoch();
    let image =
        context.progress.step(&name, || build::image(&recipe, folder, fetched.packages(APP), epoch))?;
    Ok((recipe, image))
}

fn recipe_file(context: &Context, app: &Path) -> Result<PathBuf> {
    let is_name = app.components().count() == 1 && app.extension().is_none();
    if !is_name {
        return Ok(app.to_owned());
    }
    let file = context.root()?.join("recipes/apps").join(app).with_extension("toml");
    if file.is_file() {
        return Ok(file);
    }
    let known = recipe::library(context.root()?)?;
    let known: Vec<_> =
        known.iter().filter_map(|f| f.file_stem()).map(|stem| stem.to_string_lossy()).collect();
    Err(Invalid(format!("there is no app `{}`", app.display())))
        .hint(format!("there are: {}", known.join(", ")))
}

fn run_build(context: &Context, args: &BuildArgs) -> Result<ExitCode> {
    let (recipe, image) = image(context, &args.app)?;
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => context.root()?.join("target/apps").join(&recipe.app.name),
    };
    layout::write(&folder, std::slice::from_ref(&image))?;
    output::print(&format!("{}\n{}@{}\n", folder.display(), image.reference, image.digest()))?;
    Ok(ExitCode::SUCCESS)
}

fn run_push(context: &Context, args: &PushArgs) -> Result<ExitCode> {
    let target = Target::parse(&args.reference).map_err(|error| Invalid(error.to_string()))?;
    let layout = Layout::open(&args.layout)?;
    let ca = args.ca.as_deref().map(authorities).transpose()?;
    let access = Access { plain_http: args.plain_http, ca, login: login(args)? };
    let digest = push(&layout, &target, &access, &context.progress)?;
    output::print(&format!("{}@{digest}\n", target.reference()))?;
    Ok(ExitCode::SUCCESS)
}

fn authorities(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()))?;
    match certificates(&pem) {
        none if none.is_empty() => {
            Err(Invalid(format!("`{}` holds no certificate in PEM", file.display())).into())
        }
        some => Ok(some),
    }
}

fn login(args: &PushArgs) -> Result<Option<(String, String)>> {
    let Some(username) = &args.username else { return Ok(None) };
    let password = if args.password_stdin {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("failed to read the password")?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    } else {
        let missing = || Invalid("a user name needs a password".to_owned());
        std::env::var("HOLDFAST_REGISTRY_PASSWORD")
            .map_err(|_| missing())
            .hint("set HOLDFAST_REGISTRY_PASSWORD, or use --password-stdin")?
    };
    Ok(Some((username.clone(), password)))
}
