//! A power cut: the moment, and what becomes of the writes that no flush has made durable.

use serde::{Deserialize, Serialize};

use super::log::Entry;
use super::random::Random;

/// Bytes that a disk writes whole or not at all.
pub const SECTOR: u64 = 512;

/// What is lost of the writes since the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Nothing.
    None,
    /// All of them.
    All,
    /// Any of them.
    Some,
    /// Any of them, and of one some sectors.
    Torn,
}

impl Loss {
    /// All there are.
    pub const ALL: [Loss; 4] = [Loss::None, Loss::All, Loss::Some, Loss::Torn];
}

/// A power cut that can be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// So many entries of the log were done.
    pub entry: usize,
    /// What is lost.
    pub loss: Loss,
    /// Decides which.
    pub seed: u64,
}

impl Cut {
    /// `count` cuts of a log of so many entries, in its order: half of them anywhere, half of them where the
    /// most must hold, right behind one of `moments`.
    pub fn spread(entries: usize, moments: &[usize], count: usize, seed: u64) -> Vec<Cut> {
        let mut random = Random::new(seed);
        let mut entry = |n: usize| {
            let moment = (!moments.is_empty() && n % 2 == 1)
                .then(|| moments[random.below(moments.len() as u64) as usize] + random.below(4) as usize);
            let entry = moment.unwrap_or_else(|| random.below(entries as u64 + 1) as usize);
            (entry.min(entries), random.number())
        };
        // All modes come with both kinds of moments; a cut that loses nothing is the dullest.
        let losses =
            [Loss::All, Loss::Some, Loss::Torn, Loss::All, Loss::Some, Loss::Torn, Loss::Some, Loss::None];
        let mut cuts: Vec<Cut> = (0..count)
            .map(|n| {
                let (entry, seed) = entry(n);
                Cut { entry, loss: losses[n / 2 % losses.len()], seed }
            })
            .collect();
        cuts.sort_by_key(|cut| cut.entry);
        cuts
    }
}

/// What becomes of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on the disk.
    Kept,
    /// Nothing of it is.
    Lost,
    /// These sectors of it are.
    Torn(Vec<bool>),
}

impl Cut {
    /// The fates of writes that no flush has made durable, in their order.
    pub fn fates(&self, writes: &[Entry]) -> Vec<Fate> {
        let mut random = Random::new(self.seed);
        // Any share of them, so that nearly all and nearly none come about too.
        let share = random.below(9);
        let mut kept = |_: &Entry| match self.loss {
            Loss::None => Fate::Kept,
            Loss::All => Fate::Lost,
            Loss::Some | Loss::Torn if random.below(8) < share => Fate::Kept,
            Loss::Some | Loss::Torn => Fate::Lost,
        };
        let mut fates: Vec<Fate> = writes.iter().map(&mut kept).collect();
        if self.loss == Loss::Torn && !writes.is_empty() {
            let torn = random.below(writes.len() as u64) as usize;
            let sectors = writes[torn].length.div_ceil(SECTOR);
            fates[torn] = Fate::Torn((0..sectors).map(|_| random.below(2) == 0).collect());
        }
        for (fate, write) in fates.iter_mut().zip(writes) {
            if write.durable {
                *fate = Fate::Kept;
            }
        }
        fates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(count: usize) -> Vec<Entry> {
        (0..count).map(|n| Entry { offset: n as u64 * 4096, length: 4096, ..Entry::default() }).collect()
    }

    fn fates(loss: Loss, seed: u64, writes: &[Entry]) -> Vec<Fate> {
        Cut { entry: 0, loss, seed }.fates(writes)
    }

    #[test]
    fn cuts_are_spread_over_the_log_and_over_what_must_hold() {
        let cuts = Cut::spread(1000, &[500], 200, 1);
        assert_eq!(cuts, Cut::spread(1000, &[500], 200, 1));
        assert!(cuts.is_sorted_by_key(|cut| cut.entry) && cuts.iter().all(|cut| cut.entry <= 1000));
        let near = cuts.iter().filter(|cut| (500..504).contains(&cut.entry));
        assert!(near.clone().count() >= 100);
        for loss in Loss::ALL {
            assert!(near.clone().any(|cut| cut.loss == loss), "{loss:?}");
        }
        assert!(Cut::spread(0, &[], 9, 1).iter().all(|cut| cut.entry == 0));
    }

    #[test]
    fn nothing_or_all_is_lost_but_for_what_is_durable_by_itself() {
        let mut some = writes(3);
        some[1].durable = true;
        assert_eq!(fates(Loss::None, 1, &some), [Fate::Kept, Fate::Kept, Fate::Kept]);
        assert_eq!(fates(Loss::All, 1, &some), [Fate::Lost, Fate::Kept, Fate::Lost]);
        for seed in 0..100 {
            assert_eq!(fates(Loss::Torn, seed, &some)[1], Fate::Kept, "{seed}");
        }
        assert_eq!(fates(Loss::Torn, 1, &[]), []);
    }

    #[test]
    fn a_seed_decides_and_every_share_comes_about() {
        let some = writes(40);
        let kept = |seed| fates(Loss::Some, seed, &some).iter().filter(|f| **f == Fate::Kept).count();
        assert_eq!(fates(Loss::Some, 7, &some), fates(Loss::Some, 7, &some));
        let counts: Vec<usize> = (0..200).map(kept).collect();
        for wanted in [0..1, 1..10, 10..30, 30..40, 40..41] {
            assert!(counts.iter().any(|c| wanted.contains(c)), "{wanted:?}: {counts:?}");
        }
    }

    #[test]
    fn one_write_is_torn_by_sectors() {
        let torn = |fates: Vec<Fate>| {
            fates.into_iter().filter_map(|f| if let Fate::Torn(s) = f { Some(s) } else { None }).collect()
        };
        let mut partly = 0;
        for seed in 0..50 {
            let found: Vec<Vec<bool>> = torn(fates(Loss::Torn, seed, &writes(5)));
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].len(), 8);
            partly += usize::from(found[0].contains(&true) && found[0].contains(&false));
        }
        assert!(partly > 40, "{partly}");
    }
}
