//! The README's way to a page of one's own, typed line by line as it stands there.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::{BOOT, CHANGE, out, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qemu_tests::{Lab, TROUBLE};

/// The sections, in the order in which they are read.
const SECTIONS: [&str; 3] = ["A container image of the site", "The document", "In QEMU"];
/// Parts of lines without which the way would not be the whole of it.
const PARTS: [&str; 9] = [
    " app build ",
    " serve ",
    " app push ",
    "holdfast-image init ",
    "holdfast-image check ",
    "holdfast-image run ",
    "curl ",
    "ssh -p ",
    "holdfast --host ssh://admin@127.0.0.1:2222 status",
];

/// The lines in the code blocks of a section.
fn lines(readme: &str, title: &str) -> Vec<String> {
    let (_, after) = readme
        .split_once(&format!("\n### {title}\n"))
        .unwrap_or_else(|| panic!("README.md has no section `{title}`"));
    let section = after.split("\n##").next().unwrap_or_default();
    let lines = section.split("```").skip(1).step_by(2).flat_map(str::lines);
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A text with each of these in place of the other, none of them in what has taken the place of another.
fn with(text: &str, ports: &[(&str, String)]) -> String {
    let Some(((old, new), rest)) = ports.split_first() else { return text.to_owned() };
    let parts: Vec<String> = text.split(*old).map(|part| with(part, rest)).collect();
    parts.join(new.as_str())
}

/// A program that ends with the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Somebody's home, and the clone of the repository in which the lines are typed.
struct Workstation {
    /// What runs, ended before its files go.
    started: Vec<Started>,
    lab: Lab,
    /// What the README says of ports that others may have, and what is typed instead.
    ports: Vec<(&'static str, String)>,
    registry: u16,
}

impl Workstation {
    fn new() -> Workstation {
        let lab = Lab::new().unwrap();
        // All at once, so that no two are the same.
        let free = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let [registry, page, ssh] = free.map(|listener| listener.local_addr().unwrap().port());
        let ports = vec![
            ("5000", registry.to_string()),
            ("2222", ssh.to_string()),
            // That of the container, on which nginx listens, stays.
            (" 8080:", format!(" {page}:")),
            (":8080/", format!(":{page}/")),
        ];
        let workstation = Workstation { started: vec![], lab, ports, registry };
        workstation.make_clone();
        workstation.make_home();
        workstation
    }

    fn path(&self, name: &str) -> PathBuf {
        self.lab.dir().join(name)
    }

    /// What a clone has, and what was built in it.
    fn make_clone(&self) {
        let clone = self.path("clone");
        for folder in ["target/tool", "target/image", "target/relock"] {
            fs::create_dir_all(clone.join(folder)).unwrap();
        }
        let root = self.lab.root();
        for (there, name) in [
            (root.join("image"), "image"),
            (root.join("recipes"), "recipes"),
            (self.lab.builder(), "target/tool/holdfast-image"),
            (self.lab.cli(), "target/tool/holdfast"),
            (self.lab.image(), "target/image/holdfast.raw"),
            // The tools are those of another lock file where the mirror has lost some. Often there is none.
            (root.join("target/relock/holdfast.lock"), "target/relock/holdfast.lock"),
        ] {
            symlink(there, clone.join(name)).unwrap();
        }
    }

    /// A key, and an ssh that has it and meets each box for the first time, wherever it looks for the home.
    fn make_home(&self) {
        let home = self.path("home/.ssh");
        for folder in [&home, &self.path("bin"), &self.path("tmp")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::copy(self.lab.key().with_extension("pub"), home.join("id_ed25519.pub")).unwrap();
        let options = "-F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new";
        let (key, known) = (self.lab.key(), home.join("known_hosts"));
        let (key, known) = (key.display(), known.display());
        let text =
            format!("#!/bin/sh\nexec /usr/bin/ssh {options} -i {key} -o UserKnownHostsFile={known} \"$@\"\n");
        let ssh = self.path("bin/ssh");
        fs::write(&ssh, text).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A line as it is typed into a shell.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(with(line, &self.ports)).current_dir(self.path("clone")).stdin(Stdio::null());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        // What was fetched already is where it was.
        if std::env::var_os("XDG_CACHE_HOME").is_none() {
            let home = std::env::var_os("HOME").unwrap_or_default();
            command.env("XDG_CACHE_HOME", Path::new(&home).join(".cache"));
        }
        command.env("HOME", self.path("home")).env("TMPDIR", self.path("tmp")).env("HOLDFAST_RELOCK", "1");
        command
    }

    /// Runs a line to its end.
    fn run(&self, line: &str) {
        let done = self.command(line).output().unwrap();
        // Where this runs, name servers and time servers may be silent, which is something wrong.
        let complains = line.contains(" doctor ") && done.status.code() == Some(3);
        assert!(done.status.success() || complains, "{line}: {}", out(&done));
    }

    /// Starts a line whose program stays; what it says goes to a file.
    fn start(&mut self, line: &str, log: &str) {
        let log = File::create(self.path(log)).unwrap();
        let mut command = self.command(&format!("exec {line}"));
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.started.push(Started(child));
    }

    fn serve_images(&mut self, line: &str) {
        self.start(line.trim_end_matches(" &"), "registry.log");
        wait_until("the registry", CHANGE, || {
            TcpStream::connect(("127.0.0.1", self.registry)).map(drop).map_err(|error| error.to_string())
        });
    }

    /// Switches the box on, and waits until it says that it is healthy.
    fn boot(&mut self, line: &str) {
        self.start(line, "console.log");
        wait_until("a healthy box", BOOT, || {
            let said = self.console();
            if said.contains("holdfast: state healthy") { Ok(()) } else { Err(said) }
        });
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("console.log")).unwrap()).into_owned()
    }

    /// GETs the page of a line for curl, which the host need not have; the remark says what it is.
    fn get(&self, line: &str) {
        let line = with(line, &self.ports);
        let (command, page) = line.split_once(" # ").unwrap();
        let url = command.trim_start_matches("curl ").trim();
        wait_until("the page", CHANGE, || {
            let mut got = ureq::get(url).call().map_err(|error| error.to_string())?;
            let got = got.body_mut().read_to_string().map_err(|error| error.to_string())?;
            if got.trim() == page.trim() { Ok(()) } else { Err(got) }
        });
    }

    /// Presses Ctrl-C where the box was started.
    fn interrupt(&mut self) {
        let Started(child) = self.started.last_mut().unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let console = self.console();
        for word in TROUBLE {
            assert!(!console.contains(word), "{word}: {console}");
        }
    }
}

#[test]
fn full_the_commands_of_the_readme_lead_to_a_page() {
    let mut workstation = Workstation::new();
    let readme = fs::read_to_string(workstation.lab.root().join("README.md")).unwrap();
    let lines: Vec<String> = SECTIONS.iter().flat_map(|title| lines(&readme, title)).collect();
    for part in PARTS {
        assert!(lines.iter().any(|line| line.contains(part)), "no line of README.md has `{part}`");
    }
    for line in &lines {
        match line.as_str() {
            line if line.ends_with(" &") => workstation.serve_images(line),
            line if line.contains("holdfast-image run ") => workstation.boot(line),
            line if line.starts_with("curl ") => workstation.get(line),
            line => workstation.run(line),
        }
    }
    workstation.interrupt();
}
