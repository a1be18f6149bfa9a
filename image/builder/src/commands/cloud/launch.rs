//! `launch`: a box is made of an image, and waited for until it answers its admin.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use flate2::Compression;
use flate2::write::GzEncoder;
use image_cloud::{Image, Launch, Secret, Server, digitalocean, openstack};

use super::{Access, CloudError, Provider, Session, duration, interrupted, patience, raised};
use crate::commands::check;
use crate::context::Context;
use crate::error::{HintExt, INTERRUPTED, INVALID, Invalid};
use crate::output;

const EXAMPLES: &str = "\
The user-data is checked first, as `holdfast-image check` does. The image is the newest of those that `images`
shows, unless --image names another, or a snapshot of a box that was made at the provider. The first of `admins` is
given to the provider too: DigitalOcean makes no box without a key, and a box takes the provider's keys when it
cannot use its user-data.

The command ends when the box answers `holdfast --host admin@ADDRESS`; for that, one of the keys of `admins` must be
at hand to ssh. --no-wait ends it when the provider has made the box.

Examples:
  holdfast-image launch digitalocean --user-data box.toml --size s-1vcpu-1gb --region fra1
  holdfast-image launch ovh --user-data box.toml --size b3-8 --region GRA11 --network Ext-Net
  holdfast-image launch openstack --cloud work --user-data box.toml --size m1.small --name hub2
  holdfast-image launch ovh --image hub1-snapshot --user-data box.toml --size b3-8 --region GRA11 --network Ext-Net

Exit codes: 0 the box answers, 1 failed, 2 usage or invalid document, 130 interrupted.";

/// How often a box that does not answer yet is asked.
const EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// Arguments of `launch`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where.
    #[arg(value_enum)]
    provider: Provider,
    #[command(flatten)]
    access: Access,
    /// The document that says what the box is to run.
    #[arg(long, value_name = "FILE")]
    user_data: PathBuf,
    /// The provider's word for processors and memory.
    #[arg(long, value_name = "SIZE")]
    size: String,
    /// The image or snapshot, by identity or name [default: the newest image].
    #[arg(long, value_name = "ID")]
    image: Option<String>,
    /// The box's name [default: `hostname` of the user-data].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A public key for the provider to give [default: the first of `admins`].
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// OpenStack: the network, by identity or name, where there are several.
    #[arg(long, value_name = "ID")]
    network: Option<String>,
    /// Do not wait until the box answers.
    #[arg(long)]
    no_wait: bool,
    /// An option for ssh, as after its `-o`; may be repeated.
    #[arg(long = "ssh-option", value_name = "OPTION")]
    ssh_options: Vec<String>,
    /// How long to wait in all.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    timeout: std::time::Duration,
    /// Print the box as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `launch`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let interrupted = interrupted()?;
    let cancelled = raised(&interrupted);
    let end = Instant::now() + args.timeout;
    let Some(document) = Document::read(context, &args.user_data)? else {
        return Ok(ExitCode::from(INVALID));
    };
    let ssh_key = match &args.ssh_key {
        Some(file) => Some(public_key(file)?),
        None => document.admin.clone(),
    };
    if args.provider == Provider::DigitalOcean && ssh_key.is_none() {
        let error: Result<()> = Err(Invalid("DigitalOcean makes no box without a key".to_owned()).into());
        error.hint("add one to `admins`, or give --ssh-key FILE")?;
    }
    let name = args.name.clone().or_else(|| document.hostname.clone());
    let name = name.ok_or_else(|| Invalid("the box needs a name: --name, or `hostname`".to_owned()))?;
    let session = Session::open(args.provider, &args.access)?;
    let launch = Launch {
        name,
        image: image(&session, args.image.as_deref())?,
        size: args.size.clone(),
        user_data: document.delivered(args.provider)?,
        ssh_key,
    };
    // Whoever stops this at once has to know what may be there.
    context
        .progress
        .note(format!("the box is called {}: `boxes` shows it, `destroy` removes it", launch.name));
    let id = context.progress.step("ask for the box", || make(&session, &args, &launch))?;
    context.progress.note(format!("it has the identity {id}"));
    let waiting = patience(args.timeout, &cancelled);
    let ready = context.progress.step("wait until it is made", || session.ready(&id, &waiting));
    let server = ready
        .hint(format!("what there is of it has the identity {id}: `boxes` shows it, `destroy` removes it"))?;
    context.progress.note(format!("{} has {}", server.name, server.addresses.join(", ")));
    if !args.no_wait {
        let answered =
            context.progress.step("wait until it answers", || answers(&server, &args, end, &cancelled))?;
        if !answered {
            context.progress.note(format!("interrupted; the box {} ({}) is there", server.name, server.id));
            return Ok(ExitCode::from(INTERRUPTED));
        }
    }
    output::print(&if args.json {
        serde_json::to_string_pretty(&server)? + "\n"
    } else {
        format!("{} {} {}\n", server.id, server.name, server.addresses.first().map_or("-", String::as_str))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Has the box made; gives its identity.
fn make(session: &Session, args: &Args, launch: &Launch) -> Result<String> {
    Ok(match session {
        Session::DigitalOcean(account) => {
            let region = args.access.region.as_deref();
            let region =
                region.ok_or_else(|| Invalid("--region is needed: where the box will be".to_owned()))?;
            account.launch(launch, region).map_err(CloudError::from)?
        }
        Session::OpenStack(project) => {
            project.launch(launch, args.network.as_deref()).map_err(CloudError::from)?
        }
    })
}

/// The identity of the image that was named, or of the newest that boxes can be made of.
fn image(session: &Session, named: Option<&str>) -> Result<String> {
    let Some(named) = named else {
        let usable = |image: &Image| matches!(image.state.as_str(), "available" | "active");
        let Some(newest) = session.images()?.into_iter().find(usable) else {
            return Err(Invalid("there is no image at this provider".to_owned()))
                .hint("`holdfast-image upload` brings one there, `images` shows them");
        };
        return Ok(newest.id);
    };
    match session.named(named)?.as_slice() {
        [only] => Ok(only.id.clone()),
        [] => Err(Invalid(format!("there is no image `{named}` at this provider"))).hint(
            "`images` shows those that were uploaded; a snapshot goes by the identity or the exact name that the \
             provider shows, in its region",
        ),
        several => {
            let ids: Vec<&str> = several.iter().map(|image| image.id.as_str()).collect();
            Err(Invalid(format!("there are {} images of the name `{named}`", several.len())))
                .hint(format!("name one by its identity: {}", ids.join(", ")))
        }
    }
}

/// User-data that a box accepts.
struct Document {
    text: String,
    hostname: Option<String>,
    admin: Option<String>,
}

impl Document {
    /// Reads and checks it; what is wrong is printed, and then there is none.
    fn read(context: &Context, file: &Path) -> Result<Option<Document>> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("failed to read `{}`", file.display()))?;
        let report = check::document(context, &file.display().to_string(), &text);
        if !report.valid {
            // What cannot be printed has nobody to read it.
            let _ = write!(std::io::stderr().lock(), "{report}");
            return Ok(None);
        }
        let settings = recipes::user_data::settings_only(&text);
        let hostname = settings.as_ref().and_then(|settings| settings.hostname.clone());
        let admin = settings.and_then(|settings| settings.admins.first().map(|key| key.as_str().to_owned()));
        Ok(Some(Document { text, hostname, admin }))
    }

    /// As the provider is given it: plain, or packed where that is too long.
    fn delivered(&self, provider: Provider) -> Result<Secret> {
        let plain = Secret::new(self.text.clone());
        let fits = |text: &Secret| match provider {
            Provider::DigitalOcean => text.expose().len() <= digitalocean::MAX_USER_DATA,
            Provider::Ovh | Provider::OpenStack => openstack::fits(text),
        };
        if fits(&plain) {
            return Ok(plain);
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(self.text.as_bytes())?;
        let packed = Secret::new(BASE64_STANDARD.encode(packed.finish()?));
        if fits(&packed) {
            return Ok(packed);
        }
        Err(Invalid("the user-data is too long for the provider, even packed".to_owned()))
            .hint("launch with less, and give the whole to the running box by `holdfast apply`")
    }
}

/// The first public key in a file.
pub(crate) fn public_key(file: &Path) -> Result<String> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("failed to read `{}`", file.display()))?;
    if text.contains("PRIVATE KEY") {
        let secret: Result<()> = Err(Invalid(format!("`{}` is a private key", file.display())).into());
        secret.hint("give the public one beside it, which ends in `.pub`")?;
    }
    let line =
        text.lines().map(str::trim).find(|line| line.starts_with("ssh-") || line.starts_with("ecdsa-"));
    let line = line.or_else(|| text.lines().map(str::trim).find(|line| line.starts_with("sk-")));
    Ok(line.ok_or_else(|| Invalid(format!("`{}` holds no public key", file.display())))?.to_owned())
}

/// Asks the box, as its admin does, until it answers. Says whether it did before the user wanted to stop.
fn answers(server: &Server, args: &Args, end: Instant, cancelled: &dyn Fn() -> bool) -> Result<bool> {
    let Some(address) = server.addresses.first() else { bail!("the box has no address") };
    let program = program();
    let mut last;
    // It is asked at least once, however long it took to be made.
    loop {
        let mut command = Command::new(&program);
        command.args(["--host", &format!("admin@{address}")]);
        // A box that was made just now is known to nobody; its key is kept for the next time.
        let own =
            ["StrictHostKeyChecking=accept-new", "ConnectTimeout=10", "BatchMode=yes"].map(str::to_owned);
        for option in args.ssh_options.iter().chain(&own) {
            command.args(["--ssh-option", option]);
        }
        command.args(["version", "--json"]).stdin(Stdio::null());
        let said = command.output().with_context(|| format!("failed to run `{}`", program.display()))?;
        if said.status.success() {
            return Ok(true);
        }
        last = String::from_utf8_lossy(&said.stderr).lines().next().unwrap_or_default().to_owned();
        let next = Instant::now() + EVERY;
        if next > end {
            break;
        }
        while Instant::now() < next {
            if cancelled() {
                return Ok(false);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    let Server { name, id, .. } = server;
    Err(anyhow::anyhow!("the box {name} ({id}) at {address} does not answer: {last}"))
        .hint("it stays there: look at its console at the provider, which says what is wrong")
}

/// The admin's program: the one beside this, else the one on the path.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("holdfast"));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| "holdfast".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: String) -> Document {
        Document { text, hostname: None, admin: None }
    }

    #[test]
    fn long_user_data_is_packed_and_what_is_too_long_refused() {
        let short = document("[box]\n".to_owned());
        assert_eq!(short.delivered(Provider::DigitalOcean).unwrap().expose(), "[box]\n");
        let long = document("# a comment\n".repeat(8_000));
        let packed = long.delivered(Provider::Ovh).unwrap();
        assert!(packed.expose().len() < 2_000 && packed.expose().starts_with("H4sI"));
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 27) as u8 % 26)
        });
        let noise = document(noise.take(200_000).collect());
        let error = noise.delivered(Provider::DigitalOcean).unwrap_err();
        assert_eq!(error.to_string(), "the user-data is too long for the provider, even packed");
    }

    #[test]
    fn a_private_key_is_not_taken_for_a_public_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let told = |text: &str| {
            std::fs::write(&file, text).unwrap();
            public_key(&file).map_err(|error| error.to_string())
        };
        assert_eq!(told("ssh-ed25519 AAAA ops\n"), Ok("ssh-ed25519 AAAA ops".to_owned()));
        assert_eq!(
            told("# mine\nsk-ssh-ed25519@openssh.com AAAA\n").unwrap(),
            "sk-ssh-ed25519@openssh.com AAAA"
        );
        assert!(told("-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap_err().ends_with("is a private key"));
        assert!(told("nothing\n").unwrap_err().ends_with("holds no public key"));
    }
}
