//! What a container cannot do, probed from inside it and from a command run in it.

mod common;

use common::{BOOT, DISK, lab, out, probe, settings};
use qemu_tests::{Disk, Machine, Setup};

/// Runs a shell line in the container by exec.
fn exec(machine: &Machine, line: &str) -> (i32, String) {
    let done = machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", line]).unwrap();
    (done.status.code().unwrap_or(-1), out(&done))
}

/// What the first process of the container sees of a file below `/proc/self`.
const FIRST: &str = "/proc/1";

#[test]
fn protections_hold_inside_and_in_exec() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let document = settings(&registry) + &probe(&registry, "memory = \"64M\"\npids = 64");
    let machine = Machine::boot(&lab, &disk, &Setup::with(document)).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    let end = std::time::Instant::now() + BOOT;
    while exec(&machine, "true").0 != 0 {
        assert!(std::time::Instant::now() < end, "{}", out(&machine.cli(&["status"]).unwrap()));
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
    // Both see the same user namespace, filters, capabilities and privileges.
    for file in ["uid_map", "gid_map"] {
        let (_, of_exec) = exec(&machine, &format!("cat /proc/self/{file}"));
        let (_, of_first) = exec(&machine, &format!("cat {FIRST}/{file}"));
        assert_eq!(of_exec, of_first);
        assert!(of_exec.contains("65536") && !of_exec.contains("4294967295"), "{of_exec}");
    }
    let wanted = "grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' ";
    let (_, of_exec) = exec(&machine, &format!("{wanted} /proc/self/status"));
    let (_, of_first) = exec(&machine, &format!("{wanted} {FIRST}/status"));
    assert_eq!(of_exec, of_first);
    assert!(of_exec.contains("Seccomp:\t2") && of_exec.contains("NoNewPrivs:\t1"), "{of_exec}");
    for (line, why) in [
        ("mount -t tmpfs none /mnt", "mounts"),
        ("mknod /tmp/null c 1 3 && echo x >/tmp/null", "makes devices"),
        ("echo 1 >/proc/sys/kernel/panic", "writes sysctls"),
        ("cat /proc/kcore | head -c 1 | grep -q .", "reads kernel memory"),
        ("ls /sys/firmware/* 2>/dev/null | grep -q .", "sees firmware"),
        ("date -s 2030-01-01 >/dev/null; test \"$(date +%Y)\" = 2030", "sets the clock"),
        ("echo b >/proc/sysrq-trigger", "reboots the box"),
        ("nc -w 3 169.254.169.254 80 </dev/null", "reaches the metadata address"),
        ("nc -w 3 $(ip route | awk '/default/{print $3}') 22 </dev/null", "reaches the box's ssh"),
        ("ls /run/holdfast", "sees the API socket"),
    ] {
        let (code, said) = exec(&machine, line);
        assert_ne!(code, 0, "a container {why}: {line}: {said}");
        assert!(code != 125, "the probe itself did not run: {line}: {said}");
    }
    for (line, why) in [
        ("cat /proc/self/cgroup | grep -q '^0::/'", "its own cgroup root"),
        ("grep -q 0 /sys/fs/cgroup/memory.swap.max", "no swap"),
        ("grep -q 67108864 /sys/fs/cgroup/memory.max", "its memory limit"),
        ("grep -q 64 /sys/fs/cgroup/pids.max", "its limit of processes"),
        ("touch /root-is-writable", "a writable root"),
        ("nslookup localhost || grep -q localhost /etc/hosts", "a hosts file"),
        ("ip route | grep -q '^default via 10.213.'", "a way out"),
    ] {
        let (code, said) = exec(&machine, line);
        assert_eq!(code, 0, "a container lacks {why}: {line}: {said}");
    }
    machine.kill().unwrap();
}
