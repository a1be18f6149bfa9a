//! `upload`: an image goes to a provider, to a bucket or to a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Subcommand, ValueEnum};
use image_cloud::Image;
use image_cloud::openstack::Disk;
use image_cloud::s3::{Options, Service, Staged};
use serde_json::json;

use super::{Access, CloudError, duration, interrupted, patience, raised};
use crate::context::Context;
use crate::error::Invalid;
use crate::output;
use crate::plan::machine::Firmware;
use crate::release::image::Built;
use crate::steps::formats::Format;

const EXAMPLES: &str = "\
DIR is what `holdfast-image build --output DIR` wrote. Only an image that is as it was built is sent: a disk that a
box has run from holds its secrets. Ctrl-C stops and cleans up; a second one stops at once.

Examples:
  holdfast-image upload digitalocean target/image --region fra1 --bucket my-space
  holdfast-image upload ovh target/image --region GRA11
  holdfast-image upload openstack target/image --cloud work --firmware uefi
  holdfast-image upload s3 target/image s3://my-bucket/holdfast.raw.gz --region eu-central-1
  holdfast-image upload file target/image /srv/images/holdfast.qcow2 --format qcow2";

const DIGITALOCEAN: &str = "\
DigitalOcean fetches images from a URL. So the image is put into a Space (or another bucket) under a name that
nobody can guess, is public while it is imported, and is removed afterwards, also when something fails.

The token is DIGITALOCEAN_ACCESS_TOKEN, else that of doctl. The keys of the Space are SPACES_ACCESS_KEY_ID and
SPACES_SECRET_ACCESS_KEY, else those of AWS's own programs.

Example:
  holdfast-image upload digitalocean target/image --region fra1 --bucket my-space";

const OPENSTACK: &str = "\
Who asks is said by `clouds.yaml` and --cloud or OS_CLOUD, else by the variables of an openrc file. What the cloud
stored is compared with what was sent.

Example:
  holdfast-image upload openstack target/image --cloud work --disk virtio --firmware uefi";

/// Arguments of `upload`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    to: To,
}

#[derive(Subcommand)]
enum To {
    /// As a custom image at DigitalOcean.
    #[command(name = "digitalocean", after_help = DIGITALOCEAN)]
    DigitalOcean(DigitalOceanArgs),
    /// As an image of a project at OVHcloud.
    #[command(after_help = OPENSTACK)]
    Ovh(OpenStackArgs),
    /// As an image of a project in any OpenStack.
    #[command(name = "openstack", after_help = OPENSTACK)]
    OpenStack(OpenStackArgs),
    /// As an object in a bucket.
    S3(S3Args),
    /// As a file, whole or not at all.
    File(FileArgs),
}

#[derive(clap::Args)]
struct DigitalOceanArgs {
    /// The image's folder.
    #[arg(value_name = "DIR")]
    image: PathBuf,
    #[command(flatten)]
    access: Access,
    /// The Space or bucket that it is fetched from.
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
    /// URL of the bucket's service [default: the region's Spaces].
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct OpenStackArgs {
    /// The image's folder.
    #[arg(value_name = "DIR")]
    image: PathBuf,
    #[command(flatten)]
    access: Access,
    /// How boxes see their disk.
    #[arg(long, value_enum, default_value = "scsi")]
    disk: Bus,
    /// What starts boxes.
    #[arg(long, value_enum, default_value = "bios")]
    firmware: Firmware,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Bus {
    /// virtio-scsi.
    Scsi,
    /// virtio-blk.
    Virtio,
}

#[derive(clap::Args)]
struct Common {
    /// The image's name [default: its identity and version].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long to wait for the provider.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    timeout: std::time::Duration,
    /// Print the image as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct S3Args {
    /// The image's folder.
    #[arg(value_name = "DIR")]
    image: PathBuf,
    /// Where to.
    #[arg(value_name = "s3://BUCKET/NAME")]
    to: String,
    /// URL of an S3 service that is not AWS's.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The bucket's region.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// In which form.
    #[arg(long, value_enum, default_value = "raw.gz")]
    format: Format,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct FileArgs {
    /// The image's folder.
    #[arg(value_name = "DIR")]
    image: PathBuf,
    /// Where to.
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// In which form.
    #[arg(long, value_enum, default_value = "raw.gz")]
    format: Format,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `upload`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    match args.to {
        To::DigitalOcean(args) => digitalocean(context, args),
        To::Ovh(args) => openstack(context, true, args),
        To::OpenStack(args) => openstack(context, false, args),
        To::S3(args) => s3(context, args),
        To::File(args) => file(args),
    }
}

fn digitalocean(context: &Context, args: DigitalOceanArgs) -> Result<ExitCode> {
    let interrupted = interrupted()?;
    let cancelled = raised(&interrupted);
    let built = Built::open(&args.image)?;
    let disk = built.disk_in(&[Format::RawGz, Format::Qcow2])?;
    let region = args.access.region.clone();
    let region = region.ok_or_else(|| Invalid("--region is needed: where boxes will be".to_owned()))?;
    let account = super::digitalocean(&args.access)?;
    let endpoint = args.endpoint.unwrap_or_else(|| format!("https://{region}.digitaloceanspaces.com"));
    let options = Options { endpoint: Some(endpoint), region: Some(region.clone()), spaces: true };
    let service = Service::open(&options).map_err(CloudError::from)?;
    let name = args.common.name.unwrap_or_else(|| default_name(&built));
    let suffix = if disk.extension().is_some_and(|ext| ext == "gz") { ".raw.gz" } else { ".qcow2" };

    let mut staged = Staged::new(&service, &args.bucket, suffix).map_err(CloudError::from)?;
    told(context, &name);
    context.progress.note(format!("public until it is imported: {}", staged.name()));
    let patience = patience(args.common.timeout, &cancelled);
    let step = format!("put {} into the bucket", disk.display());
    let put = context.progress.step(&step, || staged.put(&disk)).map_err(CloudError::from);
    let imported = put.and_then(|()| {
        let import = || account.import(&name, &staged.url(), &region, &patience);
        context.progress.step("wait for the import", import).map_err(CloudError::from)
    });
    let kept = staged.name();
    let removed = staged.remove().map_err(CloudError::from);
    // Whatever became of the object and the image: what may still be public is told.
    if removed.is_err() {
        context.progress.note(format!("`{kept}` may still be public: remove it by hand"));
    }
    let image = imported?;
    removed?;
    done(&image, args.common.json)
}

fn openstack(context: &Context, ovh: bool, args: OpenStackArgs) -> Result<ExitCode> {
    let interrupted = interrupted()?;
    let cancelled = raised(&interrupted);
    let built = Built::open(&args.image)?;
    let file = built.disk_in(&[Format::Qcow2, Format::Raw])?;
    let format = if file.extension().is_some_and(|ext| ext == "raw") { "raw" } else { "qcow2" };
    let project = super::openstack(ovh, &args.access)?;
    let name = args.common.name.unwrap_or_else(|| default_name(&built));
    let disk = Disk { scsi: args.disk == Bus::Scsi, uefi: args.firmware == Firmware::Uefi };
    let length = file.metadata().with_context(|| format!("failed to read `{}`", file.display()))?.len();
    told(context, &name);
    let bar = context.progress.bytes(&format!("send {}", file.display()), length);
    let patience = patience(args.common.timeout, &cancelled);
    let sent = project.upload(&name, &file, format, disk, &mut |count| bar.inc(count), &patience);
    bar.finish_and_clear();
    done(&sent.map_err(CloudError::from)?, args.common.json)
}

fn s3(context: &Context, args: S3Args) -> Result<ExitCode> {
    let built = Built::open(&args.image)?;
    let disk = built.disk_in(&[args.format])?;
    let named = args.to.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    let Some((bucket, key)) = named.filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty()) else {
        return Err(Invalid(format!("`{}` is no object: s3://BUCKET/NAME", args.to)).into());
    };
    let options = Options { endpoint: args.endpoint, region: args.region, spaces: false };
    let service = Service::open(&options).map_err(CloudError::from)?;
    let step = format!("put {} into the bucket", disk.display());
    context.progress.step(&step, || service.put(bucket, key, &disk)).map_err(CloudError::from)?;
    wrote(&args.to, &disk, args.json)
}

fn file(args: FileArgs) -> Result<ExitCode> {
    let built = Built::open(&args.image)?;
    let disk = built.disk_in(&[args.format])?;
    let folder = args.to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || format!("failed to write `{}`", args.to.display());
    let mut beside = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    let mut source =
        std::fs::File::open(&disk).with_context(|| format!("failed to read `{}`", disk.display()))?;
    std::io::copy(&mut source, &mut beside).with_context(failed)?;
    beside.as_file().sync_all().with_context(failed)?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    beside.as_file().set_permissions(readable).with_context(failed)?;
    beside.persist(&args.to).with_context(failed)?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(failed)?;
    wrote(&args.to.display().to_string(), &disk, args.json)
}

/// Says what was written where.
fn wrote(to: &str, disk: &Path, as_json: bool) -> Result<ExitCode> {
    let bytes = disk.metadata().with_context(|| format!("failed to read `{}`", disk.display()))?.len();
    output::print(&if as_json {
        format!("{:#}\n", json!({ "to": to, "bytes": bytes }))
    } else {
        format!("{to}\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Says which image boxes can be made of.
fn done(image: &Image, as_json: bool) -> Result<ExitCode> {
    output::print(&if as_json {
        serde_json::to_string_pretty(image)? + "\n"
    } else {
        format!("{} {}\n", image.id, image.name)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Whoever stops an upload at once has to know what may be left of it.
fn told(context: &Context, name: &str) {
    context.progress.note(format!("the image is called {name}: `images` shows it, `destroy` removes it"));
}

fn default_name(built: &Built) -> String {
    format!("holdfast-{}", built.version)
}
