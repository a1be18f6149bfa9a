//! Connections to the kernel's route netlink, and their errors.

use std::fs::File;
use std::io;

use rtnetlink::Handle;

/// A request to the kernel that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("failed to open a netlink socket")]
    Open(#[source] io::Error),
    /// The kernel refused.
    #[error("failed to {action}")]
    Request {
        /// What was asked, in words.
        action: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// A link that should be there is not.
    #[error("no network interface `{0}`")]
    NoLink(String),
    /// A link that is to be made has another's name.
    #[error("there is another network interface `{0}`")]
    Taken(String),
}

impl NetlinkError {
    /// Whether the kernel answered with this error number.
    pub fn is(&self, errno: nix::errno::Errno) -> bool {
        matches!(self, NetlinkError::Request { source, .. } if is(source, errno))
    }
}

/// Whether the kernel answered with this error number.
pub(crate) fn is(error: &rtnetlink::Error, errno: nix::errno::Errno) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else { return false };
    message.code.is_some_and(|code| code.get() == -(errno as i32))
}

/// Adds what was being done to the kernel's answer.
pub(crate) trait Context<T> {
    /// `action` completes "failed to …".
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, NetlinkError>;
}

impl<T> Context<T> for Result<T, rtnetlink::Error> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, NetlinkError> {
        self.map_err(|source| NetlinkError::Request { action: action(), source })
    }
}

/// Connects to the kernel in the network namespace of the calling thread. The connection lives as
/// long as its handles and needs a tokio runtime.
pub fn open() -> Result<Handle, NetlinkError> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
    tokio::spawn(connection);
    Ok(handle)
}

/// As [`open`], in the network namespace that `namespace` is an open file of.
///
/// A netlink socket stays in the namespace of the thread that made it, so a thread of its own goes
/// there, makes the socket, and ends.
pub fn open_in(namespace: File) -> Result<Handle, NetlinkError> {
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::spawn(move || {
        let _guard = runtime.enter();
        nix::sched::setns(&namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        rtnetlink::new_connection()
    });
    let joined = thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")));
    let (connection, handle, _) = joined.map_err(NetlinkError::Open)?;
    tokio::spawn(connection);
    Ok(handle)
}
