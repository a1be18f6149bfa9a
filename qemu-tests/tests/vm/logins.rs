//! Who logs in, and that ssh gives the command line and nothing else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::common::{CHANGE, apply, lab, out, resumed, settings, wait_until};
use qemu_tests::{Lab, Machine, Setup};

/// What ssh says when the box takes no key of those offered.
const REFUSED: &str = "Permission denied (publickey";

/// Algorithms that a client may ask for alone, and what ssh says of a box that has none of them.
const OLD: [(&str, &str); 8] = [
    ("KexAlgorithms=diffie-hellman-group14-sha256", "no matching key exchange method found"),
    ("KexAlgorithms=ecdh-sha2-nistp256", "no matching key exchange method found"),
    ("Ciphers=aes128-cbc", "no matching cipher found"),
    ("Ciphers=chacha20-poly1305@openssh.com", "no matching cipher found"),
    ("Ciphers=aes256-ctr MACs=hmac-sha1", "no matching MAC found"),
    ("Ciphers=aes256-ctr MACs=hmac-sha2-256", "no matching MAC found"),
    ("HostKeyAlgorithms=rsa-sha2-512", "no matching host key type found"),
    ("HostKeyAlgorithms=ecdsa-sha2-nistp256", "no matching host key type found"),
];

/// Those that get in.
const MODERN: [&str; 2] = [
    "KexAlgorithms=curve25519-sha256 Ciphers=aes256-gcm@openssh.com HostKeyAlgorithms=ssh-ed25519",
    "KexAlgorithms=sntrup761x25519-sha512@openssh.com Ciphers=aes128-ctr MACs=hmac-sha2-256-etm@openssh.com",
];

/// A key of somebody whom the provider does not know: the private half's file, and the public line.
pub(crate) fn key(lab: &Lab, name: &str) -> (PathBuf, String) {
    let path = lab.dir().join(name);
    let mut make = Command::new("ssh-keygen");
    let made = make.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path).status().unwrap();
    assert!(made.success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    (path, public.trim().to_owned())
}

/// Logs in with this key alone and says what came of it.
fn log_in(machine: &Machine, key: &Path, user: &str) -> Output {
    machine.ssh_with(key).arg("-v").arg(format!("{user}@127.0.0.1")).arg("version").output().unwrap()
}

/// Applies a document by somebody's key alone, with more arguments.
fn apply_by(machine: &Machine, key: &Path, document: &str, more: &[&str]) -> Output {
    let mut ssh = machine.ssh_with(key);
    ssh.args(["admin@127.0.0.1", "apply", "--no-wait"]).args(more).arg("-");
    let streams = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Lets sshd forget who was refused: it makes those wait, here everyone, who all have one address.
fn forgive(machine: &mut Machine) {
    machine.shell("systemctl restart sshd").unwrap();
}

/// Waits until the admin gets in with this key.
fn enters(machine: &mut Machine, key: &Path) {
    wait_until("a login", CHANGE, || {
        let tried = log_in(machine, key, "admin");
        if tried.status.success() {
            return Ok(());
        }
        forgive(machine);
        Err(out(&tried))
    });
}

/// Waits until the box takes this key no more.
fn refused(machine: &mut Machine, key: &Path) {
    wait_until("a refused login", CHANGE, || {
        let tried = log_in(machine, key, "admin");
        forgive(machine);
        if out(&tried).contains(REFUSED) { Ok(()) } else { Err(out(&tried)) }
    });
}

/// Starts the agent anew, with this document of the provider's for a machine that it gave another name.
fn offered(machine: &mut Machine, instance_id: &str, document: &str) {
    let setup = Setup { instance_id: instance_id.into(), ..Setup::with(document) };
    machine.offer(&setup).unwrap();
    machine.shell("systemctl restart holdfastd").unwrap();
}

/// `[box]` with these lines, and no instance.
fn settings_with(lines: &str) -> String {
    format!("format = 1\n[box]\nhostname = \"box\"\n{lines}\n")
}

#[test]
fn admins_of_user_data_get_in_and_the_providers_keys_only_where_wanted() {
    let (lab, registry) = lab();
    let (second, second_line) = key(&lab, "second");
    let (third, third_line) = key(&lab, "third");
    let (fourth, fourth_line) = key(&lab, "fourth");
    let admins = |line: &str| format!("admins = [\"{line}\"]");
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    let providers = machine.key().to_owned();
    refused(&mut machine, &second);
    let done = apply(&machine, &settings_with(&admins(&second_line)), &[]);
    assert!(done.status.success(), "{}", out(&done));
    enters(&mut machine, &second);
    enters(&mut machine, &providers);

    // A newer document that is no good: its admins come in beside those of the accepted one.
    let broken = format!("{}\n[[recipe]]\nname = ", settings_with(&admins(&third_line)));
    offered(&mut machine, "i-2", &broken);
    for key in [&third, &second, &providers] {
        enters(&mut machine, key);
    }

    // Nothing was ever accepted: what can be read of the document counts, all of `[box]` or its admins.
    let forget = "systemctl stop holdfastd; cd /var/lib/holdfast; rm -r generations provider.json; cd /";
    machine.shell(forget).unwrap();
    offered(&mut machine, "i-3", &settings_with(&format!("{}\nhostnam = 1", admins(&fourth_line))));
    enters(&mut machine, &fourth);
    enters(&mut machine, &providers);
    refused(&mut machine, &third);
    machine.shell(forget).unwrap();
    let own = format!("provider_keys = false\n{}\n[[recipe]]\nname = 7", admins(&third_line));
    offered(&mut machine, "i-4", &settings_with(&own));
    enters(&mut machine, &third);
    refused(&mut machine, &providers);

    // A cloud-config is no document of ours: it is said, and its owner gets in to give one.
    machine.shell(forget).unwrap();
    let config = format!("#cloud-config\npackages: [nginx]\nssh_authorized_keys:\n  - {second_line}\n");
    offered(&mut machine, "i-5", &config);
    enters(&mut machine, &second);
    refused(&mut machine, &third);
    let status = machine.cli(&["status"]).unwrap();
    assert_eq!(status.status.code(), Some(3), "{}", out(&status));
    assert!(out(&status).contains("cloud-config") && out(&status).contains("init"), "{}", out(&status));

    // As one part of a message it is passed over, and the document is the part that is one.
    let part = |kind: &str, text: &str| format!("--=_x\nContent-Type: {kind}\n\n{text}\n");
    let ours = settings_with(&admins(&third_line));
    let parts = part("text/cloud-config", &config) + &part("application/toml", &ours);
    let message =
        format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_x\"\n\n{parts}--=_x--\n");
    offered(&mut machine, "i-6", &message);
    enters(&mut machine, &third);
    refused(&mut machine, &second);
    let status = out(&machine.cli(&["status"]).unwrap());
    assert!(status.contains("part 1 is text/cloud-config and is ignored"), "{status}");
    machine.kill().unwrap();
}

#[test]
fn full_admins_of_a_rejected_document_get_in_where_the_providers_keys_do_not() {
    let (lab, registry) = lab();
    let (second, second_line) = key(&lab, "second");
    let (third, third_line) = key(&lab, "third");
    let document = |line: &str| settings_with(&format!("provider_keys = false\nadmins = [\"{line}\"]"));
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    let done = apply(&machine, &document(&second_line), &["--no-wait", "--force"]);
    assert!(done.status.success(), "{}", out(&done));
    enters(&mut machine, &second);
    let providers = machine.key().to_owned();
    refused(&mut machine, &providers);
    let broken = |line: &str| format!("{}\n[[recipe]]\nname = ", document(line));
    offered(&mut machine, "i-2", &broken(&third_line));
    enters(&mut machine, &third);
    enters(&mut machine, &second);
    refused(&mut machine, &providers);

    // Who is in by that document has tried its key, and mends it.
    let done = apply_by(&machine, &third, &document(&third_line), &[]);
    assert!(done.status.success(), "{}", out(&done));
    refused(&mut machine, &second);
    enters(&mut machine, &third);

    // Where nobody else may log in, no document takes that away either.
    let nobody = settings_with("provider_keys = false");
    let done = apply_by(&machine, &third, &nobody, &["--force"]);
    assert!(done.status.success(), "{}", out(&done));
    refused(&mut machine, &third);
    offered(&mut machine, "i-3", &broken(&second_line));
    enters(&mut machine, &second);
    let done = apply_by(&machine, &second, &nobody, &[]);
    assert_eq!(done.status.code(), Some(5), "{}", out(&done));
    enters(&mut machine, &second);
    machine.kill().unwrap();
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ssh_gives_the_command_line_and_nothing_else() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    machine.wait_ssh(CHANGE).unwrap();
    assert_eq!(holes(&lab, &mut machine), Vec::<&str>::new());
    for options in MODERN {
        wait_until(options, CHANGE, || {
            let tried = log_in_by(&machine, options);
            if tried.status.success() {
                return Ok(());
            }
            forgive(&mut machine);
            Err(out(&tried))
        });
    }

    // With another configuration all of it is there: the probes can succeed.
    let loosen = "s/^\\(DisableForwarding\\|AuthenticationMethods\\|AllowUsers\\|PermitListen\\|PermitOpen\\).*//; \
                  s/^\\(KexAlgorithms\\|Ciphers\\|MACs\\).*//; \
                  s/^\\(Allow[A-Za-z]*Forwarding\\|PermitRootLogin\\|PasswordAuthentication\\) no/\\1 yes/";
    machine.shell(&format!("sed '{loosen}' /etc/ssh/sshd_config >/run/loose")).unwrap();
    for line in [
        "AcceptEnv LD_LIBRARY_PATH",
        "KexAlgorithms +diffie-hellman-group14-sha256,ecdh-sha2-nistp256",
        "Ciphers +aes128-cbc,chacha20-poly1305@openssh.com",
        "MACs +hmac-sha1,hmac-sha2-256",
    ] {
        machine.shell(&format!("echo '{line}' >>/run/loose")).unwrap();
    }
    machine.shell("sed 's,/usr/sbin/nologin,/usr/bin/holdfast,' /etc/passwd >/run/passwd").unwrap();
    machine.shell("mount --bind /run/passwd /etc/passwd").unwrap();
    machine.shell("mount --bind /run/loose /etc/ssh/sshd_config && systemctl restart sshd").unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    let all = ["-L", "-L to the API", "-D", "-R", "-A", "environment", "password", "root", "messagebus"];
    // There is no host key of another kind, whatever is asked for.
    let old = OLD.iter().map(|(options, _)| *options).filter(|options| !options.starts_with("HostKey"));
    assert_eq!(holes(&lab, &mut machine), all.into_iter().chain(old).collect::<Vec<_>>());
    no_file_is_copied(&lab, &machine);
    machine.kill().unwrap();
}

/// What ssh gives beside the command line.
fn holes(lab: &Lab, machine: &mut Machine) -> Vec<&'static str> {
    let mut found = Vec::new();
    // The server there greets whoever reaches it.
    if tunnelled(machine, "-L", |port| format!("{port}:127.0.0.1:22"), b"", "SSH-") {
        found.push("-L");
    }
    let to_api = |port| format!("{port}:/run/holdfast/api.sock");
    if tunnelled(machine, "-L", to_api, b"GET /v1/status HTTP/1.0\r\n\r\n", "HTTP/") {
        found.push("-L to the API");
    }
    // SOCKS 5, RFC 1928: no authentication; connect to 127.0.0.1, port 22.
    let socks = [5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 22];
    if tunnelled(machine, "-D", |port| format!("127.0.0.1:{port}"), &socks, "SSH-") {
        found.push("-D");
    }
    let mut remote = machine.ssh_command();
    remote.args(["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "admin@127.0.0.1", "version"]);
    if remote.output().unwrap().status.success() {
        found.push("-R");
    }
    found.extend(session(lab, machine));
    found.extend(other_logins(machine));
    found.extend(old_algorithms(machine));
    found
}

/// Logs in with nothing but these algorithms, and says what came of it.
fn log_in_by(machine: &Machine, options: &str) -> Output {
    let mut ssh = machine.ssh_command();
    ssh.arg("-v");
    for option in options.split(' ') {
        ssh.args(["-o", option]);
    }
    ssh.args(["admin@127.0.0.1", "version"]).output().unwrap()
}

/// Those of [`OLD`] by which a login gets in.
fn old_algorithms(machine: &mut Machine) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (options, refusal) in OLD {
        let enters = wait_until(options, CHANGE, || {
            let tried = log_in_by(machine, options);
            match (tried.status.success(), out(&tried).contains(refusal)) {
                (true, false) => Ok(true),
                (false, true) => Ok(false),
                _ => {
                    forgive(machine);
                    Err(out(&tried))
                }
            }
        });
        if enters {
            found.push(options);
        }
    }
    found
}

/// Sends bytes through a forwarded port; whether what comes back until the end has `wanted` in it.
fn tunnelled(machine: &Machine, option: &str, to: impl Fn(u16) -> String, send: &[u8], wanted: &str) -> bool {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut ssh = machine.ssh_command();
    ssh.args(["-N", option, &to(port), "admin@127.0.0.1"]);
    let _running = Running(ssh.stdin(Stdio::null()).spawn().unwrap());
    let mut stream = wait_until("ssh's own end of the tunnel", CHANGE, || {
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    });
    stream.set_read_timeout(Some(CHANGE)).unwrap();
    // Fails where the tunnel is closed by then.
    let _ = stream.write_all(send);
    let (mut came, mut part) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&came).contains(wanted) {
        match stream.read(&mut part) {
            Ok(0) => return false,
            Ok(read) => came.extend(&part[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
            Err(error) => panic!("{option}: neither open nor closed: {error}"),
        }
    }
    true
}

/// An open session: its processes can do nothing that others cannot, and have nothing of the caller's.
fn session(lab: &Lab, machine: &mut Machine) -> Vec<&'static str> {
    // A command that has nothing to write does not see that its caller has gone.
    machine.shell("kill $(pidof holdfast) 2>/dev/null; while pidof holdfast; do sleep 1; done").unwrap();
    let socket = lab.dir().join("agent");
    // One of the last time may have been left.
    let _ = std::fs::remove_file(&socket);
    let mut agent = Command::new("ssh-agent");
    let _agent = Running(agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap());
    wait_until("ssh-agent", CHANGE, || if socket.exists() { Ok(()) } else { Err("no socket".to_owned()) });
    let mut ssh = machine.ssh_command();
    ssh.args(["-A", "-o", "SetEnv=LD_LIBRARY_PATH=/given", "admin@127.0.0.1", "events", "-f"]);
    ssh.env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null()).stdout(Stdio::null());
    let _session = Running(ssh.spawn().unwrap());
    let pid = wait_until("the session", CHANGE, || {
        let pid = machine.shell("pidof holdfast || true").unwrap();
        if pid.is_empty() { Err(pid) } else { Ok(pid) }
    });
    let parent = machine.shell(&format!("awk '/^PPid:/ {{ print $2 }}' /proc/{pid}/status")).unwrap();
    for (pid, name) in [(&pid, "holdfast"), (&parent, "sshd-session")] {
        let status = machine.shell(&format!("cat /proc/{pid}/status")).unwrap();
        assert!(status.starts_with(&format!("Name:\t{name}\n")), "{status}");
        assert!(status.contains("\nUid:\t1000\t1000\t1000\t1000\n"), "{status}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(status.contains(&format!("\n{set}:\t0000000000000000\n")), "{set}: {status}");
        }
    }
    let environment = machine.shell(&format!("tr '\\0' '\\n' </proc/{pid}/environ")).unwrap();
    assert!(environment.contains("SSH_CONNECTION="), "{environment}");
    let holes = [("SSH_AUTH_SOCK=", "-A"), ("LD_LIBRARY_PATH=", "environment")];
    holes.iter().filter(|(variable, _)| environment.contains(variable)).map(|(_, hole)| *hole).collect()
}

/// Ways in that are not the admin's key.
fn other_logins(machine: &mut Machine) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut password = machine.ssh_command();
    password.args(["-v", "-o", "PubkeyAuthentication=no", "-o"]);
    password.args(["PreferredAuthentications=password,keyboard-interactive", "admin@127.0.0.1", "version"]);
    let said = wait_until("a refused login", CHANGE, || {
        let said = out(&password.output().unwrap());
        forgive(machine);
        if said.contains("Authentications that can continue: ") { Ok(said) } else { Err(said) }
    });
    assert!(!said.contains("Authentication succeeded"), "{said}");
    if !said.lines().any(|line| line.trim_end().ends_with("Authentications that can continue: publickey")) {
        found.push("password");
    }
    let key = machine.key().to_owned();
    for user in ["root", "messagebus"] {
        let authenticated = format!("Authenticated to 127.0.0.1 ([127.0.0.1]:{})", port(machine));
        wait_until("an answer to a login", CHANGE, || {
            let said = out(&log_in(machine, &key, user));
            forgive(machine);
            match (said.contains(&authenticated), said.contains(REFUSED)) {
                (true, _) => found.push(user),
                (false, true) => {}
                (false, false) => return Err(said),
            }
            Ok(())
        });
    }
    found
}

/// Where ssh reaches the box.
fn port(machine: &Machine) -> String {
    let ssh = machine.ssh_command();
    let arguments: Vec<_> = ssh.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
    let at = arguments.iter().position(|a| a == "-p").unwrap();
    arguments[at + 1].clone()
}

/// Programs that copy files are told what to use instead.
fn no_file_is_copied(lab: &Lab, machine: &Machine) {
    let file = lab.dir().join("file");
    std::fs::write(&file, "content").unwrap();
    let file = file.to_str().unwrap();
    for (program, arguments, told) in [
        ("scp", &["-O", file, "admin@127.0.0.1:/tmp/"][..], true),
        ("scp", &["-O", "admin@127.0.0.1:/etc/passwd", file], true),
        ("sftp", &["admin@127.0.0.1"], true),
        // By SFTP, of which it shows no server's words.
        ("scp", &["-s", file, "admin@127.0.0.1:/tmp/"], false),
        ("scp", &["-s", "admin@127.0.0.1:/etc/passwd", file], false),
    ] {
        let mut copy = Command::new(program);
        // What leads to the box is the same, but for the letter of the port.
        let ssh = machine.ssh_command();
        let same = ssh.get_args().filter(|argument| *argument != "-T" && *argument != "-q");
        copy.args(same.map(|argument| if argument == "-p" { "-P".as_ref() } else { argument }));
        let done = copy.args(arguments).stdin(Stdio::null()).output().unwrap();
        let said = out(&done);
        assert!(!done.status.success(), "{program} {arguments:?}: {said}");
        let hint = said.contains("is not on this box") && said.contains("volumes import");
        assert!(hint || !told, "{program} {arguments:?}: {said}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "content");
    }
}
