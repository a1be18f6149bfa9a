//! A root shell for tests, on a second serial port, which the image knows nothing of.
//!
//! The image has no shell. A hypervisor may hand units to systemd as credentials, and attach disks: so a
//! small disk with a static busybox is attached, one unit mounts it and another runs its `sh`. What is
//! broken with it is broken by the test, never by a switch in what is shipped.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};

use crate::lab::Lab;

const MOUNT: &str = "\
[Unit]
DefaultDependencies=no
After=systemd-modules-load.service
[Mount]
What=/dev/disk/by-id/virtio-labshell
Where=/run/lab
Type=vfat
Options=ro
";

const SHELL: &str = "\
[Unit]
Requires=run-lab.mount
After=run-lab.mount
[Service]
ExecStart=/run/lab/busybox sh -c 'stty -echo; PS1= exec /run/lab/busybox sh'
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/ttyS1
Environment=PATH=/run/lab/bin:/usr/bin:/usr/sbin
Restart=always
# A shell at a terminal takes no notice of the signal to end, and would hold up every restart.
KillSignal=SIGKILL
[Install]
WantedBy=multi-user.target
";

const TIME: &str = "\
[Unit]
Requires=run-lab.mount
After=run-lab.mount
[Service]
ExecStart=/run/lab/sntp
Restart=always
";

/// Brings the shell up with the machine.
const DROPIN: &str = "[Unit]\nWants=lab-shell.service\n";

/// The serial port that the shell reads and writes.
#[derive(Debug)]
pub struct Shell {
    stream: UnixStream,
    count: u32,
}

/// QEMU's arguments for the shell, whose port is `dir/shell`.
pub(crate) fn arguments(
    lab: &Lab,
    dir: &Path,
    time_server: Option<&Path>,
) -> Result<(UnixListener, Vec<String>)> {
    let disk = dir.join("shell.disk");
    make_disk(lab, &disk, time_server)?;
    let listener = UnixListener::bind(dir.join("shell"))?;
    let credential = |name: &str, text: &str| {
        let encoded = BASE64_STANDARD.encode(text);
        format!("type=11,value=io.systemd.credential.binary:{name}={encoded}")
    };
    let mut arguments = vec![];
    let mut units = vec![
        ("systemd.extra-unit.run-lab.mount", MOUNT),
        ("systemd.extra-unit.lab-shell.service", SHELL),
        ("systemd.unit-dropin.multi-user.target~lab", DROPIN),
    ];
    if time_server.is_some() {
        units.push(("systemd.extra-unit.lab-time.service", TIME));
        units.push(("systemd.unit-dropin.multi-user.target~time", "[Unit]\nWants=lab-time.service\n"));
    }
    for (name, text) in units {
        arguments.extend(["-smbios".to_owned(), credential(name, text)]);
    }
    let drive = format!("if=none,id=labshell,format=raw,readonly=on,file={}", disk.display());
    let port = format!("socket,id=shell,path={}", dir.join("shell").display());
    arguments.extend(["-drive".to_owned(), drive]);
    arguments.extend(["-device".to_owned(), "virtio-blk-pci,drive=labshell,serial=labshell".to_owned()]);
    arguments.extend(["-chardev".to_owned(), port, "-serial".to_owned(), "chardev:shell".to_owned()]);
    Ok((listener, arguments))
}

fn make_disk(lab: &Lab, path: &Path, time_server: Option<&Path>) -> Result<()> {
    let busybox = std::fs::read(lab.tool_file("usr/bin/busybox")?)?;
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    file.set_len(32 * 1024 * 1024)?;
    fatfs::format_volume(&file, fatfs::FormatVolumeOptions::new().volume_label(*b"labshell   "))?;
    let volume = fatfs::FileSystem::new(&file, fatfs::FsOptions::new())?;
    volume.root_dir().create_file("busybox")?.write_all(&busybox)?;
    if let Some(program) = time_server {
        volume.root_dir().create_file("sntp")?.write_all(&std::fs::read(program)?)?;
    }
    Ok(())
}

/// The program that gives the time inside of a box: `sntp`, beside the one that runs.
pub fn time_server() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("sntp")).find(|path| path.exists());
    found.context("`cargo build -p qemu-tests --bin sntp` has not been run")
}

impl Shell {
    pub(crate) fn new(stream: UnixStream) -> Result<Shell> {
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        // A machine whose shell does not come up takes so much, and no more.
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        Ok(Shell { stream, count: 0 })
    }

    /// Runs a line; its code and what it wrote. Waits until the shell is up.
    pub fn run(&mut self, line: &str, limit: Duration) -> Result<(i32, String)> {
        self.count += 1;
        let (start, end) = (format!("<<{}<<", self.count), format!(">>{}>>", self.count));
        let deadline = Instant::now() + limit;
        let mut said = String::new();
        let mut asked = Instant::now();
        self.send(&start, &end, line)?;
        loop {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the shell's port is closed"),
                Ok(read) => said.push_str(&String::from_utf8_lossy(&buffer[..read])),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(found) = between(&said, &start, &end) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!("the shell does not answer `{line}`: {said}");
            }
            // Before the shell is up nobody reads what is sent, or the end of it alone: a quote that is open stays so.
            if !said.contains(&start) && asked.elapsed() > Duration::from_secs(5) {
                self.stream.write_all(b"\x03\n").context("the shell's port is closed")?;
                self.send(&start, &end, line)?;
                asked = Instant::now();
            }
        }
    }

    fn send(&mut self, start: &str, end: &str, line: &str) -> Result<()> {
        // The marks are broken up, so that an echo of the line is not taken for its answer.
        let (a, b) = (start.replace("<<", "'<''<'"), end.replace(">>", "'>''>'"));
        writeln!(self.stream, "echo {a}; {line}\necho {b}$?,").context("the shell's port is closed")
    }
}

fn between(said: &str, start: &str, end: &str) -> Option<(i32, String)> {
    let (_, after) = said.split_once(start)?;
    let (text, rest) = after.split_once(end)?;
    let (code, _) = rest.split_once(',')?;
    Some((code.trim().parse().ok()?, text.replace('\r', "").trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_answer() {
        assert_eq!(between("x <<1<<\r\nhello\r\n>>1>>0,", "<<1<<", ">>1>>"), Some((0, "hello".into())));
        assert_eq!(between("<<1<< half", "<<1<<", ">>1>>"), None);
    }
}
