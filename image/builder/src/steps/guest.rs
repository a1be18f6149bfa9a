//! Disks of machines that run an image, whether KVM can run them, and the process itself.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::context::Context;
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

/// The image as a raw disk, made in `folder` where it is none.
pub fn raw(context: &Context, image: &Path, folder: &Path) -> Result<PathBuf> {
    let (readable, format) = readable(image, folder)?;
    if format == "raw" {
        return Ok(readable);
    }
    let raw = folder.join("disk.raw");
    let mut command = context.tools()?.command("qemu-img")?;
    command.args(["convert", "-f", format, "-O", "raw"]).arg(&readable).arg(&raw);
    super::run(command, "qemu-img")?;
    Ok(raw)
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

/// A flag that SIGINT, SIGTERM and SIGHUP raise; what `nohup` started outlives its terminal.
pub fn interrupted() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let hangup = (!ignores_hangup()).then_some(SIGHUP);
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Whether SIGHUP is ignored. It is the lowest bit of `SigIgn` (proc_pid_status(5)).
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
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
    // Its id may be another process's once it was waited for.
    if child.try_wait()?.is_some() {
        return Ok(());
    }
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
/// How long KVM is not tried again after a trial that failed. That may have been the image's fault, or that of
/// a busy host; and where no trial succeeds, each costs its whole time.
const FAILED: Duration = Duration::from_secs(24 * 3600);

const WORKS: &str = "works\n";
const DOES_NOT: &str = "does not work\n";

/// Whether KVM runs this image: decided by booting it, since the device may be there and no guest run. The
/// verdict is kept in `cache` for this host's kernel and processor, a bad one for a day. `None`: `interrupted`
/// was raised meanwhile.
pub fn kvm_works(
    tools: &Tools,
    (image, format): (&Path, &str),
    cache: &Path,
    folder: &Path,
    interrupted: &AtomicBool,
) -> Result<Option<bool>> {
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Some(false));
    }
    let trial = || {
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
        reaches(command(tools, &machine)?, &folder.join("trial.log"), TRIAL, interrupted)
    };
    decided(&cache.join("kvm").join(host_key()), trial)
}

/// The verdict kept in `file`, or that of the trial, which is kept then.
fn decided(file: &Path, trial: impl FnOnce() -> Result<Option<bool>>) -> Result<Option<bool>> {
    let recent = || fs::metadata(file)?.modified()?.elapsed().map_err(std::io::Error::other);
    match fs::read_to_string(file).as_deref() {
        Ok(WORKS) => return Ok(Some(true)),
        Ok(DOES_NOT) if recent().is_ok_and(|age| age < FAILED) => return Ok(Some(false)),
        _ => {}
    }
    let found = trial()?;
    if let Some(works) = found {
        fs::create_dir_all(file.parent().unwrap_or(file))?;
        fs::write(file, if works { WORKS } else { DOES_NOT })?;
    }
    Ok(found)
}

/// Whether a machine gets as far as [`REACHED`] within `limit`; it is ended in any case. `None`: `interrupted`
/// was raised.
fn reaches(
    mut machine: Command,
    console: &Path,
    limit: Duration,
    interrupted: &AtomicBool,
) -> Result<Option<bool>> {
    machine.stdin(Stdio::null()).stdout(File::create(console)?).stderr(Stdio::null());
    let mut child = machine.spawn().context("failed to start QEMU")?;
    let limit = Instant::now() + limit;
    let stopped = || interrupted.load(Ordering::SeqCst);
    loop {
        // Looked at before the console is, which then holds all that it said.
        let over = child.try_wait()?.is_some() || Instant::now() > limit || stopped();
        let reached = String::from_utf8_lossy(&fs::read(console)?).contains(REACHED);
        if reached || over {
            end(&mut child)?;
            // Ctrl-C ends the machine too: that says nothing of KVM.
            return Ok((!stopped()).then_some(reached));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn host_key() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    crate::fetch::digest::sha256(format!("{}{model}", read("/proc/version")).as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// Programs that stand for QEMU: whether a real one succeeds depends on the host.
    fn check(line: &str, limit: Duration, interrupted: bool, expect: Option<bool>) {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = Command::new("sh");
        machine.args(["-c", line]);
        let flag = AtomicBool::new(interrupted);
        let found = reaches(machine, &folder.path().join("console"), limit, &flag).unwrap();
        assert_eq!(found, expect, "{line}");
    }

    #[test]
    fn a_trial_ends_with_the_line_the_machine_the_time_or_ctrl_c() {
        let long = Duration::from_secs(60);
        check("echo Holdfast: slot a on /dev/vda; exec sleep 100", long, false, Some(true));
        check("echo Holdfast: slot a on /dev/vda", long, false, Some(true));
        check("echo KVM is not there; exit 1", long, false, Some(false));
        check("echo booting; exec sleep 100", Duration::from_millis(300), false, Some(false));
        check("exec sleep 100", long, true, None);
        check("echo Holdfast: slot a on /dev/vda", long, true, None);
    }

    #[test]
    fn a_good_verdict_is_kept_a_bad_one_for_a_day_and_an_interrupted_one_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kvm/host");
        // What a trial that would give `next` leads to, and whether it was made.
        let decide = |next: Option<bool>| {
            let mut tried = false;
            let trial = || {
                tried = true;
                Ok(next)
            };
            (decided(&file, trial).unwrap(), tried)
        };
        let aged = |age: Duration| {
            let file = File::options().write(true).open(&file).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        assert_eq!(decide(None), (None, true));
        assert!(!file.exists(), "an interrupted trial left a verdict");
        assert_eq!(decide(Some(false)), (Some(false), true));
        aged(FAILED - Duration::from_secs(60));
        assert_eq!(decide(Some(true)), (Some(false), false), "it is remembered for a day");
        aged(FAILED + Duration::from_secs(60));
        assert_eq!(decide(None), (None, true));
        assert_eq!(decide(Some(true)), (Some(true), true), "it is tried again after a day");
        aged(FAILED * 1000);
        assert_eq!(decide(Some(false)), (Some(true), false));
        fs::write(&file, "wo").unwrap();
        assert_eq!(decide(Some(false)), (Some(false), true), "a torn verdict is none");
    }

    #[test]
    fn a_trial_that_cannot_be_made_leaves_no_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("host");
        assert!(decided(&file, || anyhow::bail!("no disk")).is_err());
        assert!(!file.exists());
    }
}
