//! The steps of a build: each takes bytes or paths and writes what it says, and decides nothing that
//! [`crate::plan`] could decide.

pub mod binaries;
pub mod cpio;
pub mod crates;
pub mod disk;
pub mod erofs;
pub mod fat;
pub mod formats;
pub mod grub;
pub mod guest;
pub mod inspect;
pub mod kernel;
pub mod outputs;
pub mod partitions;
pub mod rootfs;
pub mod seed;
pub mod table;
pub mod verity;

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs a program of the tools; what it printed is in the error if it fails.
pub fn run(mut command: Command, name: &str) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start `{name}` of the locked tools"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
        bail!("`{name}` failed ({}): {said}", output.status);
    }
    Ok(())
}
