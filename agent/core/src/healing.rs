//! When something that failed is tried again.
//!
//! Back-off of 1 s doubling to 60 s, shortened by jitter, and counted from when it last became healthy: what
//! was well for longer than its wait is tried again at once. Forgotten after ten minutes of health; degraded
//! after five failures in a row, and still tried. Time is milliseconds since the box started, so that a
//! clock being set moves nothing; randomness is an argument.

/// Milliseconds since the box started, suspended time included.
pub type Millis = u64;

/// Wait after the first failure.
pub const FIRST_WAIT: Millis = 1_000;
/// The longest wait.
pub const LONGEST_WAIT: Millis = 60_000;
/// Health that lasted this long makes earlier failures forgotten.
pub const FORGIVEN_AFTER: Millis = 600_000;
/// So many failures in a row are more than bad luck.
pub const DEGRADED_AFTER: u32 = 5;

/// What is remembered of something that may fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healing {
    /// Failures since it was last healthy for [`FORGIVEN_AFTER`].
    pub failures: u32,
    /// Not tried again before.
    pub not_before: Millis,
    /// Healthy without a break since.
    pub healthy_since: Option<Millis>,
}

impl Healing {
    /// It failed. `random` shortens the wait by up to a quarter, so that many do not come back at once.
    pub fn failed(&mut self, now: Millis, random: u32) {
        self.failures = self.failures.saturating_add(1);
        let from = self.healthy_since.take().unwrap_or(now);
        self.not_before = now.max(from + wait(self.failures, random));
    }

    /// It is healthy; says whether that ended a degraded state.
    pub fn healthy(&mut self, now: Millis) -> bool {
        let since = *self.healthy_since.get_or_insert(now);
        if self.failures > 0 && now.saturating_sub(since) >= FORGIVEN_AFTER {
            let was_degraded = self.degraded();
            self.failures = 0;
            return was_degraded;
        }
        false
    }

    /// Whether it failed too often in a row, and has not been healthy since.
    pub fn degraded(&self) -> bool {
        self.failures >= DEGRADED_AFTER && self.healthy_since.is_none()
    }

    /// Whether it may be tried now.
    pub fn due(&self, now: Millis) -> bool {
        now >= self.not_before
    }

    /// When its failures will be forgotten, should it stay healthy.
    pub fn forgiven_at(&self) -> Option<Millis> {
        self.healthy_since.filter(|_| self.failures > 0).map(|since| since + FORGIVEN_AFTER)
    }
}

/// The wait after the `failures`th failure in a row.
fn wait(failures: u32, random: u32) -> Millis {
    let doubled = FIRST_WAIT << failures.saturating_sub(1).min(6);
    let base = doubled.min(LONGEST_WAIT);
    base - base / 4 * u64::from(random) / u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_minute() {
        let waits: Vec<_> = (1..=9).map(|n| wait(n, 0)).collect();
        assert_eq!(waits, [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]);
        assert_eq!(wait(u32::MAX, 0), 60_000);
    }

    #[test]
    fn jitter_takes_at_most_a_quarter() {
        assert_eq!(wait(3, u32::MAX), 3000);
        assert!((3000..=4000).contains(&wait(3, 77_777_777)));
    }

    #[test]
    fn degraded_after_five_and_still_tried() {
        let mut healing = Healing::default();
        for n in 1..=5 {
            assert!(!healing.degraded(), "after {} failures", n - 1);
            healing.failed(0, 0);
        }
        assert!(healing.degraded());
        assert!(!healing.due(15_999));
        assert!(healing.due(16_000));
    }

    #[test]
    fn ten_healthy_minutes_are_forgiveness() {
        let mut healing = Healing::default();
        healing.failed(0, 0);
        healing.healthy(1_000);
        healing.healthy(600_999);
        assert_eq!(healing.failures, 1);
        assert_eq!(healing.forgiven_at(), Some(601_000));
        healing.healthy(601_000);
        assert_eq!(healing.failures, 0);
        healing.failed(700_000, 0);
        assert_eq!(healing.failures, 1);
    }

    #[test]
    fn time_in_health_is_part_of_the_wait() {
        let mut healing = Healing::default();
        for (healthy, failed, not_before) in
            [(0, 5_000, 5_000), (6_000, 6_500, 8_000), (9_000, 9_000, 13_000), (20_000, 40_000, 40_000)]
        {
            healing.healthy(healthy);
            healing.failed(failed, 0);
            assert_eq!(healing.not_before, not_before, "healthy at {healthy}, failed at {failed}");
        }
        healing.failed(41_000, 0);
        assert_eq!(healing.not_before, 57_000);
    }

    #[test]
    fn a_break_in_health_starts_the_count_again() {
        let mut healing = Healing::default();
        healing.failed(0, 0);
        healing.healthy(1_000);
        healing.failed(500_000, 0);
        healing.healthy(502_000);
        healing.healthy(1_000_000);
        assert_eq!(healing.failures, 2);
    }
}
