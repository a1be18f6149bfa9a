//! `release publish`: the repository goes where boxes find it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::context::Context;
use crate::error::{HintExt, Invalid};
use crate::output;
use crate::progress::size;
use crate::release::folder::Folder;
use crate::release::publish::{Options, Place, Source, Transfer};
use crate::release::repository;

const EXAMPLES: &str = "\
What is there already is not sent again, and a publication that was cut goes on where it was. A box that asks
meanwhile finds the state before or the one after.

Credentials for S3 are those of AWS's own programs: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, of temporary
ones, AWS_SESSION_TOKEN; else the profile AWS_PROFILE of ~/.aws/credentials. AWS_REGION and AWS_ENDPOINT_URL
count where the options are not given.

Examples:
  holdfast-image release publish --repository releases --to /var/www/holdfast
  holdfast-image release publish --repository releases --to s3://my-bucket/holdfast --region eu-central-1
  holdfast-image release publish --repository releases --to s3://my-space --endpoint https://fra1.digitaloceanspaces.com";

/// Arguments of `release publish`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The repository's folder.
    #[arg(long, value_name = "DIR")]
    repository: PathBuf,
    /// Where to.
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    to: String,
    /// URL of an S3 service that is not AWS's.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The bucket's region.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

/// Runs `release publish`.
pub(crate) fn run(context: &Context, args: Args) -> Result<ExitCode> {
    let Args { repository, to, endpoint, region } = args;
    let _lock = repository::lock_existing(&repository)?;
    let source = Source::open(Folder::new(&repository))?;
    let place = Place::open(&to, &Options { endpoint, region, spaces: false })?;
    if let Place::Folder(folder) = &place
        && folder.path().canonicalize()? == repository.canonicalize()?
    {
        return Err(Invalid(format!("`{to}` is the repository itself")).into());
    }
    let plan = source.plan(&place)?;
    let (mut copied, mut removed) = (0, 0);
    for transfer in &plan {
        match transfer {
            Transfer::Copy(path) => {
                context.progress.note(format!("copy {path}, {}", size(source.size(path))));
                copied += 1;
            }
            Transfer::Remove(path) => {
                context.progress.note(format!("remove {path}"));
                removed += 1;
            }
        }
        let done = source.transfer(transfer, &place);
        done.hint("what was there can still be read; to run this again goes on from here")?;
    }
    output::print(&format!("{copied} files copied, {removed} removed\n"))?;
    Ok(ExitCode::SUCCESS)
}
