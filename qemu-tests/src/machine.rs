//! A box in QEMU.

use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::api::{self, Reply};
use crate::console::Console;
use crate::disk::Disk;
use crate::lab::Lab;
use crate::ports::free_port;
use crate::qemu;
use crate::qmp::Qmp;
use crate::relay::Relay;
use crate::saved::Saved;
use crate::schema::Schema;
use crate::seed::Channel;
use crate::shell::{self, Shell};

/// What starts the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS.
    #[default]
    Bios,
    /// OVMF.
    Uefi,
}

/// How disks are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk.
    #[default]
    VirtioBlk,
    /// A disk of a virtio-scsi controller.
    VirtioScsi,
    /// NVMe.
    Nvme,
    /// SATA behind AHCI.
    Sata,
}

/// A network interface beyond the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// The network that QEMU's user-mode stack makes, as `10.9.0.0/24`.
    pub net: String,
    /// Hardware address.
    pub mac: String,
}

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Firmware.
    pub firmware: Firmware,
    /// MiB.
    pub memory: u32,
    /// How disks are attached.
    pub bus: Bus,
    /// User-data and how it comes; absent: none at all.
    pub user_data: Option<(Channel, Vec<u8>)>,
    /// The provider's name for this machine.
    pub instance_id: String,
    /// Host name that the provider gives.
    pub hostname: String,
    /// The document by which the provider describes the network, in the channel's own form.
    pub network: Option<String>,
    /// Further disks, attached before the one that boots when `true`.
    pub more_disks: Vec<(Disk, bool)>,
    /// Further interfaces.
    pub more_nics: Vec<Nic>,
    /// Whether the test gets a root shell on a second serial port.
    pub shell: bool,
    /// A program that is run in the box, which needs a shell, as its time server on 127.0.0.1.
    pub time_server: Option<PathBuf>,
    /// Whether there is a hardware watchdog; without one the box has the kernel's own.
    pub watchdog: bool,
    /// Console lines that would mean trouble but are expected.
    pub expected: Vec<&'static str>,
    /// Whether the first NIC is behind a [`Relay`].
    pub relayed: bool,
    /// Further arguments of QEMU.
    pub arguments: Vec<String>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            firmware: Firmware::Bios,
            memory: 512,
            bus: Bus::VirtioBlk,
            user_data: None,
            instance_id: "i-1".into(),
            hostname: "box".into(),
            network: None,
            more_disks: vec![],
            more_nics: vec![],
            shell: false,
            time_server: None,
            watchdog: true,
            expected: vec![],
            relayed: false,
            arguments: vec![],
        }
    }
}

impl Setup {
    /// A machine that is given `user_data` by a NoCloud volume.
    pub fn with(user_data: impl Into<Vec<u8>>) -> Setup {
        Setup { user_data: Some((Channel::NoCloud, user_data.into())), ..Setup::default() }
    }

    /// Lets user-data come another way.
    pub fn by(mut self, channel: Channel) -> Setup {
        if let Some((way, _)) = &mut self.user_data {
            *way = channel;
        }
        self
    }
}

/// A running box. Power is cut when it is dropped.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    qmp: Qmp,
    /// Its serial console.
    pub console: Console,
    /// What is between its first NIC and the network, where that was asked for.
    pub relay: Option<Relay>,
    /// Which of its disks boots, counted from 0.
    pub(crate) boots: usize,
    /// Nodes that make its disk fail, so many were made.
    pub(crate) faults: u32,
    http: u16,
    ssh: u16,
    key: PathBuf,
    cli: PathBuf,
    shell: Option<Shell>,
    schema: OnceLock<Schema>,
    expected: Vec<&'static str>,
    started: Instant,
    /// Where its sockets and volumes lie.
    dir: PathBuf,
}

impl Machine {
    /// Switches a machine on.
    pub fn boot(lab: &Lab, disk: &Disk, setup: &Setup) -> Result<Machine> {
        Machine::start(lab, disk, setup, lab.key())
    }

    /// Goes on, on a disk of its own, with a box that has booted with no recipe and was saved then. It has a
    /// shell; `expected` is as in [`Setup`].
    pub fn resume(lab: &Lab, expected: &[&'static str]) -> Result<Machine> {
        let dir = tempfile::Builder::new().prefix("resumed-").tempdir_in(lab.dir())?.keep();
        let name = dir.join("disk").into_os_string().into_string().expect("the lab's path is text");
        let disk = Saved::of(lab)?.copy(lab, &name)?;
        Machine::go_on(lab, &disk, expected, disk.path().with_extension("key"))
    }

    /// The same on a disk that was copied from the saved one, with a copy of its key.
    pub(crate) fn go_on(lab: &Lab, disk: &Disk, expected: &[&'static str], key: PathBuf) -> Result<Machine> {
        let saved = Saved::of(lab)?;
        let mut setup = Setup { expected: expected.to_vec(), ..Saved::setup() };
        setup.arguments = vec!["-incoming".into(), format!("file:{}", saved.memory().display())];
        let mut machine = Machine::start(lab, disk, &setup, key)?;
        machine.wait_state("query-status", "paused")?;
        machine.qmp.execute("cont", json!({}))?;
        Ok(machine)
    }

    /// Writes memory and devices to `file` and cuts the power.
    pub(crate) fn save(mut self, file: &Path) -> Result<()> {
        self.qmp.execute("stop", json!({}))?;
        self.qmp.execute("migrate", json!({ "uri": format!("file:{}", file.display()) }))?;
        self.wait_state("query-migrate", "completed")?;
        self.kill()
    }

    fn wait_state(&mut self, query: &str, wanted: &str) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let found = self.qmp.execute(query, json!({}))?;
            if found["status"] == wanted {
                return Ok(());
            }
            ensure!(found["status"] != "failed" && Instant::now() < end, "`{query}`: {found}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Switches a machine on whose admin has this key.
    pub(crate) fn start(lab: &Lab, disk: &Disk, setup: &Setup, key: PathBuf) -> Result<Machine> {
        let dir = tempfile::Builder::new().prefix("vm-").tempdir_in(lab.dir())?.keep();
        let (http, ssh) = (free_port(lab)?, free_port(lab)?);
        let relay = setup.relayed.then(|| Relay::start(&dir)).transpose()?;
        let serial = UnixListener::bind(dir.join("serial"))?;
        let mut command = lab.tool("qemu-system-x86_64");
        command.args(qemu::base(setup)).args(qemu::firmware(lab, setup, &dir)?).args(qemu::network(
            setup,
            http,
            ssh,
            relay.as_ref(),
        ));
        command.args(qemu::disks(disk, setup)).args(&setup.arguments);
        command.args(qemu::seed(setup, &key, &dir)?);
        command.arg("-chardev").arg(format!("socket,id=serial,path={}", dir.join("serial").display()));
        command.args(["-serial", "chardev:serial", "-qmp"]);
        command.arg(format!("unix:{},server=on,wait=off", dir.join("qmp").display()));
        let shell =
            if setup.shell { Some(shell::arguments(lab, &dir, setup.time_server.as_deref())?) } else { None };
        if let Some((_, arguments)) = &shell {
            command.args(arguments);
        }
        let log = std::fs::File::create(dir.join("qemu.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        let mut child = command.spawn().context("cannot start QEMU")?;
        let connected = connect(&serial, shell.map(|(port, _)| port), &mut child, &dir);
        let (console, qmp, shell) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        };
        let (cli, expected) = (lab.cli(), setup.expected.clone());
        let schema = OnceLock::new();
        let boots = setup.more_disks.iter().filter(|(_, first)| *first).count();
        Ok(Machine {
            child,
            qmp,
            console,
            relay,
            boots,
            faults: 0,
            http,
            ssh,
            key,
            cli,
            shell,
            schema,
            expected,
            started,
            dir,
        })
    }

    /// Lets the provider offer something else: its volume is written anew under the running box, which looks
    /// at it when its agent starts. The channel must be the one that the machine was started with.
    pub fn offer(&self, setup: &Setup) -> Result<()> {
        qemu::seed(setup, &self.key, &self.dir).map(drop)
    }

    /// Seconds since power-on.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Switches a machine on that does nothing yet, does something to it, and lets it go.
    pub fn boot_after(
        lab: &Lab,
        disk: &Disk,
        setup: &Setup,
        before: impl FnOnce(&mut Machine) -> Result<()>,
    ) -> Result<Machine> {
        let mut setup = setup.clone();
        setup.arguments.push("-S".into());
        let mut machine = Machine::boot(lab, disk, &setup)?;
        before(&mut machine)?;
        machine.qmp.execute("cont", json!({}))?;
        Ok(machine)
    }

    /// Plugs the cable of the first NIC in, or pulls it out.
    pub fn plug(&mut self, present: bool) -> Result<()> {
        self.qmp("set_link", json!({ "name": "net0", "up": present })).map(drop)
    }

    /// GETs `path` from port 80 of the box: status and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.get_within(path, Duration::from_secs(10))
    }

    fn get_within(&self, path: &str, limit: Duration) -> Result<(u16, String)> {
        let config =
            ureq::Agent::config_builder().timeout_global(Some(limit)).http_status_as_error(false).build();
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let mut response = ureq::Agent::new_with_config(config).get(url).call()?;
        Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
    }

    /// Waits until the box serves a page with `text` in it.
    pub fn wait_served(&self, text: &str, limit: Duration) -> Result<Duration> {
        // QEMU takes a connection before the box does, and offers it to the box ever more rarely: a new one
        // is there sooner.
        const ATTEMPT: Duration = Duration::from_secs(2);
        let end = Instant::now() + limit;
        loop {
            let got = self.get_within("/", ATTEMPT);
            match &got {
                Ok((200, body)) if body.contains(text) => return Ok(self.age()),
                _ if Instant::now() < end && self.runs()? => std::thread::sleep(Duration::from_millis(100)),
                _ => bail!("no page with `{text}` ({got:?}); the console's end:\n{}", self.console.tail(60)),
            }
        }
    }

    /// Whether the box serves a page with `text` in it now.
    pub fn serves(&self, text: &str) -> bool {
        self.serves_within(text, Duration::from_secs(10))
    }

    /// The same with another patience.
    pub fn serves_within(&self, text: &str, limit: Duration) -> bool {
        matches!(self.get_within("/", limit), Ok((200, body)) if body.contains(text))
    }

    /// Where the box's port 80 is reached.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.http)
    }

    /// The port of this host that leads to the box's sshd.
    pub fn ssh_port(&self) -> u16 {
        self.ssh
    }

    /// A command line that opens the CLI on the box.
    pub fn ssh_line(&self) -> String {
        let options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
        format!("ssh {options} -i {} -p {} admin@127.0.0.1", self.key.display(), self.ssh)
    }

    /// Runs the CLI on the box over ssh, as the admin does.
    pub fn cli(&self, arguments: &[&str]) -> Result<Output> {
        self.cli_with(arguments, Stdio::null())
    }

    /// Runs the CLI on the box over ssh with something on its stdin.
    pub fn cli_with(&self, arguments: &[&str], stdin: Stdio) -> Result<Output> {
        let words: Vec<String> = arguments.iter().map(|a| quote(a)).collect();
        let mut ssh = self.ssh_command();
        Ok(ssh.arg("admin@127.0.0.1").arg(words.join(" ")).stdin(stdin).output()?)
    }

    /// `ssh` with everything that leads to the box but the destination and the command.
    pub fn ssh_command(&self) -> Command {
        self.ssh_with(&self.key)
    }

    /// The private half of the key that the provider gives to its admin.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// The same with another key.
    pub fn ssh_with(&self, key: &Path) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-q", "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        ssh.args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "ConnectTimeout=20",
            "-o",
            "IdentitiesOnly=yes",
        ]);
        ssh.arg("-i").arg(key).arg("-p").arg(self.ssh.to_string());
        ssh
    }

    /// `holdfast --host` of the workstation, with an ssh configuration that leads to the box.
    pub fn remote(&self, dir: &Path, arguments: &[&str]) -> Result<Output> {
        let wrapper = dir.join("ssh");
        let line: Vec<String> = std::iter::once("exec /usr/bin/ssh".to_owned())
            .chain(self.ssh_command().get_args().skip(1).map(|a| quote(&a.to_string_lossy())))
            .collect();
        std::fs::write(&wrapper, format!("#!/bin/sh\n{} \"$@\"\n", line.join(" ")))?;
        std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
        let mut cli = Command::new(&self.cli);
        Ok(cli.args(["--host", "admin@127.0.0.1"]).args(arguments).env("PATH", path).output()?)
    }

    /// Starts the CLI on the box over ssh, its streams connected to the caller; `tty` gives it a terminal.
    pub fn cli_start(&self, arguments: &[&str], tty: bool) -> Result<Child> {
        let words: Vec<String> = arguments.iter().map(|a| quote(a)).collect();
        let mut ssh = self.ssh_command();
        if tty {
            ssh.arg("-tt");
        }
        ssh.arg("admin@127.0.0.1").arg(words.join(" "));
        Ok(ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// Makes a request to the API and validates the reply against the document that the box serves.
    pub fn api(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply> {
        let reply = self.request(method, path, body)?;
        self.schema()?.check(method, path, reply.status, &reply.kind, &reply.body)?;
        Ok(reply)
    }

    /// The document that the box serves.
    pub fn schema(&self) -> Result<&Schema> {
        if let Some(schema) = self.schema.get() {
            return Ok(schema);
        }
        let reply = self.request("GET", agent_api::routes::OPENAPI, b"")?;
        let schema = Schema::new(serde_json::from_slice(&reply.body)?)?;
        Ok(self.schema.get_or_init(|| schema))
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> Result<Reply> {
        let mut ssh = self.ssh_command();
        ssh.arg("admin@127.0.0.1").arg(agent_api::STDIO_COMMAND);
        api::request(ssh, method, path, body)
    }

    /// Runs the CLI with `--json` and gives the document, which for a command that prints the API's reply
    /// is validated as such; the exit code may be any of `codes`.
    pub fn json(&self, arguments: &[&str], codes: &[i32]) -> Result<Value> {
        let output = self.cli(&[arguments, &["--json"]].concat())?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let code = output.status.code().unwrap_or(-1);
        ensure!(codes.contains(&code), "`holdfast {}` gave {code}: {out}{err}", arguments.join(" "));
        if let Some((method, path)) = api::route(arguments) {
            self.schema()?.check(method, &path, 200, "application/json", &output.stdout)?;
        }
        serde_json::from_str(&out).with_context(|| format!("no JSON of {arguments:?}: {out}{err}"))
    }

    /// Runs a line in the test's root shell and gives what it wrote; any code but 0 is an error.
    pub fn shell(&mut self, line: &str) -> Result<String> {
        let shell = self.shell.as_mut().context("this machine was set up without a shell")?;
        let (code, said) = shell.run(line, Duration::from_secs(300))?;
        ensure!(code == 0, "`{line}` gave {code}: {said}");
        Ok(said)
    }

    /// Waits until ssh answers.
    pub fn wait_ssh(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let output = self.cli(&["version"])?;
            if output.status.success() {
                return Ok(());
            }
            if Instant::now() > end || !self.runs()? {
                let err = String::from_utf8_lossy(&output.stderr).into_owned();
                bail!("ssh does not answer: {err}\nthe console's end:\n{}", self.console.tail(60));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Whether QEMU has not ended by itself. It may abort, and nothing is worth waiting for then.
    fn runs(&self) -> Result<bool> {
        Ok(!self.stat()?.starts_with('Z'))
    }

    /// The fields of QEMU's `/proc/PID/stat` from its state on.
    fn stat(&self) -> Result<String> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(") ").context("no fields in /proc/PID/stat")?;
        Ok(fields.to_owned())
    }

    /// CPU seconds that QEMU has used: steadier than wall time on a busy machine.
    pub fn cpu(&self) -> Result<f64> {
        let fields = self.stat()?;
        let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
        // USER_HZ is 100 on every architecture that Linux has.
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }

    /// Executes a QMP command.
    pub fn qmp(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp.execute(command, arguments)
    }

    /// Cuts the power and checks the console.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.check()
    }

    /// Presses the power button and waits until the box is off, then checks the console.
    pub fn power_off(mut self, limit: Duration) -> Result<()> {
        self.qmp.execute("system_powerdown", json!({}))?;
        self.wait_off(limit)?;
        self.check()
    }

    /// Waits until QEMU has ended by itself.
    pub fn wait_off(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "the box is still on:\n{}", self.console.tail(40));
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Fails when a console line means trouble.
    pub fn check(&self) -> Result<()> {
        let trouble = self.console.trouble(&self.expected);
        ensure!(trouble.is_empty(), "trouble on the console:\n{}", trouble.join("\n"));
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        // Both fail only when QEMU has ended already.
        let _ = self.child.kill();
        // One that aborts closes its sockets a moment before it has ended: it ends by its own signal, not by this one.
        let killed = Some(Signal::SIGKILL as i32);
        let aborted = self.child.wait().ok().filter(|status| status.signal() != killed);
        if std::thread::panicking() {
            if let Some(status) = ended.or(aborted) {
                let said = std::fs::read_to_string(self.dir.join("qemu.log")).unwrap_or_default();
                eprintln!("QEMU had ended by itself ({status}) and said: {}", said.trim_end());
            }
        } else {
            let trouble = self.console.trouble(&self.expected);
            let end = self.console.tail(40);
            assert!(
                trouble.is_empty(),
                "trouble on the console:\n{}\nthe console's end:\n{end}",
                trouble.join("\n")
            );
        }
    }
}

type Connected = (Console, Qmp, Option<Shell>);

fn connect(
    serial: &UnixListener,
    port: Option<UnixListener>,
    child: &mut Child,
    dir: &Path,
) -> Result<Connected> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut accept = |listener: &UnixListener| -> Result<UnixStream> {
        listener.set_nonblocking(true)?;
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false)?;
                    return Ok(socket);
                }
                Err(_) if Instant::now() < end && child.try_wait()?.is_none() => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(_) => bail!("QEMU did not start: {}", std::fs::read_to_string(dir.join("qemu.log"))?),
            }
        }
    };
    let socket = accept(serial)?;
    let shell = port.map(|port| accept(&port).and_then(Shell::new)).transpose()?;
    let qmp = loop {
        match Qmp::connect(&dir.join("qmp")) {
            Ok(qmp) => break qmp,
            Err(_) if Instant::now() < end && child.try_wait()?.is_none() => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.context(std::fs::read_to_string(dir.join("qemu.log"))?)),
        }
    };
    Ok((Console::follow(socket), qmp, shell))
}

/// A word as the box's login program splits it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
