//! What the image's units, kernel settings and arguments are held to. What comes of them is measured in virtual
//! machines; here they cannot be lost unnoticed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The sandboxing that each unit of ours has, with the values that count. A unit that cannot have one says why in
/// a line `# Not DIRECTIVE, …: reason`.
const SANDBOX: [(&str, &[&str]); 27] = [
    ("AmbientCapabilities", &[""]),
    ("CapabilityBoundingSet", &[]),
    ("IPAddressDeny", &["any"]),
    ("LockPersonality", &["yes"]),
    ("MemoryDenyWriteExecute", &["yes"]),
    ("NoNewPrivileges", &["yes"]),
    ("PrivateDevices", &["yes"]),
    ("PrivateIPC", &["yes"]),
    ("PrivateNetwork", &["yes"]),
    ("PrivateTmp", &["yes"]),
    ("PrivateUsers", &["yes"]),
    ("ProcSubset", &["pid"]),
    ("ProtectClock", &["yes"]),
    ("ProtectControlGroups", &["yes", "strict"]),
    ("ProtectHome", &["yes"]),
    ("ProtectHostname", &["yes"]),
    ("ProtectKernelLogs", &["yes"]),
    ("ProtectKernelModules", &["yes"]),
    ("ProtectKernelTunables", &["yes"]),
    ("ProtectProc", &["invisible"]),
    ("ProtectSystem", &["strict"]),
    ("RestrictAddressFamilies", &[]),
    ("RestrictNamespaces", &["yes"]),
    ("RestrictRealtime", &["yes"]),
    ("RestrictSUIDSGID", &["yes"]),
    ("SystemCallArchitectures", &["native", "native x86"]),
    ("SystemCallFilter", &[]),
];

/// All that sshd takes of each kind. Without such a line OpenSSH's own choice would hold.
const ALGORITHMS: [(&str, &[&str]); 5] = [
    (
        "KexAlgorithms",
        &[
            "mlkem768x25519-sha256",
            "sntrup761x25519-sha512",
            "sntrup761x25519-sha512@openssh.com",
            "curve25519-sha256",
            "curve25519-sha256@libssh.org",
        ],
    ),
    ("HostKeyAlgorithms", &["ssh-ed25519"]),
    ("Ciphers", &["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes128-ctr"]),
    ("MACs", &["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"]),
    ("CASignatureAlgorithms", &["ssh-ed25519"]),
];

/// Kernel settings that the Kernel Self Protection Project recommends, and others of the same kind.
const SETTINGS: [(&str, &str); 28] = [
    ("dev.tty.ldisc_autoload", "0"),
    ("dev.tty.legacy_tiocsti", "0"),
    ("fs.protected_fifos", "2"),
    ("fs.protected_hardlinks", "1"),
    ("fs.protected_regular", "2"),
    ("fs.protected_symlinks", "1"),
    ("fs.suid_dumpable", "0"),
    ("kernel.core_pattern", "|/bin/false"),
    ("kernel.dmesg_restrict", "1"),
    ("kernel.io_uring_disabled", "2"),
    ("kernel.kexec_load_disabled", "1"),
    ("kernel.kptr_restrict", "2"),
    ("kernel.modules_disabled", "1"),
    ("kernel.oops_limit", "100"),
    ("kernel.panic_on_oops", "1"),
    ("kernel.perf_event_paranoid", "3"),
    ("kernel.randomize_va_space", "2"),
    ("kernel.sysrq", "0"),
    ("kernel.unprivileged_bpf_disabled", "1"),
    ("kernel.unprivileged_userns_clone", "0"),
    ("kernel.warn_limit", "100"),
    ("kernel.yama.ptrace_scope", "3"),
    ("net.core.bpf_jit_harden", "2"),
    ("user.max_user_namespaces", "0"),
    ("vm.mmap_min_addr", "65536"),
    ("vm.mmap_rnd_bits", "32"),
    ("vm.mmap_rnd_compat_bits", "16"),
    ("vm.unprivileged_userfaultfd", "0"),
];

/// Kernel arguments, likewise.
const ARGUMENTS: [&str; 23] = [
    "bdev_allow_write_mounted=0",
    "cfi=kcfi",
    "debugfs=off",
    "hardened_usercopy=1",
    "ia32_emulation=0",
    "init_on_alloc=1",
    "init_on_free=1",
    "iommu.passthrough=0",
    "iommu.strict=1",
    "iommu=force",
    "kfence.sample_interval=100",
    "lockdown=confidentiality",
    "mitigations=auto,nosmt",
    "module.sig_enforce=1",
    "nosmt",
    "oops=panic",
    "page_alloc.shuffle=1",
    "proc_mem.force_override=ptrace",
    "pti=on",
    "randomize_kstack_offset=1",
    "slab_nomerge",
    "spec_store_bypass_disable=on",
    "vsyscall=none",
];

/// What each unit may do at most, word by word: what it gains is seen here.
const RIGHTS: [&str; 21] = [
    "dbus-broker.service.d/10-holdfast.conf:CapabilityBoundingSet=CAP_AUDIT_WRITE CAP_SETGID CAP_SETPCAP CAP_SETUID",
    "dbus-broker.service.d/10-holdfast.conf:RestrictAddressFamilies=AF_UNIX AF_NETLINK",
    "dbus-broker.service.d/10-holdfast.conf:SystemCallFilter=@system-service",
    "holdfast-trial-agent.service:CapabilityBoundingSet=",
    "holdfast-trial-agent.service:RestrictAddressFamilies=AF_UNIX",
    "holdfast-trial-agent.service:SystemCallFilter=@system-service",
    "holdfast-trial.service:CapabilityBoundingSet=",
    "holdfast-trial.service:RestrictAddressFamilies=AF_UNIX",
    "holdfast-trial.service:SystemCallFilter=@system-service",
    "holdfastd.service:CapabilityBoundingSet=~CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_BLOCK_SUSPEND CAP_BPF CAP_LEASE CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_PERFMON CAP_SYS_BOOT CAP_SYS_MODULE CAP_SYS_PACCT CAP_SYS_RAWIO CAP_SYSLOG CAP_WAKE_ALARM",
    "holdfastd.service:RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET",
    "holdfastd.service:SystemCallFilter=~@cpu-emulation @module @obsolete @raw-io @reboot @swap",
    "sshd.service:CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_KILL CAP_NET_BIND_SERVICE CAP_SETGID CAP_SETUID CAP_SYS_CHROOT CAP_SYS_RESOURCE",
    "sshd.service:RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "sshd.service:SystemCallFilter=@system-service chroot",
    "systemd-journald.service.d/10-holdfast.conf:CapabilityBoundingSet=CAP_SYS_RESOURCE",
    "systemd-tmpfiles-clean.service.d/10-holdfast.conf:CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER",
    "systemd-tmpfiles-clean.service.d/10-holdfast.conf:RestrictAddressFamilies=AF_UNIX",
    "systemd-tmpfiles-clean.service.d/10-holdfast.conf:SystemCallFilter=@system-service",
    "systemd-udevd.service.d/10-holdfast.conf:CapabilityBoundingSet=~CAP_BPF CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_PERFMON CAP_SETPCAP CAP_SYS_BOOT CAP_SYS_CHROOT CAP_SYS_MODULE CAP_SYS_PTRACE CAP_SYS_RAWIO CAP_SYSLOG",
    "systemd-udevd.service.d/10-holdfast.conf:SystemCallFilter=~@module @raw-io bpf",
];

fn image() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(image().join(path)).unwrap()
}

/// The directives that are not set as they should be, and for which no reason is given either.
fn lost(unit: &str) -> Vec<&'static str> {
    let set: Vec<(&str, &str)> = unit.lines().filter_map(|line| line.split_once('=')).collect();
    let excused = |directive: &str| {
        let reasons = unit.lines().filter_map(|line| line.strip_prefix("# Not ")?.split_once(": "));
        reasons.filter(|(_, why)| why.len() > 10).any(|(names, _)| names.split(", ").any(|n| n == directive))
    };
    let holds = |directive: &str, values: &[&str]| {
        let last = set.iter().rfind(|(name, _)| *name == directive);
        last.is_some_and(|(_, value)| values.is_empty() || values.contains(value))
    };
    let missing = SANDBOX.iter().filter(|(name, values)| !holds(name, values) && !excused(name));
    missing.map(|(name, _)| *name).collect()
}

#[test]
fn each_unit_of_ours_is_sandboxed_or_says_why_not() {
    let folder = image().join("files/usr/lib/systemd/system");
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let services: Vec<String> = names.filter(|name| name.ends_with(".service")).collect();
    assert!(services.contains(&"holdfastd.service".to_owned()), "{services:?}");
    for name in services {
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        assert_eq!(lost(&text), Vec::<&str>::new(), "{name}");
        for (directive, _) in SANDBOX {
            let without: String = text
                .split_inclusive('\n')
                .filter(|line| !line.starts_with(&format!("{directive}=")))
                .map(
                    |line| {
                        if line.starts_with("# Not ") { line.replace(directive, "X") } else { line.into() }
                    },
                )
                .collect();
            assert_eq!(lost(&without), [directive], "{name}: its loss is not seen");
        }
    }
}

#[test]
fn no_unit_gains_a_right_unnoticed() {
    let folder = image().join("files/usr/lib/systemd/system");
    let inside = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, mut files): (Vec<PathBuf>, Vec<PathBuf>) = inside(&folder).partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| inside(folder)));
    let mut found = vec![];
    for file in files {
        let name = file.strip_prefix(&folder).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap_or_default();
        let rights = ["CapabilityBoundingSet=", "RestrictAddressFamilies=", "SystemCallFilter="];
        let lines = text.lines().filter(|line| rights.iter().any(|right| line.starts_with(right)));
        found.extend(lines.map(|line| format!("{name}:{line}")));
    }
    found.sort_unstable();
    assert_eq!(found, RIGHTS);
}

#[test]
fn ssh_has_no_algorithm_but_those_that_are_named() {
    let text = read("files/etc/ssh/sshd_config");
    for (name, wanted) in ALGORITHMS {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let found: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
        assert_eq!(found, [wanted], "{name}");
    }
    let keys: Vec<&str> = text.lines().filter(|line| line.starts_with("HostKey ")).collect();
    assert_eq!(keys, ["HostKey /var/lib/holdfast/identity/ssh_host_ed25519_key"]);
    // A key that may log in is signed with neither SHA-1 nor DSA, and long enough.
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let accepted = line("PubkeyAcceptedAlgorithms").unwrap();
    assert!(accepted.split(',').all(|kind| kind != "ssh-rsa" && kind != "ssh-dss"), "{accepted}");
    assert_eq!(line("RequiredRSASize"), Some("2048"));
}

/// What an admin runs in a container is started from the agent, and images may hold 32-bit programs.
#[test]
fn the_agent_alone_lets_32_bit_programs_run() {
    let folder = image().join("files/usr/lib/systemd/system");
    let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let lets = |path: &PathBuf| path.is_file() && fs::read_to_string(path).unwrap().contains("native x86");
    let names: Vec<PathBuf> = paths.filter(lets).collect();
    assert_eq!(names, [folder.join("holdfastd.service")]);
}

#[test]
fn drop_ins_are_for_units_of_the_image() {
    let (folder, config) = (image().join("files/usr/lib/systemd/system"), read("holdfast.toml"));
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let dropped: Vec<String> =
        entries.filter_map(|name| name.strip_suffix(".d").map(str::to_owned)).collect();
    assert!(dropped.len() >= 4, "{dropped:?}");
    for unit in dropped {
        assert!(config.contains(&format!("\"usr/lib/systemd/system/{unit}\",")), "{unit}");
    }
}

/// Each is followed, or named in `hardening.md`, where the reason is.
fn followed_or_named(what: &str, followed: bool, page: &str) {
    let named = page.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{what}`")));
    assert!(followed != named, "`{what}` must be set, or be named in hardening.md, and not both");
}

#[test]
fn recommended_kernel_settings_and_arguments_are_taken_or_it_is_said_why_not() {
    let (text, page) = (read("files/usr/lib/sysctl.d/50-holdfast.conf"), read("hardening.md"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let set: BTreeMap<&str, &str> = lines.filter_map(|line| line.split_once(" = ")).collect();
    for (name, value) in SETTINGS {
        followed_or_named(&format!("{name} = {value}"), set.get(name) == Some(&value), &page);
    }
    let config: toml::Table = toml::from_str(&read("holdfast.toml")).unwrap();
    let arguments = config["kernel"]["arguments"].as_array().unwrap();
    let arguments: Vec<&str> = arguments.iter().map(|argument| argument.as_str().unwrap()).collect();
    for argument in ARGUMENTS {
        followed_or_named(argument, arguments.contains(&argument), &page);
    }
}
