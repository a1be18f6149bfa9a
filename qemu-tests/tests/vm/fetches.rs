//! Fetches of images: from a registry of the owner's own, without rights, and cut off.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use crate::common::{BOOT, CHANGE, DISK, apply, lab, out, resumed, text, up, wait_until};
use base64::prelude::{BASE64_STANDARD, Engine};
use qemu_tests::{Answer, Disk, Lab, Machine, NameServer, Registry, Setup, USER};

#[allow(dead_code, reason = "nothing is cut here but by what the box goes through")]
#[path = "../../../agent/containers/tests/support/proxy.rs"]
mod proxy;

/// A name of the registry's.
const NAME: &str = "registry.test";

/// A certificate authority of the owner's own.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    years: (i32, i32),
}

impl Authority {
    /// Valid whatever the time is.
    fn new() -> Authority {
        Authority::of(1975, 4096)
    }

    /// Valid from the first of these years to the second.
    pub(crate) fn of(from: i32, to: i32) -> Authority {
        let mut params = rcgen::CertificateParams::new([]).unwrap();
        limit(&mut params, (from, to));
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: rcgen::Issuer::new(params, key), years: (from, to) }
    }

    /// What `registry` holds, over TLS with a certificate for the address by which machines reach the host.
    pub(crate) fn registry(&self, lab: &Lab, registry: &Registry) -> Registry {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["10.0.2.2".to_owned(), NAME.to_owned()]).unwrap();
        limit(&mut params, self.years);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        registry.secured(lab, &certificate, &key.serialize_pem()).unwrap()
    }
}

fn limit(params: &mut rcgen::CertificateParams, (from, to): (i32, i32)) {
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
}

/// A document with one container, whose image a registry has that these settings are of.
pub(crate) fn document(host: &str, settings: &str) -> String {
    format!(
        "format = 1\n[box]\nhostname = \"box\"\n[[box.registry]]\nhost = \"{host}\"\n{settings}\n\
         [[recipe]]\nname = \"probe\"\n[recipe.containers.sh]\nimage = \"{host}/probe:1\"\n\
         entrypoint = [\"/bin/sleep\", \"1000000\"]\nstop_timeout = \"1s\"\n"
    )
}

/// Waits until the box says of itself that it is degraded, and why: all of these words.
fn degraded(machine: &Machine, words: &[&str]) {
    wait_until("a degraded box", CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        let said = status.to_string();
        let all = status["health"] == "degraded" && words.iter().all(|word| said.contains(word));
        if all { Ok(()) } else { Err(said) }
    });
}

const STAGING: &str = "/var/lib/holdfast/images/staging";

#[test]
fn a_registry_with_tls_and_users_is_used_with_what_the_owner_gave() {
    let (lab, registry) = lab();
    let authority = Authority::new();
    let secured = authority.registry(&lab, &registry);
    let access_to = |host: &str, ca: &str, password: &str| {
        let login = format!("username = \"{}\"\npassword = \"{password}\"\n", USER.0);
        let ca = if ca.is_empty() { String::new() } else { format!("ca = \"\"\"{ca}\"\"\"\n") };
        document(host, &(ca + &login))
    };
    let access = |ca: &str, password: &str| access_to(&secured.host(), ca, password);
    const WRONG: &str = "wrong-Ohw7aiGh3eiv";
    let other = Authority::new().pem;
    let mut machine = resumed(&lab, &access("", WRONG), &[]);
    let host = secured.host();
    let unknown = [host.as_str(), "invalid peer certificate", "give it as `ca`"];
    for (ca, words) in [
        ("", &unknown[..]),
        (
            &authority.pem,
            &[
                host.as_str(),
                "the registry answers 401 to the request for",
                "check `username` and `password`",
            ],
        ),
        (&other, &unknown),
    ] {
        let accepted = apply(&machine, &access(ca, WRONG), &["--no-wait"]);
        assert!(accepted.status.success(), "{}", out(&accepted));
        degraded(&machine, words);
        let login = BASE64_STANDARD.encode(format!("{}:{WRONG}", USER.0));
        for command in [&["status"][..], &["status", "--json"], &["events"], &["events", "--json"], &["logs"]]
        {
            let said = out(&machine.cli(command).unwrap());
            assert!(!said.contains(WRONG) && !said.contains(&login), "{command:?}: {said}");
        }
    }
    let accepted = apply(&machine, &access(&authority.pem, USER.1), &["--timeout", "170s"]);
    assert!(accepted.status.success(), "{}", out(&accepted));
    assert_eq!(text(&machine, &["exec", "probe.sh", "--", "/bin/echo", "runs"]), "runs");
    // As any public registry: by its name, with a certificate of one of those whom the image trusts.
    let trusted = "/etc/ssl/certs/ca-certificates.crt";
    let pem = BASE64_STANDARD.encode(&authority.pem);
    machine
        .shell(&format!(
            "(cat {trusted} && echo {pem} | base64 -d) >/run/trusted && mount --bind /run/trusted {trusted}"
        ))
        .unwrap();
    let names = NameServer::start(Answer::Address(Ipv4Addr::new(10, 0, 2, 2))).unwrap();
    names.redirect(&mut machine).unwrap();
    let named = access_to(&format!("{NAME}:{}", secured.port()), "", USER.1);
    let accepted = apply(&machine, &named, &["--timeout", "170s"]);
    assert!(accepted.status.success(), "{}", out(&accepted));
    assert!(text(&machine, &["images"]).contains(NAME), "{}", text(&machine, &["images"]));
    // The request held the password, too.
    assert_eq!(machine.shell(&format!("ls -A {STAGING}")).unwrap(), "");
    machine.kill().unwrap();
}

/// A fetch that waits for an answer.
struct Fetch {
    unit: String,
    pid: String,
    /// User and inode of its connection.
    socket: (String, String),
}

/// Waits until the box fetches from a port of the host.
fn fetching(machine: &mut Machine, port: u16) -> Fetch {
    // /proc/net/tcp: its third column is the other end, the fourth is 01 when it is connected.
    let sockets =
        format!("awk '$3 == \"0202000A:{port:04X}\" && $4 == \"01\" {{ print $8, $10 }}' /proc/net/tcp");
    wait_until("a fetch", CHANGE, || {
        let units = machine.shell(&format!("ls {STAGING}")).unwrap();
        let unit = format!("holdfast-fetch-{units}.service");
        let pid = machine.shell(&format!("systemctl show -p MainPID --value {unit}")).unwrap();
        let socket = machine.shell(&sockets).unwrap();
        match socket.split_once(' ') {
            Some((user, inode)) if pid != "0" => {
                Ok(Fetch { unit, pid, socket: (user.to_owned(), inode.to_owned()) })
            }
            _ => Err(format!("{unit} {pid} {socket}")),
        }
    })
}

#[test]
fn a_fetch_has_no_rights_and_leaves_nothing_when_it_is_killed() {
    let lab = Lab::new().unwrap();
    // Connections are made, and nobody answers.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let expected = ["memcg", "oom-kill", "Memory cgroup out of memory"];
    let host = format!("10.0.2.2:{port}");
    let mut machine = resumed(&lab, &document(&host, "plain_http = true"), &expected);
    let fetch = fetching(&mut machine, port);
    process(&mut machine, &fetch);
    settings_of_its_unit(&mut machine, &fetch.unit);
    what_it_can_reach(&mut machine, &fetch);
    killed(&mut machine, port);
    machine.kill().unwrap();
}

/// The process itself, and that it is the one that talks with the registry.
fn process(machine: &mut Machine, fetch: &Fetch) {
    let status = machine.shell(&format!("cat /proc/{}/status", fetch.pid)).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect::<Vec<_>>()
    };
    let account = machine.shell("grep ^holdfast-fetch: /etc/passwd").unwrap();
    let ids: Vec<&str> = account.split(':').skip(2).take(2).collect();
    assert_ne!(ids[0], "0");
    assert_eq!((field("Uid"), field("Gid")), (vec![ids[0]; 4], vec![ids[1]; 4]));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), (vec!["1"], vec!["2"]));

    assert_eq!(fetch.socket.0, ids[0], "the connection's user");
    let holds = |machine: &mut Machine, pid: &str| {
        let open = machine.shell(&format!("ls -l /proc/{pid}/fd")).unwrap();
        assert!(open.contains("socket:["), "{open}");
        open.contains(&format!("socket:[{}]", fetch.socket.1))
    };
    assert!(holds(machine, &fetch.pid) && !holds(machine, "$(pidof holdfastd)"));
}

/// What systemd was told; a part of it shows in no other way.
const UNIT: [(&str, &str); 34] = [
    ("User", "holdfast-fetch"),
    ("MemoryMax", "268435456"),
    ("TasksMax", "64"),
    ("RuntimeMaxUSec", "1h"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("ProtectProc", "invisible"),
    ("ProcSubset", "pid"),
    ("PrivateUsers", "yes"),
    ("UMask", "0077"),
    ("KeyringMode", "private"),
    ("InaccessiblePaths", "-/run/holdfast -/run/dbus"),
    ("NoNewPrivileges", "yes"),
    ("PrivateDevices", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateIPC", "yes"),
    ("PrivateNetwork", "no"),
    ("ProtectClock", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("LockPersonality", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("RestrictNamespaces", "yes"),
    ("CapabilityBoundingSet", ""),
    ("AmbientCapabilities", ""),
    ("SupplementaryGroups", ""),
    ("SystemCallArchitectures", "native"),
    ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ("IPAddressDeny", "169.254.169.254/32"),
];

fn settings_of_its_unit(machine: &mut Machine, unit: &str) {
    let shown = machine.shell(&format!("systemctl show --all {unit}")).unwrap();
    let shown: BTreeMap<&str, &str> = shown.lines().filter_map(|line| line.split_once('=')).collect();
    for (name, value) in UNIT {
        assert_eq!(shown.get(name), Some(&value), "{name}");
    }
    assert_eq!(shown["ReadWritePaths"], staging_of(unit));
    let calls: Vec<&str> = shown["SystemCallFilter"].split_whitespace().collect();
    assert!(calls.contains(&"connect"));
    for call in ["mount", "ptrace", "bpf", "init_module", "reboot", "swapon"] {
        assert!(!calls.contains(&call), "{call}");
    }
}

/// The staging folder that a unit works in.
fn staging_of(unit: &str) -> String {
    let id = unit.trim_start_matches("holdfast-fetch-").trim_end_matches(".service");
    format!("{STAGING}/{id}")
}

/// What even root could write and read where the process is.
fn what_it_can_reach(machine: &mut Machine, fetch: &Fetch) {
    let enter = format!("nsenter -t {} -m /run/lab/busybox", fetch.pid);
    let mut tried = |place: &str| {
        machine.shell(&format!("{enter} touch {place}/tried 2>&1 && rm {place}/tried || true")).unwrap()
    };
    assert_eq!(tried(&staging_of(&fetch.unit)), "");
    for place in [STAGING, "/var/lib/holdfast/images", "/var/lib/holdfast", "/etc", "/usr/bin"] {
        let said = tried(place);
        assert!(said.contains("Read-only file system"), "{place}: {said}");
    }
    for (place, open) in [("/run/holdfast", false), ("/run/dbus", false), ("/etc", true)] {
        assert_ne!(machine.shell(&format!("ls -A {place}")).unwrap(), "", "{place} on the box");
        let seen = machine.shell(&format!("{enter} ls -A {place}")).unwrap();
        assert_eq!(!seen.is_empty(), open, "{place}: {seen}");
    }
    let devices = machine.shell(&format!("{enter} ls /dev")).unwrap();
    assert!(devices.contains("null") && !devices.contains("vda"), "{devices}");
}

/// As when it takes more memory or time than it may.
fn killed(machine: &mut Machine, port: u16) {
    let memory = "echo 65536 >/sys/fs/cgroup/$(sed s/0::// /proc/PID/cgroup)/memory.max";
    for (kill, says) in [("kill -9 PID", "the fetch was killed"), (memory, "more than 256 MiB of memory")] {
        wait_until("nothing that is left, and the cause", CHANGE, || {
            let fetch = fetching(machine, port);
            machine.shell(&kill.replace("PID", &fetch.pid)).unwrap();
            // Until the next attempt begins there is time to look more than once.
            let empty = format!("test -z \"$(ls -A {STAGING})$(ls -A {STAGING})$(ls -A {STAGING})\"");
            let look =
                format!("n=0; until {empty}; do n=$((n + 1)); test $n -lt 100 || break; done; {empty}");
            let left = machine.shell(&format!("({look}) || ls -A {STAGING}")).unwrap();
            let said = machine.json(&["status"], &[0, 3]).unwrap().to_string();
            if left.is_empty() && said.contains(says) { Ok(()) } else { Err(format!("{left}: {said}")) }
        });
    }
}

/// Bytes of an app's layers, configuration and manifest.
fn bytes(lab: &Lab, app: &str) -> u64 {
    let blobs = std::fs::read_dir(lab.app(app).join("blobs/sha256")).unwrap();
    blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn full_a_pull_that_is_cut_goes_on_after_a_restart_and_after_a_power_cut() {
    let (lab, registry) = lab();
    let port = registry.host().split_once(':').unwrap().1.to_owned();
    let proxy = proxy::Proxy::start(&format!("127.0.0.1:{port}"), u64::MAX);
    let host = format!("10.0.2.2:{}", proxy.host.split_once(':').unwrap().1);
    let whole = bytes(&lab, "probe");
    let held = || {
        let passed = || format!("{} bytes", proxy.passed());
        wait_until("a pull that waits", BOOT, || if proxy.holds() { Ok(()) } else { Err(passed()) });
    };
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup { shell: true, ..Setup::with(document(&host, "plain_http = true")) };

    proxy.hold_after(whole / 3);
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    held();
    machine.shell("systemctl restart holdfastd").unwrap();
    proxy.hold_after(whole * 2 / 3);
    held();
    machine.shell("sync").unwrap();
    machine.kill().unwrap();

    proxy.hold_after(u64::MAX);
    let mut machine = Machine::boot(&lab, &disk, &setup).unwrap();
    up(&machine, &["probe.sh"]);
    let passed = proxy.passed();
    println!("{passed} of {whole} bytes");
    assert!(passed < whole + whole / 5, "{passed} of {whole}");
    let left =
        "ls -A /var/lib/holdfast/images/staging /var/lib/holdfast/images/downloads | grep -v : || true";
    assert_eq!(machine.shell(left).unwrap().trim(), "");
    machine.kill().unwrap();
}
