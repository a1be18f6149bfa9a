//! What a container cannot do, probed by its first process and by a command run in it.
//!
//! Each probe is tried once more with the protection that stops it taken out of the bundle, by the test and
//! nobody else: so it is known that it can succeed, and that it is this protection that holds.

use std::io::Write;
use std::time::Instant;

use crate::common::{CHANGE, lab, out, resumed, settings, up};
use base64::prelude::{BASE64_STANDARD, Engine};
use qemu_tests::Machine;
use serde_json::{Value, json};

/// Names of probes and the lines that succeed where nothing protects.
const PROBES: [(&str, &str); 19] = [
    ("user-namespace", "grep -q . /proc/slabinfo"),
    ("seccomp", "linux64 -R true"),
    ("capabilities", "mkdir -p /tmp/at && mount -t tmpfs none /tmp/at"),
    ("host-name", "hostname other"),
    ("no-new-privileges", "grep -q 'NoNewPrivs:.0' /proc/self/status"),
    ("make-node", "rm -f /tmp/node; mknod /tmp/node c 1 3"),
    ("tmpfs-nodev", "rm -f /tmp/null; mknod /tmp/null c 1 3 && echo x >/tmp/null"),
    ("tmpfs-nosuid", "! grep ' /tmp ' /proc/self/mounts | grep -q nosuid"),
    (
        "device-rules",
        "d=$(cat /sys/class/block/vda/dev); rm -f /dev/hd; mknod /dev/hd b ${d%:*} ${d#*:} && \
         dd if=/dev/hd of=/dev/null bs=512 count=1",
    ),
    ("masked-paths", "grep -q CPU0 /proc/interrupts"),
    ("read-only-paths", "echo 8192 >/proc/sys/kernel/msgmax"),
    ("read-only-sys", "f=/sys/block/vda/queue/read_ahead_kb; v=$(cat $f); echo $v >$f"),
    ("cgroup-namespace", "grep -q slice /proc/self/cgroup"),
    ("read-only-cgroup", "mkdir /sys/fs/cgroup/at && rmdir /sys/fs/cgroup/at"),
    ("read-only-root", "touch /written"),
    ("api-socket", "test -S /run/holdfast/api.sock"),
    ("descriptors", "test $(ls /proc/self/fd | wc -l) -gt 4"),
    ("ignored-sigpipe", "grep -q 'SigIgn:.*[13579bdf]...$' /proc/self/status"),
    ("blocked-signals", "! grep -q 'SigBlk:.0000000000000000' /proc/self/status"),
];

/// Those that take their time.
const LIMITS: [(&str, &str); 2] = [
    ("cpu", "timeout 2 sh -c 'while :; do :; done'; ! grep -q '^nr_throttled [1-9]' /sys/fs/cgroup/cpu.stat"),
    // Afterwards it waits without a process, until those that it started are gone.
    (
        "pids",
        "busybox mkfifo /tmp/none$$; (for i in $(seq 80); do sleep 4 & done); code=$?; \
         read -t 6 none <>/tmp/none$$; exit $code",
    ),
];

/// Takes more than the container's memory.
const EAT: &str = "dd if=/dev/zero of=/dev/null bs=96M count=1";

/// The line of a probe.
fn line(name: &str) -> &'static str {
    PROBES.iter().find(|(known, _)| *known == name).unwrap().1
}

/// A script that runs probes by name and says `NAME through` or `NAME held` of each.
fn script() -> String {
    let cases: String =
        PROBES.iter().chain(&LIMITS).map(|(name, line)| format!("{name}) {line} ;;\n")).collect();
    format!(
        "probe() {{ case $1 in\n{cases}esac; }}\n\
         run() {{ for name in \"$@\"; do\n\
         if (probe $name) >/dev/null 2>&1 </dev/null; then echo $name through; else echo $name held; fi\n\
         done; }}\n\
         where=$1; shift\n\
         case $where in\n\
         first) run \"$@\" >/tmp/new; mv /tmp/new /tmp/first; while :; do sleep 100000; done;;\n\
         control) exec 9</etc/hosts; trap '' PIPE; run \"$@\";;\n\
         *) run \"$@\";;\n\
         esac\n"
    )
}

/// The probes that got through, of what the script said; all of `names` must have been tried.
fn through(said: &str, names: &[&str]) -> Vec<String> {
    let results: Vec<(&str, &str)> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    let tried: Vec<&str> = results.iter().map(|(name, _)| *name).collect();
    assert_eq!(tried, names, "{said}");
    let through = results.into_iter().filter(|(_, result)| *result == "through");
    through.map(|(name, _)| name.to_owned()).collect()
}

/// A protection taken away.
type Removal = fn(&mut Value);

fn no_user_namespace(config: &mut Value) {
    for key in ["uidMappings", "gidMappings"] {
        config["linux"].as_object_mut().unwrap().remove(key);
    }
    without_namespace(config, "user");
    config["annotations"].as_object_mut().unwrap().remove("org.holdfast.idmap");
}

fn without_namespace(config: &mut Value, name: &str) {
    config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != name);
}

fn no_seccomp(config: &mut Value) {
    config["linux"].as_object_mut().unwrap().remove("seccomp");
}

fn add_capability(config: &mut Value, name: &str) {
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set].as_array_mut().unwrap().push(name.into());
    }
}

fn sys_admin(config: &mut Value) {
    add_capability(config, "CAP_SYS_ADMIN");
}

fn mknod(config: &mut Value) {
    add_capability(config, "CAP_MKNOD");
}

fn no_device_rules(config: &mut Value) {
    config["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
}

fn mount<'a>(config: &'a mut Value, at: &str) -> &'a mut Value {
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.iter_mut().find(|mount| mount["destination"] == at).unwrap()
}

fn without_options(config: &mut Value, at: &str, options: &[&str]) {
    let all = mount(config, at)["options"].as_array_mut().unwrap();
    all.retain(|option| !options.contains(&option.as_str().unwrap()));
}

fn unsafe_tmpfs(config: &mut Value) {
    without_options(config, "/tmp", &["nosuid", "nodev"]);
}

/// The shim mounts a sysfs of its own for this type, read-only: the host's instead.
fn writable_sys(config: &mut Value) {
    *mount(config, "/sys") =
        json!({ "destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind"] });
}

fn writable_cgroup(config: &mut Value) {
    without_options(config, "/sys/fs/cgroup", &["ro"]);
}

fn host_cgroup_namespace(config: &mut Value) {
    without_namespace(config, "cgroup");
}

fn new_privileges(config: &mut Value) {
    config["process"]["noNewPrivileges"] = false.into();
}

fn nothing_masked(config: &mut Value) {
    config["linux"]["maskedPaths"] = json!([]);
}

fn writable_paths(config: &mut Value) {
    config["linux"]["readonlyPaths"] = json!([]);
}

fn writable_root(config: &mut Value) {
    config["root"]["readonly"] = false.into();
}

fn api_bound(config: &mut Value) {
    let path = "/run/holdfast/api.sock";
    let bind = json!({ "destination": path, "type": "bind", "source": path, "options": ["bind"] });
    config["mounts"].as_array_mut().unwrap().push(bind);
}

/// What is taken away, and all that gets through then.
const REMOVALS: [(&str, &[Removal], &[&str]); 17] = [
    ("nothing", &[], &[]),
    ("userns", &[no_user_namespace], &["user-namespace"]),
    ("seccomp", &[no_seccomp], &["seccomp"]),
    ("admin", &[sys_admin], &["capabilities"]),
    ("caps", &[no_seccomp, sys_admin], &["seccomp", "capabilities", "host-name"]),
    ("nnp", &[no_seccomp, new_privileges], &["seccomp", "no-new-privileges"]),
    ("mknod", &[no_user_namespace, mknod], &["user-namespace", "make-node"]),
    (
        "devices",
        &[no_user_namespace, mknod, no_device_rules],
        &["user-namespace", "make-node", "device-rules"],
    ),
    (
        "tmpfs",
        &[no_user_namespace, mknod, unsafe_tmpfs],
        &["user-namespace", "make-node", "tmpfs-nodev", "tmpfs-nosuid"],
    ),
    ("suid", &[unsafe_tmpfs], &["tmpfs-nosuid"]),
    ("masked", &[nothing_masked], &["masked-paths"]),
    ("paths", &[writable_paths], &["read-only-paths"]),
    ("sys", &[no_user_namespace, writable_sys], &["user-namespace", "read-only-sys"]),
    ("cgroup", &[no_user_namespace, writable_cgroup], &["user-namespace", "read-only-cgroup"]),
    ("cgroupns", &[host_cgroup_namespace], &["cgroup-namespace"]),
    ("root", &[writable_root], &["read-only-root"]),
    ("api", &[api_bound], &["api-socket"]),
];

/// A unit for any edited bundle, as the agent makes one for its own, but that systemd leaves it to the
/// kernel what ends with a process that takes too much memory.
const UNIT: &str = "[Service]\\nType=notify\\nNotifyAccess=main\\nSlice=system.slice\\nDelegate=yes\\n\
    DelegateSubgroup=shim\\nKillMode=mixed\\nOOMPolicy=continue\\nTimeoutStopSec=5\\n\
    NetworkNamespacePath=/run/netns/holdfast-probe.sh\\n\
    ExecStart=/usr/libexec/holdfast/holdfast-shim run --state /run/lab-state /run/lab-bundles/%%i\\n";

/// Starts a container from an edited copy of the bundle.
fn start(machine: &mut Machine, base: &Value, name: &str, removals: &[Removal], probes: &[&str]) {
    let mut config = base.clone();
    config["linux"]["cgroupsPath"] = format!("/system.slice/lab@{name}.service/ctr").into();
    config["annotations"]["org.holdfast.upper"] = format!("/run/lab-upper/{name}").into();
    let words = ["/bin/sh", "/probe.sh", "first"].iter().chain(probes);
    config["process"]["args"] = words.copied().collect();
    removals.iter().for_each(|remove| remove(&mut config));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(config.to_string().as_bytes()).unwrap();
    let text = BASE64_STANDARD.encode(packed.finish().unwrap());
    let folder = format!("/run/lab-bundles/{name}");
    machine.shell(&format!("mkdir -p {folder} /run/lab-upper/{name}; rm -f /run/packed")).unwrap();
    // A terminal takes lines of at most 4095 bytes.
    for part in text.as_bytes().chunks(3000) {
        let part = std::str::from_utf8(part).unwrap();
        machine.shell(&format!("echo {part} >>/run/packed")).unwrap();
    }
    machine.shell(&format!("base64 -d /run/packed | gunzip >{folder}/config.json")).unwrap();
    let log = format!("{{ journalctl -o cat -n 20 -u lab@{name}; false; }}");
    machine.shell(&format!("systemctl start lab@{name} || {log}")).unwrap();
}

/// Runs a line in a container from an edited bundle; code and output.
fn exec(machine: &mut Machine, name: &str, line: &str) -> (i32, String) {
    let shim = "/usr/libexec/holdfast/holdfast-shim exec --state /run/lab-state";
    let said = machine
        .shell(&format!("{shim} /run/lab-bundles/{name} -- /bin/sh -c '{line}' 2>/run/said; echo \"=$?\""))
        .unwrap();
    let (text, code) = said.rsplit_once('=').unwrap();
    let code = code.trim().parse().unwrap();
    if code == 125 {
        panic!("{}", machine.shell("cat /run/said").unwrap());
    }
    (code, text.trim().to_owned())
}

/// What the first process found, once it has.
const FIRST: &str = "until cat /tmp/first; do sleep 1; done";

fn check(machine: &mut Machine, name: &str, probes: &[&str], expect: &[&str]) {
    let (_, first) = exec(machine, name, FIRST);
    assert_eq!(through(&first, probes), expect, "inside, without {name}");
    let (_, second) = exec(machine, name, &format!("sh /probe.sh exec {}", probes.join(" ")));
    assert_eq!(through(&second, probes), expect, "in exec, without {name}");
}

#[test]
fn full_protections_hold_inside_and_in_exec_and_only_with_them() {
    let (lab, registry) = lab();
    let names: Vec<&str> = PROBES.iter().map(|(name, _)| *name).collect();
    let limits: Vec<&str> = LIMITS.iter().map(|(name, _)| *name).collect();
    let all = [&names[..], &limits].concat();
    let words = [&["/bin/sh", "/probe.sh", "first"][..], &all].concat();
    let container = format!(
        "[[recipe]]\nname = \"probe\"\n[recipe.containers.sh]\nimage = \"{}\"\nstop_timeout = \"1s\"\n\
         entrypoint = {}\nread_only = true\ntmpfs = [\"/tmp\"]\nmemory = \"64M\"\npids = 64\ncpus = 0.5\n\
         files = {{ \"/probe.sh\" = {{ content = {} }} }}\n",
        registry.reference("probe:1"),
        json!(words),
        json!(script()),
    );
    let admin = format!(
        "[recipe.containers.admin]\nimage = \"{}\"\nentrypoint = [\"/bin/sleep\", \"1000000\"]\n\
         cap_add = [\"SYS_ADMIN\"]\ntmpfs = [\"/tmp\"]\n",
        registry.reference("probe:1")
    );
    let document = settings(&registry) + &container + &admin;
    let mut machine = resumed(&lab, &document, &["memcg", "oom-kill", "Memory cgroup out of memory"]);
    up(&machine, &["probe.sh", "probe.admin"]);
    let product = |line: &str| {
        let done = machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", line]).unwrap();
        assert!(done.status.success(), "{line}: {}", out(&done));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    // Without a process of its own: the probes leave none for a while.
    let read = || machine.cli(&["exec", "probe.sh", "--", "/bin/cat", "/tmp/first"]).unwrap();
    let end = Instant::now() + CHANGE;
    while !read().status.success() {
        assert!(Instant::now() < end, "{}", out(&read()));
    }
    let first = String::from_utf8_lossy(&read().stdout).into_owned();
    assert_eq!(through(&first, &all), [""; 0], "inside");
    assert_eq!(through(&product(&format!("sh /probe.sh exec {}", all.join(" "))), &all), [""; 0], "in exec");
    same_for_both(&product);
    // What belongs to the process that asks, and not to the container, shows by the process's own doing.
    let own = ["descriptors", "ignored-sigpipe"];
    assert_eq!(through(&product(&format!("sh /probe.sh control {}", own.join(" "))), &own), own);

    // An added capability opens the system calls that need it: without them it is not enough, see `admin`.
    let words = ["exec", "probe.admin", "--", "/bin/sh", "-c", line("host-name")];
    let done = machine.cli(&words).unwrap();
    assert!(done.status.success(), "{}", out(&done));

    let blocked = line("blocked-signals").replace("self", "$(pidof holdfast-shim | cut -d\" \" -f1)");
    machine.shell(&blocked).unwrap();
    machine.shell(&format!("printf '{UNIT}' >/run/systemd/system/lab@.service")).unwrap();
    machine.shell("systemctl daemon-reload").unwrap();
    let config = machine.shell("cat /run/holdfast/bundles/probe.sh/config.json").unwrap();
    let base: Value = serde_json::from_str(&config).unwrap();
    for (name, removals, expect) in REMOVALS {
        start(&mut machine, &base, name, removals, &names);
        check(&mut machine, name, &names, expect);
        if name != "nothing" {
            machine.shell(&format!("systemctl kill -s KILL lab@{name}")).unwrap();
        }
    }
    limits_hold(&mut machine, &base, &limits);
    memory_holds(&mut machine, &base);
    machine.kill().unwrap();
}

/// The first process and a command that is run see the same of what protects them.
fn same_for_both(product: &impl Fn(&str) -> String) {
    for file in ["uid_map", "gid_map"] {
        let map = product(&format!("cat /proc/self/{file}"));
        assert_eq!(map, product(&format!("cat /proc/1/{file}")));
        assert!(map.contains("65536") && !map.contains("4294967295"), "{map}");
    }
    let wanted = "grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd|CapPrm|CapAmb|SigBlk):'";
    let status = product(&format!("{wanted} /proc/self/status"));
    assert_eq!(status, product(&format!("{wanted} /proc/1/status")));
    assert!(status.contains("Seccomp:\t2"), "{status}");
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let line = |of: &str| product(&format!("readlink /proc/{of}/ns/{kind}"));
        assert_eq!(line("self"), line("1"), "namespace {kind}");
    }
    assert_eq!(product("cat /proc/self/cgroup"), product("cat /proc/1/cgroup"));
}

fn limits_hold(machine: &mut Machine, base: &Value, names: &[&str]) {
    let no_cpu: Removal = |config| drop(config["linux"]["resources"].as_object_mut().unwrap().remove("cpu"));
    let no_pids: Removal = |config| config["linux"]["resources"]["pids"]["limit"] = 1000.into();
    start(machine, base, "limits", &[no_cpu, no_pids], names);
    check(machine, "limits", names, names);
    machine.shell("systemctl kill -s KILL lab@limits").unwrap();
}

/// Memory, swap, and whether a whole container goes when one of its processes takes too much.
fn memory_holds(machine: &mut Machine, base: &Value) {
    machine.shell("dd if=/dev/zero of=/var/swap bs=1M count=160 2>&1").unwrap();
    machine.shell("chmod 600 /var/swap; mkswap /var/swap; swapon /var/swap").unwrap();
    let no_limit: Removal =
        |config| drop(config["linux"]["resources"].as_object_mut().unwrap().remove("memory"));
    let swap: Removal = |config| config["linux"]["resources"]["unified"]["memory.swap.max"] = "max".into();
    let singly: Removal = |config| config["linux"]["resources"]["unified"]["memory.oom.group"] = "0".into();
    // The removal, whether all the memory is had, whether the container is there afterwards.
    let removals: [(&str, &[Removal], bool, bool); 3] = [
        ("memory", &[no_limit], true, true),
        ("swap", &[swap], true, true),
        ("group", &[singly], false, true),
    ];
    for (name, removals, had, there) in removals.into_iter().chain([("nothing", &[][..], false, false)]) {
        if name != "nothing" {
            start(machine, base, name, removals, &[]);
        }
        let (code, _) = exec(machine, name, EAT);
        assert_eq!(code == 0, had, "without {name}: {code}");
        let active = "sleep 2; systemctl is-active";
        let state = machine.shell(&format!("{active} lab@{name} || true")).unwrap();
        assert_eq!(state == "active", there, "without {name}: {state}");
        machine.shell(&format!("systemctl kill -s KILL lab@{name} || true")).unwrap();
    }
    machine.shell("swapoff /var/swap; rm /var/swap").unwrap();
}
