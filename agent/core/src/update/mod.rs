//! Updates: what is remembered of them, when something is done, and whether a new version stays.
//!
//! A version that was switched to is **on trial** until its slot is marked good. The trial is recorded before
//! the boot loader is told, so that whichever slot runs next knows what came of it. Pure: what reaches what,
//! and what time it is, are arguments.

mod level;
mod record;
mod schedule;
mod scrub;
mod start;
mod trial;

pub use level::writing_level;
pub use record::{
    Baseline, Checked, Ending, FailedVersion, LastUpdate, Previous, Problem, StagedRelease, Trial,
    TrialProgress, UpdateRecord,
};
pub use schedule::{Clock, Due, MOST_ATTEMPTS, Opening, due, jitter, may_try, next_window};
pub use scrub::{Damage, Good, LastScrub, ScrubRecord, Seen, in_other, scrub_due};
pub use start::{BootTrace, Running, Started, start};
pub use trial::{Facts, NETWORK_LIMIT, STARTS, STEADY, Verdict, judge, that_count};
