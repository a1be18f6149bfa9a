//! What who has broken out of a container finds: each thing is tried in a container, and in the host's namespaces
//! with the credentials of a container, with and without all capabilities in its user namespace. Root of the box
//! tries it too, so it is known that it can succeed.

use crate::common::{lab, out, probe, resumed, settings, up};
use base64::prelude::{BASE64_STANDARD, Engine};
use qemu_tests::Machine;
use serde_json::json;

/// What nobody but root of the box can do: names, and lines that succeed where it can be done.
const PROBES: [(&str, &str); 32] = [
    ("state", "ls /var/lib/holdfast"),
    ("generations", "cat /var/lib/holdfast/generations/*"),
    ("secrets", "cat /var/lib/holdfast/secrets/*"),
    ("host-key", "cat /var/lib/holdfast/identity/ssh_host_ed25519_key"),
    ("changes-of-others", "ls /var/lib/holdfast/containers/other.sh/upper"),
    ("volumes-of-others", "cat /var/lib/holdfast/volumes/*/data/mine"),
    ("volume-by-its-name", "cat $(cat /run/escape.volume)/mine"),
    ("bundles-of-others", "cat /run/holdfast/bundles/other.sh/config.json"),
    ("journal", "cat /var/log/journal/*/*.journal"),
    ("api", "holdfast status || test $? = 3"),
    ("bus", "systemctl list-units"),
    ("kernel-log", "dmesg | grep ."),
    ("kernel-log-device", "exec 3</dev/kmsg"),
    ("disk", "head -c 1 /dev/vda"),
    ("screen", "test -c /dev/tty0 && exec 3<>/dev/tty0"),
    ("keys-pressed", "exec 3</dev/input/event0"),
    ("make-device", "mknod /dev/made b 254 0 && rm /dev/made"),
    ("mount", "mkdir -p /tmp/at && mount -t tmpfs none /tmp/at && umount /tmp/at"),
    ("bind", "mkdir -p /tmp/at && mount --bind /usr /tmp/at && umount /tmp/at"),
    ("settings", "v=$(cat /proc/sys/kernel/msgmax) && echo $v >/proc/sys/kernel/msgmax"),
    ("network-settings", "echo 1 >/proc/sys/net/ipv4/ip_forward"),
    ("sysrq", "exec 3>/proc/sysrq-trigger"),
    ("device-settings", "f=/sys/block/vda/queue/read_ahead_kb; v=$(cat $f) && echo $v >$f"),
    ("clock", "n=$(date +%s); date -s @$((n + 60)); test $(date +%s) -ge $((n + 50)) && date -s @$n"),
    ("name", "hostname $(hostname)"),
    ("environment-of-others", "cat /proc/$(pidof holdfastd)/environ"),
    ("root-of-others", "ls /proc/$(pidof holdfastd)/root/"),
    ("signals", "kill -0 $(pidof holdfastd)"),
    ("other-control-groups", "echo 0 >/sys/fs/cgroup/init.scope/cgroup.procs"),
    ("new-control-groups", "mkdir /sys/fs/cgroup/at && rmdir /sys/fs/cgroup/at"),
    (
        "own-limits",
        "for d in '' /containers.slice/holdfast-probe.sh.service/ctr; do \
                    echo 80M >/sys/fs/cgroup$d/memory.max && exit 0; done; exit 1",
    ),
    ("link-settings", "ip link set lo mtu 60000 && ip link set lo mtu 65536"),
];

/// The same, of what joins the user namespace of the container and so has all capabilities there: it is root of the
/// box that makes user namespaces.
const NAMESPACES: (&str, &str) = ("user-namespaces", "unshare -U true");

/// What is the host's, and can be seen from its namespaces only.
const SEEN: [(&str, &str); 4] = [
    ("processes", "pidof systemd || pidof holdfastd || pidof holdfast-shim"),
    ("links", "ip link | grep -q hf-"),
    // Those without a file too: they are a network namespace's. A container has its line to the journal in its own.
    ("sockets", "grep -q /run/systemd/private /proc/net/unix"),
    ("mounts", "grep -q ' /run/holdfast\\| /var ' /proc/self/mounts"),
];

/// A script that tries lines by name and says the names of those that succeed.
fn script() -> String {
    let all = PROBES.iter().chain([&NAMESPACES]).chain(&SEEN);
    let tries =
        all.map(|(name, line)| format!("if ({line}) >/dev/null 2>&1 </dev/null; then echo {name}; fi\n"));
    tries.collect()
}

fn names(probes: &[(&'static str, &str)]) -> Vec<&'static str> {
    probes.iter().map(|(name, _)| *name).collect()
}

/// Puts the script on the box, in lines that a terminal takes.
fn put(machine: &mut Machine, script: &str) {
    let text = BASE64_STANDARD.encode(script);
    machine.shell("rm -f /run/packed").unwrap();
    for part in text.as_bytes().chunks(3000) {
        machine.shell(&format!("echo {} >>/run/packed", std::str::from_utf8(part).unwrap())).unwrap();
    }
    machine.shell("base64 -d /run/packed >/run/escape.sh; chmod 644 /run/escape.sh").unwrap();
}

#[test]
fn full_who_breaks_out_of_a_container_has_nothing_of_the_box() {
    let (lab, registry) = lab();
    let script = script();
    let more = format!(
        "memory = \"64M\"\ntmpfs = [\"/tmp\"]\nfiles = {{ \"/escape.sh\" = {{ content = {} }} }}\n",
        json!(script)
    );
    let other = "volumes = { data = \"/data\" }\nsecrets = [\"made\"]\n\
                 [recipe.params.made]\ntype = \"secret\"\ngenerate = \"hex:32\"\n\
                 [recipe.volumes.data]\nsize = \"16M\"\n";
    let other = probe(&registry, other).replace("name = \"probe\"", "name = \"other\"");
    let document = settings(&registry) + &probe(&registry, &more) + &other;
    let mut machine = resumed(&lab, &document, &[]);
    up(&machine, &["probe.sh", "other.sh"]);
    put(&mut machine, &script);
    machine.shell("ls -d /var/lib/holdfast/volumes/*/data >/run/escape.volume").unwrap();
    machine
        .shell("echo mine >$(cat /run/escape.volume)/mine; chmod 644 $(cat /run/escape.volume)/mine")
        .unwrap();

    let done = machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "/escape.sh"]).unwrap();
    assert!(done.status.code() != Some(125), "{}", out(&done));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "", "from the container");

    // The first process of the container, and the host's id of its root.
    let ctr = "/sys/fs/cgroup/containers.slice/holdfast-probe.sh.service/ctr";
    let pid = machine.shell(&format!("head -n 1 {ctr}/cgroup.procs")).unwrap();
    let base = machine.shell(&format!("awk '{{ print $2 }}' /proc/{pid}/uid_map")).unwrap();
    assert!(base.parse::<u32>().unwrap() >= 65_536, "{base}");
    let seen = names(&SEEN);
    for (who, enter) in [
        ("as a container's root", format!("nsenter -S {base} -G {base}")),
        ("as it, with all its namespace gives", format!("nsenter -t {pid} -U -S 0 -G 0")),
    ] {
        let found = machine.shell(&format!("cd /; {enter} sh /run/escape.sh")).unwrap();
        assert_eq!(found.lines().collect::<Vec<_>>(), seen, "{who}");
    }
    let found = machine.shell("cd /; sh /run/escape.sh").unwrap();
    let all: Vec<&str> = [names(&PROBES), vec![NAMESPACES.0], seen].concat();
    assert_eq!(found.lines().collect::<Vec<_>>(), all, "as root");
    machine.kill().unwrap();
}
