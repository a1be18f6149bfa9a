//! Who is told: what is worth waking someone, as messages that are kept until a server has taken them.
//!
//! Conditions go in, messages come out. A condition is raised once while it stands and resolved once after it
//! has been gone for a while; a message leaves the record only when it was delivered, or to make room. The
//! record is kept before anything of it is sent, so a message may arrive twice, with the same id, and is not
//! lost. Pure: what is seen, what time it is and what a server answered are arguments. Deliberately absent:
//! the address that messages go to.

mod body;
mod note;
mod record;
mod send;
mod topic;

pub use body::{Body, Origin};
pub use note::{FLAPPING, GONE, LASTS, Now, Sight, Sights, Watch};
pub use record::{Attempt, MOST_WAITING, Message, NotifyRecord, Told};
pub use send::{Answer, Due, FIRST_WAIT, SLOW};
pub use topic::{Kind, State, Topic};

#[cfg(test)]
mod properties;
