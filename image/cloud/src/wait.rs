//! Waiting for what a provider does in its own time.

use std::time::{Duration, Instant};

/// How long to wait, how often to look, and when to give up.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// In all.
    pub timeout: Duration,
    /// Between two looks.
    pub every: Duration,
    /// Whether the user wants to stop.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// Why waiting ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// It takes longer than allowed.
    #[error("{0} took longer than {1} s")]
    Timeout(String, u64),
    /// The user stopped it.
    #[error("interrupted")]
    Cancelled,
}

impl Patience<'_> {
    /// Looks until `look` finds something. `what` is named when it takes too long.
    pub(crate) fn until<T, E: From<WaitError>>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        let end = Instant::now() + self.timeout;
        loop {
            self.check()?;
            if let Some(found) = look()? {
                return Ok(found);
            }
            let next = Instant::now() + self.every;
            if next > end {
                return Err(WaitError::Timeout(what.to_owned(), self.timeout.as_secs()).into());
            }
            while Instant::now() < next {
                self.check()?;
                std::thread::sleep(Duration::from_millis(50).min(self.every));
            }
        }
    }

    /// Fails when the user wants to stop.
    pub(crate) fn check(&self) -> Result<(), WaitError> {
        if (self.cancelled)() { Err(WaitError::Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_it_is_there_when_it_is_late_and_when_it_is_stopped() {
        let never = || false;
        let mut patience = Patience {
            timeout: Duration::from_millis(20),
            every: Duration::from_millis(1),
            cancelled: &never,
        };
        let mut looks = 0;
        let found: Result<_, WaitError> = patience.until("it", || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let late: Result<(), WaitError> = patience.until("it", || Ok(None));
        assert_eq!(late.unwrap_err().to_string(), "it took longer than 0 s");
        let stop = || true;
        patience.cancelled = &stop;
        let stopped: Result<(), WaitError> = patience.until("it", || Ok(None));
        assert!(matches!(stopped, Err(WaitError::Cancelled)));
    }
}
