//! What figures share. What takes minutes is made when the first figure asks for it.

use std::cell::OnceCell;
use std::time::Duration;

use anyhow::Result;

use crate::boots::Boots;
use crate::ours::Ours;
use crate::peer::Peer;
use crate::updates::Staged;

/// Rounds of what is measured in turns; the median counts.
pub(crate) const ROUNDS: usize = 3;
/// How long boxes are left alone before their memory or CPU time is looked at.
pub(crate) const IDLE: Duration = Duration::from_secs(60);
/// How long they are left alone before something in one of them is killed.
pub(crate) const SETTLED: Duration = Duration::from_secs(20);

/// Both sides, and what was measured of them for more than one figure.
pub(crate) struct Bench {
    pub(crate) ours: Ours,
    peer: OnceCell<Peer>,
    boots: OnceCell<Boots>,
    staged_own: OnceCell<Staged>,
}

impl Bench {
    pub(crate) fn new() -> Result<Bench> {
        let (peer, boots, staged_own) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Ok(Bench { ours: Ours::new()?, peer, boots, staged_own })
    }

    /// The peer, built if it is not there.
    pub(crate) fn peer(&self) -> Result<&Peer> {
        once(&self.peer, || Peer::build(&self.ours))
    }

    pub(crate) fn boots(&self) -> Result<&Boots> {
        once(&self.boots, || Boots::measure(&self.ours, self.peer()?))
    }

    /// How a release was staged in which our programs alone changed.
    pub(crate) fn staged_own(&self) -> Result<&Staged> {
        once(&self.staged_own, || Staged::own(&self.ours))
    }
}

fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(made) = cell.get() {
        return Ok(made);
    }
    let made = make()?;
    Ok(cell.get_or_init(|| made))
}
