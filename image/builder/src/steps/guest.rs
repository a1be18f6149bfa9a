//! Disks of machines that run an image, whether KVM can run them, and the process itself.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::plan::machine::Machine;
use crate::tools::Tools;

/// What QEMU calls the image's format, by its first bytes; `None` for gzip.
fn format_of(image: &Path) -> Result<Option<&'static str>> {
    let mut head = [0u8; 4];
    let mut file = File::open(image).with_context(|| format!("failed to open `{}`", image.display()))?;
    file.read_exact(&mut head).with_context(|| format!("failed to read `{}`", image.display()))?;
    Ok(match head {
        [b'Q', b'F', b'I', 0xfb] => Some("qcow2"),
        [0x1f, 0x8b, ..] => None,
        _ => Some("raw"),
    })
}

/// The image in a form that QEMU reads, with that form's name; gzip is unpacked into `folder`.
pub fn readable(image: &Path, folder: &Path) -> Result<(PathBuf, &'static str)> {
    if let Some(format) = format_of(image)? {
        return Ok((std::path::absolute(image)?, format));
    }
    let unpacked = folder.join("image.raw");
    let mut from = flate2::read::MultiGzDecoder::new(File::open(image)?);
    let mut to = File::create(&unpacked)?;
    super::disk::copy_sparse(&mut from, &mut to, 0)
        .and_then(|length| to.set_len(length))
        .with_context(|| format!("failed to unpack `{}`", image.display()))?;
    Ok((unpacked, "raw"))
}

/// Makes an overlay over the image, at least `size` bytes large.
pub fn overlay(tools: &Tools, image: &Path, format: &str, overlay: &Path, size: u64) -> Result<()> {
    let mut command = tools.command("qemu-img")?;
    command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(image).arg(overlay);
    super::run(command, "qemu-img")?;
    grow(tools, overlay, size)
}

/// Makes a disk of its own out of the image, at least `size` bytes large.
pub fn copy(tools: &Tools, image: &Path, format: &str, disk: &Path, size: u64) -> Result<()> {
    let beside = disk.with_extension("part");
    let mut command = tools.command("qemu-img")?;
    command.args(["convert", "-f", format, "-O", "qcow2"]).arg(image).arg(&beside);
    super::run(command, "qemu-img")?;
    grow(tools, &beside, size)?;
    fs::rename(&beside, disk).with_context(|| format!("failed to write `{}`", disk.display()))
}

fn grow(tools: &Tools, disk: &Path, size: u64) -> Result<()> {
    if size <= super::table::disk_size() {
        return Ok(());
    }
    let mut command = tools.command("qemu-img")?;
    command.args(["resize", "-q", "-f", "qcow2"]).arg(disk).arg(size.to_string());
    super::run(command, "qemu-img")
}

/// OVMF's code, and a fresh copy of its variables in `folder`.
pub fn uefi(tools: &Tools, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let variables = folder.join("ovmf-vars.fd");
    fs::copy(tools.file("usr/share/OVMF/OVMF_VARS_4M.fd")?, &variables)?;
    Ok((tools.file("usr/share/OVMF/OVMF_CODE_4M.fd")?, variables))
}

/// QEMU for a machine, not yet started. Where the host has `setpriv`, it dies with this process even if
/// that is killed.
pub fn command(tools: &Tools, machine: &Machine) -> Result<Command> {
    let mut qemu = tools.command("qemu-system-x86_64")?;
    qemu.args(machine.arguments());
    if !Path::new("/usr/bin/setpriv").exists() {
        return Ok(qemu);
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(qemu.get_program()).args(qemu.get_args());
    for (name, value) in qemu.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ok(command)
}

/// A flag that SIGINT and SIGTERM raise.
pub fn interrupted() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Waits for the machine's end; when `interrupted` is raised, ends it. `None`: it was ended.
pub fn wait(mut child: Child, interrupted: &AtomicBool) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!interrupted.load(Ordering::SeqCst)).then_some(status));
        }
        if interrupted.load(Ordering::SeqCst) {
            end(&mut child)?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asks QEMU to end, so that it closes its files, and kills it if it does not.
fn end(child: &mut Child) -> Result<()> {
    if let Ok(pid) = i32::try_from(child.id())
        && let Some(pid) = rustix::process::Pid::from_raw(pid)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let limit = Instant::now() + Duration::from_secs(5);
    while child.try_wait()?.is_none() {
        if Instant::now() > limit {
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What the initrd's program says on the console before it gives way to systemd.
const REACHED: &str = "Holdfast: slot a on ";
const TRIAL: Duration = Duration::from_secs(30);

/// Whether KVM runs this image: decided by booting it, since the device may be there and no guest run. The
/// verdict is kept in `cache` for this host's kernel and processor.
pub fn kvm_works(tools: &Tools, image: &Path, format: &str, cache: &Path, folder: &Path) -> Result<bool> {
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(false);
    }
    let verdict = cache.join("kvm").join(host_key());
    if let Ok(text) = fs::read_to_string(&verdict) {
        return Ok(text.trim() == "works");
    }
    let disk = folder.join("trial.qcow2");
    overlay(tools, image, format, &disk, 0)?;
    let machine = Machine {
        kvm: true,
        memory: 512,
        cpus: 1,
        disk,
        uefi: None,
        seed: None,
        forwards: Vec::new(),
        qmp: None,
    };
    let console = folder.join("trial.log");
    let mut command = command(tools, &machine)?;
    command.stdin(Stdio::null()).stdout(File::create(&console)?).stderr(Stdio::null());
    let mut child = command.spawn().context("failed to start QEMU")?;
    let limit = Instant::now() + TRIAL;
    let mut works = false;
    while !works && Instant::now() < limit && child.try_wait()?.is_none() {
        std::thread::sleep(Duration::from_millis(200));
        works = String::from_utf8_lossy(&fs::read(&console)?).contains(REACHED);
    }
    end(&mut child)?;
    fs::create_dir_all(cache.join("kvm"))?;
    fs::write(&verdict, if works { "works\n" } else { "does not work\n" })?;
    Ok(works)
}

fn host_key() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    crate::fetch::digest::sha256(format!("{}{model}", read("/proc/version")).as_bytes())
}
