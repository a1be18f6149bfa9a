//! `build`: the image from the lock file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use image_layout::kernel;
use image_layout::manifest::{EmbeddedImage, Manifest, Output};
use image_layout::version::Version;

use crate::commands::app;
use crate::config::Config;
use crate::context::{Context, Fetched};
use crate::error::HintExt;
use crate::fetch::digest::sha256_of;
use crate::lock::{IMAGE, TOOLS};
use crate::oci::image::Image;
use crate::oci::layout;
use crate::progress::size;
use crate::release::{root, sbom};
use crate::steps::binaries::{self, Binaries};
use crate::steps::disk::{self, Contents};
use crate::steps::formats::{self, Format};
use crate::steps::outputs::MANIFEST;
use crate::steps::rootfs::assemble::Additions;
use crate::steps::rootfs::{assemble, seccomp};
use crate::steps::{crates, erofs, grub, kernel as kernel_step, outputs, partitions, table};
use crate::tools::Tools;

const EXAMPLES: &str = "\
Examples:
  holdfast-image build
  holdfast-image build --format raw --output /tmp/image --verbose
  holdfast-image build --bin-dir target/x86_64-unknown-linux-gnu/release
  holdfast-image build --image-version 0.2.0.20261127.1 --update-root keys/root.json

An image that is built with --update-root, or with `[update] root` in holdfast.toml, follows the releases that
the owner of these keys publishes; one without follows nobody's. See `holdfast-image release --help`.";

/// Arguments of `build`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the image is written [default: target/image of the repository].
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Take our programs from this folder instead of compiling them.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// What to write; all when it is not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    format: Vec<Format>,
    /// The image's version [default: the program's version and the day of the newest package release].
    #[arg(long, value_name = "VERSION")]
    image_version: Option<Version>,
    /// TUF root metadata of the publisher whose releases the image follows [default: that of holdfast.toml].
    #[arg(long, value_name = "FILE")]
    update_root: Option<PathBuf>,
}

const SECCOMP: &str = "usr/share/containers/seccomp.json";
const MANIFEST_FORMAT: u32 = 1;

/// Runs `build`.
pub fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let repository = std::path::absolute(context.root()?)?;
    let output = args.output.unwrap_or_else(|| repository.join("target/image"));
    let output = std::path::absolute(output)?;
    let formats =
        if args.format.is_empty() { vec![Format::Raw, Format::RawGz, Format::Qcow2] } else { args.format };
    let config = context.config()?;
    let update_root = update_root(context, &config, args.update_root)?;
    let binaries = match &args.bin_dir {
        Some(folder) => binaries::ready(folder)?,
        None => context.progress.step("compile the box's programs", || binaries::compile(&repository))?,
    };
    let fetched = context.fetch(&[IMAGE, TOOLS])?;
    let tools = Tools::open(&context.cache, fetched.packages(TOOLS), &context.progress)?;

    let published = outputs::publish(&output, |staging| {
        let version = args.image_version;
        let build =
            Build { context, config, fetched, tools, binaries, staging, repository, version, update_root };
        build.write(&formats)
    })?;
    for file in published {
        let bytes = fs::metadata(&file)?.len();
        context.progress.note(format!("{} ({})", file.display(), size(bytes)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that a build works with.
struct Build<'a> {
    context: &'a Context,
    config: Config,
    fetched: Fetched,
    tools: Tools,
    binaries: Binaries,
    /// Where outputs are written before they get their names, and scratch files.
    staging: &'a Path,
    repository: PathBuf,
    /// As the user wants it.
    version: Option<Version>,
    /// Checked.
    update_root: Option<Vec<u8>>,
}

impl Build<'_> {
    /// Writes the outputs into the staging folder and returns their names.
    fn write(&self, formats: &[Format]) -> Result<Vec<String>> {
        let progress = &self.context.progress;
        let scratch = self.staging.join("scratch");
        fs::create_dir(&scratch)?;
        let epoch = self.fetched.lockfile.epoch();
        let version =
            self.version.as_ref().map_or_else(|| version(epoch), |version| Ok(version.to_string()))?;
        let image_packages = self.fetched.packages(IMAGE);

        let mut tree = progress.step("read the root's packages", || {
            assemble::from_packages(image_packages, &self.config.root)
        })?;
        let init = fs::read(&self.binaries.init)
            .with_context(|| format!("failed to read `{}`", self.binaries.init.display()))?;
        let parts = progress.step("make the initrd", || {
            kernel_step::split(&mut tree, &self.config.kernel, &init, &self.tools, &scratch)
        })?;
        let layout = scratch.join("images");
        let images = self.images(&layout)?;
        let profile = fs::read_to_string(self.tools.file(SECCOMP)?)?;
        let additions = Additions {
            files: &self.context.image_file("files")?,
            programs: &self.binaries.root,
            recipes: &self.repository.join("recipes/library"),
            seccomp: seccomp::resolve(&profile)?,
            images: (!images.is_empty()).then_some(layout.as_path()),
            version: &version,
            update_root: self.update_root.as_deref(),
        };
        assemble::add(&mut tree, &self.config.root, &additions)?;
        let mut manifest = Manifest {
            format: MANIFEST_FORMAT,
            version,
            epoch,
            root_hash: String::new(),
            root_size: 0,
            packages: assemble::packages(&tree, image_packages),
            images,
            outputs: Vec::new(),
        };
        tree.file("usr/share/holdfast/manifest.json", 0o644, json(&manifest)?, "holdfast");
        assemble::check(&tree)?;

        let cache = self.context.cache.folder().join("roots");
        let root =
            progress.step("write the root", || erofs::build(&tree, epoch, &self.tools, &cache, &scratch))?;
        manifest.root_hash.clone_from(&root.verity.root_hash);
        manifest.root_size = root.bytes.len() as u64;

        let raw = self.staging.join(Format::Raw.file_name());
        progress.step("write the disk", || self.disk(&raw, parts, &root, epoch, &scratch))?;
        fs::remove_dir_all(&scratch)?;
        self.outputs(&raw, formats, manifest)
    }

    /// Builds the apps that are embedded and writes them as one OCI layout.
    fn images(&self, folder: &Path) -> Result<Vec<EmbeddedImage>> {
        let mut images = Vec::new();
        for (app, reference) in &self.config.embed.images {
            let (_, mut image) = app::image(self.context, Path::new(app))?;
            image.reference.clone_from(reference);
            images.push(image);
        }
        layout::write(folder, &images)?;
        let entry =
            |image: &Image| EmbeddedImage { reference: image.reference.clone(), digest: image.digest() };
        Ok(images.iter().map(entry).collect())
    }

    /// Writes the disk; the seed of its identifiers is the root and what boots it.
    fn disk(
        &self,
        raw: &Path,
        parts: kernel_step::Parts,
        root: &erofs::Root,
        epoch: u64,
        scratch: &Path,
    ) -> Result<()> {
        let grub = grub::build(&self.tools, &self.context.image_file("grub")?, scratch)?;
        let esp = partitions::esp(&grub)?;
        let mut arguments = self.config.kernel.arguments.clone();
        arguments.push(format!("{}={}", kernel::VERITY, root.verity));
        let files = partitions::BootFiles {
            kernel: parts.kernel,
            initrd: parts.initrd,
            arguments: arguments.join(" "),
        };
        let boot = partitions::boot(&files)?;
        let seed = seed(&[&boot, &esp]);
        let data = scratch.join("data.ext4");
        partitions::data(&self.tools, &data, table::derived_uuid(&seed, "data file system"), epoch)?;
        let contents = Contents { grub: &grub, esp: &esp, boot: &boot, root: &root.bytes, data: &data };
        disk::write(raw, &contents, &seed)
    }

    /// The wanted forms of the disk, and the manifest that names them.
    fn outputs(&self, raw: &Path, formats: &[Format], mut manifest: Manifest) -> Result<Vec<String>> {
        let progress = &self.context.progress;
        let mut names = Vec::new();
        for format in [Format::Raw, Format::RawGz, Format::Qcow2] {
            if !formats.contains(&format) {
                continue;
            }
            let name = format.file_name();
            let file = self.staging.join(name);
            progress.step(&format!("write {name}"), || match format {
                Format::Raw => Ok(()),
                Format::RawGz => {
                    formats::gzip(raw, &file).with_context(|| format!("failed to write `{name}`"))
                }
                Format::Qcow2 => formats::qcow2(&self.tools, raw, &file),
            })?;
            let (sha256, size) = sha256_of(fs::File::open(&file)?)?;
            manifest.outputs.push(Output { name: name.to_owned(), size, sha256 });
            names.push(name.to_owned());
        }
        ensure!(!names.is_empty(), "nothing was asked for");
        let crates = progress.step("list the crates", || crates::of_the_box(&self.repository))?;
        let text = sbom::document(&manifest, &crates)?;
        let (sha256, size) = sha256_of(text.as_bytes())?;
        manifest.outputs.push(Output { name: sbom::FILE.to_owned(), size, sha256 });
        fs::write(self.staging.join(sbom::FILE), text)?;
        names.push(sbom::FILE.to_owned());
        fs::write(self.staging.join(MANIFEST), json(&manifest)?)?;
        names.push(MANIFEST.to_owned());
        Ok(names)
    }
}

/// The publisher's root metadata, if the image is to follow one.
fn update_root(context: &Context, config: &Config, given: Option<PathBuf>) -> Result<Option<Vec<u8>>> {
    let path = match (given, &config.update.root) {
        (Some(path), _) => path,
        (None, Some(path)) => context.root()?.join("image").join(path),
        (None, None) => return Ok(None),
    };
    let text = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    root::parse(&text)
        .with_context(|| format!("`{}` cannot be followed", path.display()))
        .hint("give the root.json that `holdfast-image release keys init` wrote")?;
    Ok(Some(text))
}

/// `IMAGE_VERSION`: the version of Holdfast, then the day of the newest package release.
fn version(epoch: u64) -> Result<String> {
    let time = jiff::Timestamp::from_second(i64::try_from(epoch)?)?;
    Ok(format!("{}.{}", env!("CARGO_PKG_VERSION"), time.strftime("%Y%m%d")))
}

fn seed(parts: &[&[u8]]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(Sha256::digest(part))).finalize().to_vec()
}

fn json(manifest: &Manifest) -> Result<String> {
    let mut text = serde_json::to_string_pretty(manifest)?;
    text.push('\n');
    Ok(text)
}
