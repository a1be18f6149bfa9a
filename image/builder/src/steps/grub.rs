//! GRUB for BIOS and UEFI, made by `grub-mkimage` without installing anything.
//!
//! Both read the same `grub.cfg` from the ESP of the disk that booted: the prefix names no drive, which
//! GRUB then completes. All modules are built in, so that nothing else is ever loaded from the ESP.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::tools::Tools;

const MODULES: &str = "part_gpt fat normal configfile loadenv regexp test true echo sleep reboot linux \
                       hashsum crypto gcry_crc probe";
const BIOS_MODULES: &str = "biosdisk serial terminal";
const PREFIX: &str = "(,gpt2)/grub";

/// GRUB's images and its configuration.
#[derive(Debug)]
pub struct Grub {
    /// For the first sector of the disk.
    pub boot_img: Vec<u8>,
    /// For the BIOS boot partition.
    pub core_img: Vec<u8>,
    /// For the ESP, `EFI/BOOT/BOOTX64.EFI`.
    pub efi: Vec<u8>,
    /// For the ESP, `grub/grub.cfg`.
    pub config: Vec<u8>,
}

/// Makes GRUB's images; `sources` is the folder with `grub.cfg` and the early configurations.
pub fn build(tools: &Tools, sources: &Path, scratch: &Path) -> Result<Grub> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()));
    let bios = format!("{MODULES} {BIOS_MODULES}");
    Ok(Grub {
        boot_img: read(&tools.file("usr/lib/grub/i386-pc/boot.img")?)?,
        core_img: image(tools, "i386-pc", &bios, sources, scratch)?,
        efi: image(tools, "x86_64-efi", MODULES, sources, scratch)?,
        config: read(&sources.join("grub.cfg"))?,
    })
}

fn image(tools: &Tools, format: &str, modules: &str, sources: &Path, scratch: &Path) -> Result<Vec<u8>> {
    let output = scratch.join(format!("grub-{format}"));
    let mut command = tools.command("grub-mkimage")?;
    command.arg("-d").arg(tools.file(&format!("usr/lib/grub/{format}"))?);
    command.args(["-O", format, "-p", PREFIX]);
    command.arg("-c").arg(sources.join(format!("early-{format}.cfg")));
    command.arg("-o").arg(&output).args(modules.split_whitespace());
    super::run(command, "grub-mkimage")?;
    std::fs::read(&output).with_context(|| format!("failed to read `{}`", output.display()))
}
