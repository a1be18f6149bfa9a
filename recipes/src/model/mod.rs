//! What the two documents say, as values: every shape of the language is a type of its own, so that whoever
//! holds one of these need not check it again.
//!
//! Nothing here reads text; that is the work of [`crate::recipe`] and [`crate::user_data`].

mod container;
mod instance;
mod param;
mod recipe;
mod settings;
mod update;

pub use container::{
    Container, DEFAULT_PIDS, DEFAULT_STOP_TIMEOUT, File, Health, HttpProbe, Mount, Owner, Probe, Restart,
    Userns,
};
pub use instance::{DEFAULT_HEALTH_TIMEOUT, Given, GivenValue, InstanceDecl, InstanceSource, UserData};
pub use param::{Generator, Param, ParamKind, ParamValue, Pattern};
pub use recipe::{
    DEFAULT_STEP_RETRIES, DEFAULT_STEP_TIMEOUT, Item, OneOff, Order, Recipe, Step, StepPlace, Volume, When,
};
pub use settings::{BoxSettings, Interface, InterfaceMatch, Notify, Registry, Route};
pub use update::{DEFAULT_UPDATE_CHANNEL, DEFAULT_UPDATE_JITTER, Update, UpdatePolicy};
