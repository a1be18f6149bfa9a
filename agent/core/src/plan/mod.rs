//! From what should be and what is to what is to be done.
//!
//! Invariants: a plan made after everything in it was done is empty; no action of one instance stands
//! before or waits for an action of another, but for images that both use; nothing secret is in a plan.
//! Order is by [`Planned::after`] (actions of this plan) and [`Planned::waits`] (what becomes true by
//! itself); whoever executes a plan does what is ready, observes again and plans again.

mod containers;
mod host;
mod images;
mod instance;
mod removal;
mod steps;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use host::firewall;
pub use images::pull_failed;
pub use steps::{fingerprint as step_fingerprint, is_done as step_is_done};

use crate::action::{Action, Plan, Planned};
use crate::desired::Desired;
use crate::healing::Millis;
use crate::memory::Memory;
use crate::observed::Observed;

/// Plans.
pub fn plan(desired: &Desired, observed: &Observed, memory: &Memory, now: Millis) -> Plan {
    let mut planner = Planner { desired, observed, memory, now, actions: Vec::new() };
    host::plan(&mut planner);
    for wanted in desired.instances.values() {
        instance::plan(&mut planner, wanted);
    }
    removal::plan(&mut planner);
    planner.finish()
}

/// A plan being made.
struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    memory: &'a Memory,
    now: Millis,
    actions: Vec<Planned>,
}

impl Planner<'_> {
    /// Adds an action, once; gives its id.
    fn push(&mut self, action: Action, reason: impl Into<String>, after: Vec<String>) -> String {
        self.push_waiting(action, reason, after, Vec::new())
    }

    /// As [`Planner::push`], with what it waits for.
    fn push_waiting(
        &mut self,
        action: Action,
        reason: impl Into<String>,
        after: Vec<String>,
        waits: Vec<String>,
    ) -> String {
        let id = action.id();
        if !self.actions.iter().any(|planned| planned.action.id() == id) {
            self.actions.push(Planned { action, reason: reason.into(), after, waits, not_before: 0 });
        }
        id
    }

    /// Adds the waits after failures and leaves out of `after` what is not in the plan.
    fn finish(mut self) -> Plan {
        let ids: Vec<String> = self.actions.iter().map(|planned| planned.action.id()).collect();
        for planned in &mut self.actions {
            planned.after.retain(|id| ids.contains(id));
            planned.after.sort();
            planned.after.dedup();
            let failed = self.memory.failures.get(&planned.action.id()).map(|f| &f.healing);
            let healing = match &planned.action {
                Action::StartContainer(name) => self.memory.containers.get(name).map(|c| &c.healing),
                _ => failed,
            };
            planned.not_before = healing.map_or(0, |healing| healing.not_before);
        }
        Plan { actions: self.actions }
    }
}
