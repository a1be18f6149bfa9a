//! What systemd says of a unit.

/// The unit's state, systemd's `ActiveState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActiveState {
    /// It runs, or its work is done and kept.
    Active,
    /// It is being started.
    Activating,
    /// It is being stopped.
    Deactivating,
    /// It is reloading or refreshing, and runs.
    Reloading,
    /// It does not run.
    Inactive,
    /// It does not run because it failed.
    Failed,
}

impl ActiveState {
    /// Reads systemd's word; states of later versions count as changing.
    pub fn parse(text: &str) -> ActiveState {
        match text {
            "active" => ActiveState::Active,
            "deactivating" => ActiveState::Deactivating,
            "reloading" | "refreshing" => ActiveState::Reloading,
            "inactive" => ActiveState::Inactive,
            "failed" => ActiveState::Failed,
            _ => ActiveState::Activating,
        }
    }

    /// Whether no process of it is left or about to be.
    pub fn is_down(self) -> bool {
        matches!(self, ActiveState::Inactive | ActiveState::Failed)
    }
}

/// How a unit's main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// From systemd's `ExecMainCode` (a `CLD_` number of `waitid(2)`) and `ExecMainStatus`.
    pub fn from_main(code: i32, status: i32) -> Option<Exit> {
        match code {
            1 => Some(Exit::Code(status)),
            2 | 3 => Some(Exit::Signal(status)),
            _ => None,
        }
    }
}

/// A loaded unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitStatus {
    /// Its name.
    pub name: String,
    /// Its state.
    pub active: ActiveState,
    /// systemd's finer word: `running`, `exited`, `auto-restart` …
    pub sub: String,
    /// `success`, or how it failed: `exit-code`, `signal`, `core-dump`, `oom-kill`, `timeout`,
    /// `watchdog`, `protocol`, `resources` …; empty where the unit is no service.
    pub result: String,
    /// How its main process ended, when it did.
    pub exit: Option<Exit>,
    /// Its main process.
    pub main_pid: Option<u32>,
    /// Tells one run of the unit from the next; hex.
    pub invocation_id: String,
    /// When it became active, in microseconds since the kernel's start, whatever the clock was set to; 0 when it never
    /// did.
    pub active_since: u64,
}

/// A unit as systemd lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUnit {
    /// Its name.
    pub name: String,
    /// Its state.
    pub active: ActiveState,
    /// systemd's finer word.
    pub sub: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_told_apart() {
        for (code, status, expect) in [
            (0, 0, None),
            (1, 0, Some(Exit::Code(0))),
            (1, 137, Some(Exit::Code(137))),
            (2, 9, Some(Exit::Signal(9))),
            (3, 11, Some(Exit::Signal(11))),
        ] {
            assert_eq!(Exit::from_main(code, status), expect);
        }
    }

    #[test]
    fn only_inactive_and_failed_are_down() {
        let down: Vec<_> =
            ["active", "activating", "deactivating", "reloading", "inactive", "failed", "maintenance"]
                .into_iter()
                .filter(|t| ActiveState::parse(t).is_down())
                .collect();
        assert_eq!(down, ["inactive", "failed"]);
    }
}
