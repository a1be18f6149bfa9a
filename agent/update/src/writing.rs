//! One partition of the slot, on its way to being the release's image.

use image_layout::block_map::{Block, BlockMap, Hash};
use image_layout::disk::BLOCK;
use image_layout::release::{Part, PartitionImage};

use crate::blocks::{self, Blocks, ZEROES};
use crate::error::{UpdateError, UpdateErrorKind};
use crate::fetch::{self, Stored, Wanted};
use crate::repository::Repository;
use crate::slot::{Device, Slots};
use crate::verify;

/// A partition, its image, and what is still to be written.
pub(crate) struct Writing<'a> {
    image: &'a PartitionImage,
    device: &'a Device,
    map: BlockMap,
    /// Bytes of the map as it was fetched.
    map_bytes: u64,
    /// Address of the stored blocks.
    stored: String,
    /// Whether a block of the partition is what it should be.
    in_place: Vec<bool>,
    /// The first block of boot, which is written last.
    first: Option<Vec<u8>>,
}

/// What must be fetched for a partition.
pub(crate) struct Missing {
    /// Blocks in the order of their file, each stored one once.
    wanted: Vec<Wanted>,
    /// Where they belong, by hash.
    places: Vec<(Hash, u64)>,
}

impl Missing {
    /// Bytes as they are stored.
    pub(crate) fn bytes(&self) -> u64 {
        self.wanted.iter().map(|wanted| u64::from(wanted.block.stored.length)).sum()
    }
}

impl<'a> Writing<'a> {
    /// Looks at what there is, and refuses a release that cannot be written; nothing is changed.
    pub(crate) fn plan(
        repository: &'a Repository,
        slots: &'a Slots,
        part: Part,
    ) -> Result<Writing<'a>, UpdateError> {
        let image = repository.image(part)?;
        let device = slots.target(part)?;
        let room = device.blocks() * BLOCK;
        if image.size > room {
            let message = format!(
                "the {} image has {} bytes, and {} has {room}",
                part.as_str(),
                image.size,
                device.name()
            );
            return Err(UpdateError::new(UpdateErrorKind::TooBig, message));
        }
        let (map, map_bytes) = repository.map(&image.map)?;
        if map.size() != image.size {
            let message = format!(
                "`{}` is the map of {} bytes, and the {} image has {}",
                image.map,
                map.size(),
                part.as_str(),
                image.size
            );
            return Err(UpdateError::damaged(message));
        }
        let (stored, length) = repository.address(&image.blocks)?;
        if length != map.stored() {
            let message = format!("`{}` has {length} bytes, and its map says {}", image.blocks, map.stored());
            return Err(UpdateError::damaged(message));
        }
        let in_place = blocks::in_place(device, &map);
        Ok(Writing { image, device, map, map_bytes, stored, in_place, first: None })
    }

    /// The image.
    pub(crate) fn image(&self) -> &PartitionImage {
        self.image
    }

    /// The partition.
    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// Bytes of the map as it was fetched.
    pub(crate) fn map_bytes(&self) -> u64 {
        self.map_bytes
    }

    /// Blocks that are not what they should be.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (u64, &Block)> {
        (0..)
            .zip(self.map.blocks())
            .zip(&self.in_place)
            .filter_map(|(block, there)| (!there).then_some(block))
    }

    /// The first block will not be what it should be.
    pub(crate) fn take_first(&mut self) {
        if let Some(first) = self.in_place.first_mut() {
            *first = false;
        }
    }

    /// Writes what the box has; gives what must be fetched.
    pub(crate) fn copy(&mut self, known: &Blocks<'_>) -> Result<Missing, UpdateError> {
        let zeroes = blocks::hash(&ZEROES);
        let mut block = vec![0; BLOCK as usize];
        let mut places = Vec::new();
        let mut first = None;
        for (index, Block { hash, .. }) in self.missing() {
            if *hash == zeroes {
                self.device.write(index, &ZEROES)?;
            } else if known.read(hash, &mut block) {
                self.put(index, &block, &mut first)?;
            } else {
                places.push((*hash, index));
            }
        }
        self.first = first;
        places.sort_unstable();
        Ok(Missing { wanted: fetch::wanted(&self.map, &self.image.map, &places)?, places })
    }

    /// Fetches the rest, and writes it; `fetched` counts bytes as they come.
    pub(crate) fn fetch(
        &mut self,
        repository: &Repository,
        missing: &Missing,
        fetched: &mut dyn FnMut(u64),
    ) -> Result<(), UpdateError> {
        let stored = Stored {
            http: repository.http(),
            url: &self.stored,
            length: self.map.stored(),
            name: &self.image.blocks,
        };
        let mut first = self.first.take();
        stored.fetch(&missing.wanted, fetched, &mut |index, block| {
            fetch::places(&missing.places, &self.map.blocks()[index as usize].hash)
                .try_for_each(|index| self.put(index, block, &mut first))
        })?;
        self.first = first;
        Ok(())
    }

    /// Writes a block; the first one of boot is held back.
    fn put(&self, index: u64, block: &[u8], first: &mut Option<Vec<u8>>) -> Result<(), UpdateError> {
        if self.image.part == Part::Boot && index == 0 {
            *first = Some(block.to_vec());
            return Ok(());
        }
        self.device.write(index, block)
    }

    /// Compares the partition as a whole, and writes the block that was held back.
    pub(crate) fn finish(&mut self) -> Result<(), UpdateError> {
        self.compare()?;
        if let Some(first) = self.first.take() {
            self.device.write(0, &first)?;
            self.compare()?;
        }
        Ok(())
    }

    /// Compares what the disk has with the signed sum.
    fn compare(&self) -> Result<(), UpdateError> {
        self.device.sync()?;
        if verify::matches(self.device, self.image.size, &self.image.sha256, self.first.as_deref())? {
            return Ok(());
        }
        let held_back = |index: usize| index == 0 && self.first.is_some();
        let there = blocks::in_place(self.device, &self.map);
        if there.iter().enumerate().all(|(index, there)| *there || held_back(index)) {
            return Err(UpdateError::damaged(format!(
                "`{}` is the map of another image than the release's {} image",
                self.image.map,
                self.image.part.as_str()
            )));
        }
        Err(UpdateError::slot(format!("{} does not hold what was written to it", self.device.name())))
    }
}
