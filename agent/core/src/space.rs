//! Room on data: when it is short, and how many files each project may make so that some are always left.
//!
//! ext4 keeps no inodes back. So what is free beyond the reserve is divided among all projects, as limits that the
//! kernel keeps: however many of them make files at once, and whether the agent runs or not, together they cannot
//! reach the reserve. The agent divides anew as they go; one that makes files faster than that is refused early.
//! Of the reserve itself a part is for writable layers, so that their containers start when nothing is left.
//!
//! Blocks ext4 keeps back itself. Here is how many of them a layer may have for the same purpose.

use image_layout::disk::{BLOCK, data};

/// Projects from here on are those of writable layers, each of its own; those of volumes are below.
const LAYERS: u32 = 1 << 31;

/// The project of a writable layer: by the inode of its folder, which no other one has while it is there.
pub const fn layer_project(inode: u64) -> u32 {
    inode as u32 | LAYERS
}

/// A project, and the inodes it has and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its number.
    pub number: u32,
    /// Inodes in use.
    pub used: u64,
    /// Its limit, if it has one.
    pub limit: Option<u64>,
}

impl Project {
    fn is_layer(&self) -> bool {
        self.number >= LAYERS
    }

    /// What it may still make.
    fn left(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.used))
    }
}

/// The data file system: bytes and inodes, of which so many are available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub size: u64,
    /// Bytes that are not in use and not kept back.
    pub available: u64,
    /// Bytes that are not in use.
    pub free: u64,
    /// Inodes.
    pub inodes: u64,
    /// Inodes that are not in use.
    pub free_inodes: u64,
}

/// Bytes that are little: of a small disk a twentieth.
const LITTLE: u64 = 64 << 20;
/// Bytes below which what nothing uses goes: of a small disk a tenth.
const SHORT: u64 = 1 << 30;
/// Inodes that are little beyond the reserve.
const FEW: u64 = 256;
/// Bytes and inodes up to which a writable layer may grow by what is kept for starts.
const LEAST: (u64, u64) = (4 << 20, 64);

impl Room {
    /// Inodes that are kept, for the box itself and for what starts.
    pub fn reserve(&self) -> u64 {
        (self.inodes / 16).min(4096)
    }

    /// Inodes that containers may still use.
    pub fn available_inodes(&self) -> u64 {
        self.free_inodes.saturating_sub(self.reserve())
    }

    /// Inodes of the reserve that are left for writable layers, so that containers start: a quarter of it is.
    fn starting_inodes(&self) -> u64 {
        let starts = self.reserve() / 4;
        self.free_inodes.saturating_sub(self.reserve() - starts).min(starts)
    }

    /// Bytes that a writable layer may hold which has `used`, and is one of so many that may use what is kept for
    /// starts: all together leave the box its own, and one that holds much gets no more.
    pub fn layer_limit(&self, used: u64, layers: usize) -> u64 {
        let blocks = self.size / BLOCK;
        let (kept, starts) = (data::reserve(blocks) * BLOCK, data::starts(blocks) * BLOCK);
        let left = self.free.saturating_sub(kept - starts).min(starts);
        LEAST.0.min(used + left / (layers as u64).max(1))
    }

    /// Whether too few bytes are left. `before` is whether it was so when last looked at, as of [`Room::problem`].
    pub fn full(&self, before: bool) -> bool {
        self.size > 0 && self.available < self.little() * if before { 2 } else { 1 }
    }

    /// What is to be said of it. `before` is whether it was full when last looked at: what is full has room only when
    /// twice as much is left.
    pub fn problem(&self, before: bool) -> Option<String> {
        let times = if before { 2 } else { 1 };
        let (little, few) = (self.little(), FEW);
        let left = if self.full(before) {
            format!("less than {} MiB are left", little >> 20)
        } else if self.inodes > 0 && self.available_inodes() < few * times {
            format!("fewer than {few} more files can be made")
        } else {
            return None;
        };
        Some(format!("data is full: {left}; see `holdfast volumes` and `holdfast images`"))
    }

    fn little(&self) -> u64 {
        LITTLE.min(self.size / 20)
    }

    /// Whether so little is left that what nothing uses has to go.
    pub fn short(&self) -> bool {
        self.available < SHORT.min(self.size / 10)
    }
}

/// New limits for projects, so that all together leave the reserve whatever they do; none while those that they have
/// are good enough. Half is for volumes and half for writable layers. `projects` were read before `room`.
pub fn limits(projects: &[Project], room: &Room) -> Vec<(u32, u64)> {
    let free = room.available_inodes();
    let layers = projects.iter().filter(|project| project.is_layer()).count() as u64;
    let volumes = projects.len() as u64 - layers;
    let half = if layers > 0 && volumes > 0 { free / 2 } else { free };
    let starting = room.starting_inodes();
    // The share of each, and what it may have besides so that it starts.
    let part = |project: &Project| match project.is_layer() {
        true => (half / layers, LEAST.1.saturating_sub(project.used).min(starting / layers)),
        false => (half / volumes, 0),
    };
    let given: Option<u64> =
        projects.iter().map(Project::left).try_fold(0_u64, |sum, left| Some(sum.saturating_add(left?)));
    let starts: u64 = projects.iter().map(|project| part(project).1).sum();
    let enough = |project: &Project| {
        let (share, start) = part(project);
        project.left().is_some_and(|left| left >= start.max(share / 2))
    };
    if given.is_some_and(|given| given <= free + starts) && projects.iter().all(enough) {
        return Vec::new();
    }
    let limit = |project: &Project| {
        let (share, start) = part(project);
        (project.number, project.used + share + start)
    };
    projects.iter().map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn room(free_inodes: u64) -> Room {
        Room { size: 10 * GIB, available: 5 * GIB, free: 6 * GIB, inodes: 100_000, free_inodes }
    }

    fn project(number: u32, used: u64, limit: Option<u64>) -> Project {
        Project { number, used, limit }
    }

    #[test]
    fn what_is_free_beyond_the_reserve_is_divided() {
        let projects = [project(1, 10, None), project(1001, 500, Some(600))];
        assert_eq!(limits(&projects, &room(24_096)), [(1, 10_010), (1001, 10_500)]);
        assert_eq!(limits(&projects, &room(4096)), [(1, 10), (1001, 500)], "nothing is left");
        assert_eq!(limits(&projects, &room(10)), [(1, 10), (1001, 500)], "nor below the reserve");
        assert_eq!(limits(&[], &room(24_096)), []);
    }

    #[test]
    fn limits_are_left_alone_while_they_are_good_enough() {
        let with = |left: [u64; 2]| [project(1, 10, Some(10 + left[0])), project(2, 20, Some(20 + left[1]))];
        assert_eq!(limits(&with([10_000, 10_000]), &room(24_096)), []);
        assert_eq!(limits(&with([5000, 9000]), &room(24_096)), []);
        assert!(!limits(&with([4999, 9000]), &room(24_096)).is_empty(), "one has used up half");
        assert!(!limits(&with([10_000, 10_001]), &room(24_096)).is_empty(), "too much is given away");
        assert_eq!(limits(&with([0, 0]), &room(4096)), [], "a full disk is not written to all the time");
    }

    /// Every project uses all that it may, again and again.
    #[test]
    fn the_reserve_is_never_reached() {
        let mut projects = [project(1, 0, None), project(2, 0, None), project(3, 0, None)];
        let mut free = 90_000;
        for round in 0..200 {
            for (number, limit) in limits(&projects, &room(free)) {
                projects[number as usize - 1].limit = Some(limit);
            }
            for project in projects.iter_mut().take(1 + round % 3) {
                let left = project.left().unwrap();
                project.used += left;
                free -= left;
            }
            assert!(free >= room(0).reserve(), "{round}: {free}");
        }
        assert!(free < room(0).reserve() + 6, "{free}: what is free can be used");
    }

    /// Others have taken all. Layers take what they may then, again and again, and there are more and more of them.
    #[test]
    fn each_layer_may_have_a_few_files_when_nothing_is_left() {
        let mut projects = vec![project(1001, 90_000, None)];
        let mut free = room(0).reserve();
        for layers in [1, 1, 10, 10, 16, 16, 100, 100, 100] {
            projects
                .extend((projects.len() as u64..=layers).map(|inode| project(layer_project(inode), 1, None)));
            for (number, limit) in limits(&projects, &room(free)) {
                projects.iter_mut().find(|project| project.number == number).unwrap().limit = Some(limit);
            }
            for project in &mut projects {
                let left = project.left().unwrap();
                project.used += left;
                free -= left;
            }
            assert!(free >= 3072, "{layers}: {free}, and three quarters are the box's own");
            assert_eq!(projects[0].used, 90_000);
            if layers <= 10 {
                assert!(projects[1..].iter().all(|layer| layer.used == 64), "{projects:?}");
            }
        }
        assert!(projects[1..].iter().all(|layer| (2..=64).contains(&layer.used)), "{projects:?}");
        assert_eq!(limits(&projects, &room(free)), [], "a full disk is not written to all the time");
    }

    #[test]
    fn a_layer_gets_its_few_files_when_others_are_gone() {
        let crowded = project(layer_project(1), 10, Some(12));
        assert_eq!(limits(&[crowded], &room(4096)), [(layer_project(1), 64)]);
    }

    #[test]
    fn half_of_the_files_are_for_volumes_and_half_for_layers() {
        let layer = |inode| project(layer_project(inode), 100, None);
        let projects = [project(1001, 5, None), layer(1), layer(2)];
        let expect = [(1001, 5 + 10_000), (layer_project(1), 100 + 5000), (layer_project(2), 100 + 5000)];
        assert_eq!(limits(&projects, &room(24_096)), expect);
    }

    #[test]
    fn layers_share_a_little_of_the_bytes_that_are_kept() {
        const MIB: u64 = 1 << 20;
        // Of 10 GiB 160 MiB are kept, of which 32 are for starts.
        let limit = |free, used, layers| {
            Room { size: 10 * GIB, free: free * MIB, ..Room::default() }.layer_limit(used * MIB, layers)
        };
        assert_eq!(limit(160, 0, 1), 4 * MIB);
        assert_eq!(limit(160, 1, 16), 3 * MIB, "2 MiB each, on top of what it has");
        assert_eq!(limit(160, 500, 1), 4 * MIB, "one that has grown gets no more");
        assert_eq!(limit(144, 0, 16), MIB, "half is gone");
        assert_eq!(limit(128, 1, 1), MIB, "the rest is the box's own");
        assert_eq!(limit(10, 1, 1), MIB);
        assert_eq!(limit(5000, 0, 0), 4 * MIB);
    }

    #[test]
    fn full_is_said_until_twice_as_much_is_left() {
        let check = |available: u64, free_inodes: u64, before: bool, said: &str| {
            let room = Room { available, free_inodes, ..room(0) };
            let problem = room.problem(before).unwrap_or_default();
            assert!(problem.contains(said) && problem.is_empty() == said.is_empty(), "{room:?}: {problem}");
        };
        let (blocks, files) = ("data is full: less than 64 MiB", "data is full: fewer than 256 more files");
        check(64 << 20, 50_000, false, "");
        check((64 << 20) - 1, 50_000, false, blocks);
        check(64 << 20, 50_000, true, blocks);
        check(128 << 20, 50_000, true, "");
        check(GIB, 4096 + 255, false, files);
        check(GIB, 4096 + 256, false, "");
        check(GIB, 4096 + 256, true, files);
        check(GIB, 100, false, files);
        assert_eq!(Room::default().problem(false), None);
        // Memory in place of data counts no inodes.
        assert_eq!(Room { inodes: 0, free_inodes: 0, ..room(0) }.problem(false), None);
    }

    #[test]
    fn what_is_short_depends_on_the_size() {
        let short = |size, available| Room { size, available, ..Room::default() }.short();
        assert!(short(10 * GIB, GIB - 1) && !short(10 * GIB, GIB));
        assert!(short(GIB, GIB / 10 - 1) && !short(GIB, GIB / 10));
        assert!(short(1000 * GIB, GIB - 1) && !short(1000 * GIB, GIB));
    }
}
