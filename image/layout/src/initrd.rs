//! Where things lie in the initrd: what the builder packs, and the program finds. And what it says to the agent.

/// The program, which the kernel runs.
pub const INIT: &str = "/init";
/// Debian's static e2fsck.
pub const E2FSCK: &str = "/sbin/e2fsck";
/// Modules to load, in this order: `PATH [PARAMETERS]` a line.
pub const MODULES_LIST: &str = "/modules.list";
/// Folder of the modules.
pub const MODULES: &str = "/modules";
/// Kind of the event by which the initrd says that it has no data because the disk fails.
pub const DISK_FAILS: &str = "data-disk-fails";
