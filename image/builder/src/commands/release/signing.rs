//! What the verbs share that sign: where the repository and the keys are, and until when it holds.

use std::path::PathBuf;

use anyhow::Result;

use crate::context::Context;
use crate::output;
use crate::release::keys::Keys;
use crate::release::lifetime::{self, Lifetime};
use crate::release::repository::{Contents, Depth, Repository};

/// Options of every verb that signs.
#[derive(clap::Args)]
pub(crate) struct Signing {
    /// The repository's folder.
    #[arg(long, value_name = "DIR")]
    pub repository: PathBuf,
    /// The folder of the keys.
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
    /// How long boxes accept the repository without a refresh.
    #[arg(long, value_name = "SPAN", default_value_t = lifetime::TIMESTAMP)]
    pub expires: Lifetime,
}

impl Signing {
    /// Opens keys and repository.
    pub(crate) fn open(&self) -> Result<(Keys, Repository)> {
        let mut keys = Keys::open(&self.keys)?;
        let repository = Repository::open(&self.repository, &mut keys)?;
        Ok((keys, repository))
    }

    /// Makes the repository hold these targets, of which `files` are new.
    pub(crate) fn write(
        &self,
        keys: &Keys,
        repository: &mut Repository,
        contents: Contents,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        let steps = repository.renew(keys, Depth::Targets, contents, files, self.expires)?;
        Ok(repository.apply(&steps, keys)?)
    }
}

/// Says until when boxes accept the repository, and when the root's own end is near.
pub(crate) fn say_until(context: &Context, keys: &Keys, repository: &Repository) -> Result<()> {
    let root = &keys.root().signed;
    if let Some(state) = repository.state() {
        let (end, role) = state.until(root);
        output::print(&format!("valid until {end} ({role})\n"))?;
    }
    if root.expires < lifetime::MARGIN.after(repository.now()) {
        let name = "holdfast-image release keys rotate --role root";
        context.progress.note(format!("note: the root metadata end on {}: run `{name}`", root.expires));
    }
    Ok(())
}
