//! Paths on the box.

/// Where data is mounted.
pub const DATA: &str = "/var";
/// The agent's state, on data.
pub const STATE: &str = "/var/lib/holdfast";
/// Volatile state: sockets, bundles, container state.
pub const RUN: &str = "/run/holdfast";
/// Says that the slot that runs has not been marked as good, and has to prove itself.
pub const TRIAL: &str = "/run/holdfast/trial";
/// Milliseconds since the kernel's start at which an agent of this boot first answered.
pub const ANSWERED: &str = "/run/holdfast/answered";
/// The admin's socket.
pub const API_SOCKET: &str = "/run/holdfast/api.sock";
/// What the initrd found and did, as JSON, for the agent.
pub const INITRD_REPORT: &str = "/run/holdfast/initrd.json";
/// Library recipes, `NAME.toml`.
pub const RECIPES: &str = "/usr/share/holdfast/recipes";
/// Embedded images: one OCI layout, entries named by full reference.
pub const IMAGES: &str = "/usr/share/holdfast/images";
/// The seccomp profile for this architecture: OCI runtime `linux.seccomp`, whose rules may name
/// capabilities in `includes` (all must be had) and `excludes` (none may be).
pub const SECCOMP: &str = "/usr/share/holdfast/seccomp.json";
/// Our programs that are not commands.
pub const LIBEXEC: &str = "/usr/libexec/holdfast";
/// The keys that may log in as `admin`.
pub const ADMIN_KEYS: &str = "/run/holdfast/ssh/admin.keys";
/// Machine identity, on data: `machine-id` and `ssh_host_*_key`.
pub const IDENTITY: &str = "/var/lib/holdfast/identity";
/// The TUF root metadata of the publisher whose releases this image follows; absent: of none.
pub const UPDATE_ROOT: &str = "/usr/share/holdfast/update/root.json";
