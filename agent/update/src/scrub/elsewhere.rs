//! Where a block that is damaged may still be had: in the other slot, or in the release.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;

use image_layout::Version;
use image_layout::block_map::{BlockMap, Hash};
use image_layout::release::{Part, PartitionImage};

use super::root::Wanted;
use super::tree::{BYTES, Tree};
use crate::blocks::{self, ZEROES};
use crate::error::UpdateError;
use crate::fetch::{self, Stored};
use crate::http::Patience;
use crate::message::Request;
use crate::repository::{self, Repository};
use crate::slot::Device;

/// Takes a block that may be the one that is wanted; says whether it is.
pub(crate) type Put<'a> = dyn FnMut(&Wanted, &[u8]) -> Result<bool, UpdateError> + 'a;

/// Where to look for the blocks of a root.
pub(crate) struct Elsewhere<'a> {
    /// The root of the other slot, whatever it holds.
    pub(crate) other: Option<&'a Device>,
    /// The release.
    pub(crate) release: &'a Release<'a>,
    /// Why the release did not help.
    pub(crate) reason: Option<String>,
}

/// A release that may still be published; nothing is fetched before it is needed.
pub(crate) struct Release<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) request: &'a Request,
    pub(crate) version: &'a Version,
    pub(crate) patience: Patience,
    pub(crate) opened: OnceCell<Result<Repository, UpdateError>>,
}

/// The image of a partition, as the release has it.
pub(crate) struct Published<'a> {
    repository: &'a Repository,
    image: &'a PartitionImage,
    map: BlockMap,
    url: String,
}

impl Elsewhere<'_> {
    /// Hands over what can be had of `wanted`; gives what cannot.
    pub(crate) fn find(
        &mut self,
        tree: &Tree,
        mut wanted: Vec<Wanted>,
        put: &mut Put<'_>,
    ) -> Result<Vec<Wanted>, UpdateError> {
        if let Some(other) = self.other {
            other.forget();
            wanted = in_place(other, wanted, put)?;
            wanted = anywhere(other, tree, wanted, put)?;
        }
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let mut left: HashMap<u64, Wanted> = wanted.iter().map(|wanted| (wanted.at, *wanted)).collect();
        let fetched = self.release.image(Part::Root).and_then(|published| {
            published.fetch(left.keys().copied().collect(), &mut |at, block| {
                if left.get(&at).map(|wanted| put(wanted, block)).transpose()? == Some(true) {
                    left.remove(&at);
                    return Ok(());
                }
                let version = self.release.version;
                Err(UpdateError::damaged(format!("release {version} is of another build than what is here")))
            })
        });
        if let Err(error) = fetched {
            self.reason = Some(error.message);
        }
        wanted.retain(|wanted| left.contains_key(&wanted.at));
        Ok(wanted)
    }
}

/// A slot of the same version has a block in the same place.
fn in_place(other: &Device, wanted: Vec<Wanted>, put: &mut Put<'_>) -> Result<Vec<Wanted>, UpdateError> {
    let mut left = Vec::new();
    let mut block = [0; BYTES];
    for wanted in wanted {
        let read = wanted.at < other.blocks() && other.read(wanted.at, &mut block).is_ok();
        if !(read && put(&wanted, &block)?) {
            left.push(wanted);
        }
    }
    Ok(left)
}

/// One of another version may have it in another place; its own tree has another salt.
fn anywhere(
    other: &Device,
    tree: &Tree,
    wanted: Vec<Wanted>,
    put: &mut Put<'_>,
) -> Result<Vec<Wanted>, UpdateError> {
    if wanted.is_empty() {
        return Ok(wanted);
    }
    let mut places: HashMap<Hash, Vec<Wanted>> = HashMap::new();
    for wanted in wanted {
        places.entry(wanted.hash).or_default().push(wanted);
    }
    let mut done = Ok(());
    blocks::each(other, other.blocks(), |_, block| {
        if done.is_ok() && !places.is_empty() {
            let found = places.remove(&tree.hash(block)).unwrap_or_default();
            done = found.iter().try_for_each(|wanted| put(wanted, block).map(drop));
        }
    });
    done.map(|()| places.into_values().flatten().collect())
}

impl Release<'_> {
    /// Opens it, once.
    pub(crate) fn image(&self, part: Part) -> Result<Published<'_>, UpdateError> {
        let opened = self.opened.get_or_init(|| {
            if self.request.url.is_empty() {
                return Err(UpdateError::local("no update source can be asked"));
            }
            repository::open_version(self.folder, self.request, self.version, self.patience)
        });
        let repository = opened.as_ref().map_err(Clone::clone)?;
        let image = repository.image(part)?;
        let (map, _) = repository.map(&image.map)?;
        let (url, length) = repository.address(&image.blocks)?;
        if (map.size(), map.stored()) != (image.size, length) {
            let message = format!("`{}` is the map of another image, or of other blocks", image.map);
            return Err(UpdateError::damaged(message));
        }
        Ok(Published { repository, image, map, url })
    }
}

impl Published<'_> {
    /// What the release says of it.
    pub(crate) fn image(&self) -> &PartitionImage {
        self.image
    }

    /// Its map.
    pub(crate) fn map(&self) -> &BlockMap {
        &self.map
    }

    /// Hands over the blocks at these places, checked against the signed map.
    pub(crate) fn fetch(&self, places: Vec<u64>, take: &mut fetch::Take<'_>) -> Result<(), UpdateError> {
        let zeroes = blocks::hash(&ZEROES);
        let mut by_hash: Vec<(Hash, u64)> = Vec::new();
        for at in places {
            match self.map.blocks().get(at as usize) {
                None => {
                    let message = format!("`{}` ends before block {at}", self.image.map);
                    return Err(UpdateError::damaged(message));
                }
                Some(block) if block.hash == zeroes => take(at, &ZEROES)?,
                Some(block) => by_hash.push((block.hash, at)),
            }
        }
        by_hash.sort_unstable();
        let wanted = fetch::wanted(&self.map, &self.image.map, &by_hash)?;
        let stored = Stored {
            http: self.repository.http(),
            url: &self.url,
            length: self.map.stored(),
            name: &self.image.blocks,
        };
        stored.fetch(&wanted, &mut |_| {}, &mut |index, block| {
            fetch::places(&by_hash, &self.map.blocks()[index as usize].hash)
                .try_for_each(|at| take(at, block))
        })
    }
}
