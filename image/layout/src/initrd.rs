//! Where things lie in the initrd: what the builder packs, and the program finds.

/// The program, which the kernel runs.
pub const INIT: &str = "/init";
/// Debian's static e2fsck.
pub const E2FSCK: &str = "/sbin/e2fsck";
/// Modules to load, in this order: `PATH [PARAMETERS]` a line.
pub const MODULES_LIST: &str = "/modules.list";
/// Folder of the modules.
pub const MODULES: &str = "/modules";
