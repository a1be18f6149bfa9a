//! Updates of the box: what `holdfast-update` does, one run per check, staging, verification or scrub. Beside that, in
//! [`notify`] and apart from all else here, one run per message to the box's owner.
//!
//! Everything foreign of a release is handled here, in a process that can write one folder and the slot that
//! does not run, and for a repair the one that does: TUF metadata, block maps, blocks. The folder holds `request.json`; what comes out is
//! `result.json`, `progress.json` while it stages, and the trusted metadata.
//!
//! Invariants: nothing of the repository is used before TUF has accepted it; each block is checked when it is
//! written and each partition as a whole when it is done, both against the signed map and the signed release;
//! the slot's boot partition cannot be started from before anything of the slot is changed until all of it has
//! been verified. Deliberately absent: the slot state, and every decision about when.

#![forbid(unsafe_code)]

mod blocks;
mod error;
mod fetch;
mod http;
mod message;
pub mod notify;
mod repository;
mod scrub;
mod slot;
mod stage;
mod transport;
mod trusted;
mod verify;
mod writing;

pub use error::{UpdateError, UpdateErrorKind};
pub use http::Patience;
pub use message::{
    Condition, Found, Outcome, Progress, Request, Scrub, Scrubbed, Staged, UpdateResult, Verb,
};
pub use slot::{Device, Slots};

use std::path::Path;

use agent_system::files::{self, FileError};

/// Bytes of a request.
const REQUEST: u64 = 1 << 20;

/// Does what `folder/request.json` asks for and writes `folder/result.json`. `say` is given a line for people
/// at each step. Gives the outcome too; the error is that the result cannot be written.
pub fn run(
    folder: &Path,
    slots: &Slots,
    patience: Patience,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome, FileError> {
    // What an earlier run left is not of this one, also when this one is killed.
    files::sweep(folder)?;
    files::remove(folder.join(UpdateResult::FILE))?;
    files::remove(folder.join(Progress::FILE))?;
    let outcome = serve(folder, slots, patience, say).unwrap_or_else(Outcome::Error);
    let result = UpdateResult { format: UpdateResult::FORMAT, outcome };
    let text = serde_json::to_vec_pretty(&result).unwrap_or_default();
    files::write_atomic(folder.join(UpdateResult::FILE), text, 0o600)?;
    Ok(result.outcome)
}

fn serve(
    folder: &Path,
    slots: &Slots,
    patience: Patience,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome, UpdateError> {
    let request = files::read_limited(folder.join(Request::FILE), REQUEST)?;
    let request: Request = serde_json::from_slice(&request)
        .map_err(|error| UpdateError::local(format!("the request cannot be read: {error}")))?;
    if request.format != Request::FORMAT {
        return Err(UpdateError::local(format!("requests of format {} are not known", request.format)));
    }
    match &request.verb {
        Verb::Check => {
            let (_, found) = repository::open(folder, &request, patience)?;
            Ok(Outcome::Found(found))
        }
        Verb::Stage => {
            let (repository, found) = repository::open(folder, &request, patience)?;
            if !found.newer(&request) {
                return Ok(Outcome::Found(found));
            }
            stage::stage(&repository, &found, slots, folder, say).map(Outcome::Staged)
        }
        Verb::Verify(parts) => {
            verify::all(parts, slots)?;
            Ok(Outcome::Verified)
        }
        Verb::Scrub(what) => {
            scrub::scrub(folder, &request, what, slots, patience, say).map(Outcome::Scrubbed)
        }
    }
}
