//! `holdfast-image run`, as somebody uses it who tries an image.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use crate::common::BOOT;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qemu_tests::{Lab, TROUBLE};

/// The program with an image, and its temporary files in the lab.
fn run(lab: &Lab, image: &Path, arguments: &[&str]) -> Command {
    let temporary = lab.dir().join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(lab.builder());
    command.current_dir(lab.root()).arg("run").arg(image).args(arguments).env("TMPDIR", temporary);
    command
}

/// QEMU's command line.
fn words(lab: &Lab, arguments: &[&str]) -> Vec<String> {
    let Output { status, stdout, stderr } =
        run(lab, &lab.image(), arguments).arg("--print-command").output().unwrap();
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).unwrap()
}

/// The value of an option that is there once.
fn value<'a>(words: &'a [String], option: &str) -> &'a str {
    let found: Vec<usize> = (0..words.len()).filter(|at| words[*at] == option).collect();
    assert_eq!(found.len(), 1, "{option} in {words:?}");
    &words[found[0] + 1]
}

/// The file of the option that has `part`.
fn file(words: &[String], part: &str) -> PathBuf {
    let word = words.iter().find(|word| word.contains(part));
    let word = word.unwrap_or_else(|| panic!("no {part} in {words:?}"));
    let name = word.split(',').find_map(|item| item.strip_prefix("file="));
    name.unwrap_or_else(|| panic!("no file in {word}")).into()
}

fn holds(path: &Path, text: &str) -> bool {
    fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn each_option_is_in_the_command_line() {
    let lab = Lab::new().unwrap();
    let plain = words(&lab, &[]);
    assert_eq!((value(&plain, "-m"), value(&plain, "-smp")), ("1024", "2"));
    assert_eq!(value(&plain, "-netdev"), "user,id=net");
    assert!(!plain.iter().any(|word| word.contains("pflash") || word.contains("seed") || word == "-qmp"));

    let disk = lab.dir().join("own.qcow2");
    let disk = disk.to_str().unwrap();
    let more = words(
        &lab,
        &[
            "--memory",
            "768M",
            "--cpus",
            "3",
            "--forward",
            "8080:80",
            "--forward",
            "0.0.0.0:2222:22",
            "--firmware",
            "uefi",
            "--qmp",
            "/nonexistent/qmp",
            "--disk",
            disk,
            "--disk-size",
            "7",
        ],
    );
    assert_eq!((value(&more, "-m"), value(&more, "-smp")), ("768", "3"));
    let forwards = "user,id=net,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:0.0.0.0:2222-:22";
    assert_eq!(value(&more, "-netdev"), forwards);
    assert!(value(&more, "-qmp").starts_with("unix:/nonexistent/qmp,"));
    assert!(file(&more, "unit=0").ends_with("OVMF_CODE_4M.fd"));
    assert_eq!(file(&more, "id=disk"), Path::new(disk));
    // The size of the disk as the header of qcow2 has it.
    assert_eq!(fs::read(disk).unwrap()[24..32], (7u64 << 30).to_be_bytes());

    let document = lab.dir().join("box.toml");
    fs::write(&document, "format = 1\n# the document\n").unwrap();
    let key = format!("{}.pub", lab.key().display());
    let public = lab.public_key().unwrap();
    let channel = |channel: &str, more: &[&str]| {
        let arguments = ["--user-data", document.to_str().unwrap(), "--channel", channel];
        words(&lab, &[&arguments, more].concat())
    };
    for (name, label) in [("nocloud", "CIDATA"), ("config-drive", "CONFIG-2")] {
        let identity = ["--ssh-key", &key, "--hostname", "here", "--instance-id", "i-7"];
        let seed = file(&channel(name, &identity), "id=seed");
        for text in ["# the document", &public, "here"] {
            assert!(holds(&seed, text), "{name}: {text}");
        }
        assert!(String::from_utf8_lossy(&fs::read(&seed).unwrap()).to_uppercase().contains(label), "{name}");
        // A config drive names the instance by a UUID that is made of the name.
        assert_eq!(holds(&seed, "i-7"), name == "nocloud");
    }
    let fw_cfg = file(&channel("fw-cfg", &[]), "opt/holdfast/user-data");
    assert_eq!(fs::read(fw_cfg).unwrap(), fs::read(&document).unwrap());
    let smbios = channel("smbios", &[]);
    let credential = "type=11,value=io.systemd.credential.binary:holdfast.user-data=";
    assert_eq!(value(&smbios, "-smbios"), format!("{credential}Zm9ybWF0ID0gMQojIHRoZSBkb2N1bWVudAo="));

    fs::write(&document, "#".repeat(12 * 1024 + 1)).unwrap();
    let arguments = ["--channel", "smbios", "--print-command", "--user-data", document.to_str().unwrap()];
    let refused = run(&lab, &lab.image(), &arguments).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("12289 bytes") && said.contains("--channel nocloud"), "{said}");
}

/// A machine of `holdfast-image run`, until dropped.
struct Running {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Running {
    fn start(lab: &Lab, image: &Path, name: &str, arguments: &[&str]) -> Running {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let log = lab.dir().join(name);
        let mut command = run(lab, image, arguments);
        command.args(["--forward", &format!("{port}:80")]).stdout(File::create(&log).unwrap());
        Running { child: command.spawn().unwrap(), port, log }
    }

    fn wait_console(&mut self, text: &str) {
        let end = Instant::now() + BOOT;
        while !self.console().contains(text) {
            assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.console());
            assert!(Instant::now() < end, "no line with {text}: {}", self.console());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn wait_served(&mut self, text: &str) {
        let end = Instant::now() + BOOT;
        loop {
            let page = ureq::get(format!("http://127.0.0.1:{}/", self.port)).call();
            let page = page.ok().and_then(|mut page| page.body_mut().read_to_string().ok());
            if page.is_some_and(|page| page.contains(text)) {
                return;
            }
            assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.console());
            assert!(Instant::now() < end, "no page with {text}: {}", self.console());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Presses Ctrl-C and expects the end that it has.
    fn interrupt(mut self) -> String {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(130));
        TcpListener::bind(("127.0.0.1", self.port)).expect("QEMU is gone with its ports");
        let console = self.console();
        for word in TROUBLE {
            assert!(!console.contains(word), "{word}: {console}");
        }
        console
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn full_a_disk_is_kept_and_all_else_thrown_away() {
    let lab = Lab::new().unwrap();
    let document = lab.dir().join("box.toml");
    fs::write(&document, "[[recipe]]\nuse = \"hello\"\nparams = { word = \"kept-word\" }\n").unwrap();
    let disk = lab.dir().join("own.qcow2");
    let disk = ["--disk", disk.to_str().unwrap()];
    let with = ["--user-data", document.to_str().unwrap(), disk[0], disk[1]];
    let mut first = Running::start(&lab, &lab.image(), "first.log", &with);
    first.wait_served("kept-word");
    // What the box has accepted is on the disk; Ctrl-C is a power cut.
    let console = first.interrupt();
    assert!(console.contains("Holdfast: slot a on "), "the console is on the terminal: {console}");
    let mut second = Running::start(&lab, &lab.image(), "second.log", &disk);
    second.wait_served("kept-word");
    second.interrupt();
    nothing_is_left(&lab);
}

fn nothing_is_left(lab: &Lab) {
    let left: Vec<_> = fs::read_dir(lab.dir().join("tmp")).unwrap().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn full_a_qcow2_boots_with_a_config_drive() {
    let lab = Lab::new().unwrap();
    let document = lab.dir().join("box.toml");
    fs::write(&document, "[[recipe]]\nuse = \"hello\"\nparams = { word = \"drive-word\" }\n").unwrap();
    let key = format!("{}.pub", lab.key().display());
    let drive = ["--channel", "config-drive", "--hostname", "drive-host", "--ssh-key", &key];
    let with = [&["--user-data", document.to_str().unwrap()], &drive[..]].concat();
    let image = lab.image().with_extension("qcow2");
    let mut running = Running::start(&lab, &image, "qcow2.log", &with);
    running.wait_served("drive-word");
    running.wait_served("on drive-host");
    assert!(running.interrupt().contains("Holdfast: slot a on "));
    nothing_is_left(&lab);
}

#[test]
fn full_a_raw_gz_boots_on_uefi() {
    let lab = Lab::new().unwrap();
    let image = lab.image().with_extension("raw.gz");
    let mut running = Running::start(&lab, &image, "gz.log", &["--firmware", "uefi"]);
    running.wait_console("Holdfast: slot a on ");
    running.interrupt();
    nothing_is_left(&lab);
}
