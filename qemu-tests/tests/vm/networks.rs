//! Whom a container reaches and who reaches it, each way tried once more without the rule that stops it.

use std::time::Instant;

use crate::common::{CHANGE, lab, out, resumed, settings, up};
use qemu_tests::{Machine, Registry};

/// Asks for a page; the words after it are its addresses.
const GET: &str = "wget -T 3 -q -O - http://";
/// What the page beyond the box says.
const OUTSIDE: &str = "from-outside";

/// A host beyond the box: a network namespace behind a pair of links, which also answers as the metadata
/// service. It runs in the machine, but to the box it is a neighbour on a wire.
const NEIGHBOUR: [&str; 10] = [
    "mkdir -p /run/out && echo from-outside >/run/out/index.html",
    "(unshare -n sh -c 'echo $$ >/run/out.pid; exec sleep 1000000' >/dev/null 2>&1 </dev/null &)",
    "while ! test -s /run/out.pid; do sleep 1; done; ip link add out0 type veth",
    "ip link set veth0 netns $(cat /run/out.pid); ip addr add 192.0.2.1/24 dev out0; ip link set out0 up",
    "echo 0 >/proc/sys/net/ipv6/conf/out0/accept_dad; ip -6 addr add fd77::1/64 dev out0",
    "nsenter -t $(cat /run/out.pid) -n sh -c 'echo 0 >/proc/sys/net/ipv6/conf/veth0/accept_dad; \
     ip addr add 192.0.2.9/24 dev veth0; ip addr add 169.254.169.254/32 dev veth0; ip link set lo up; \
     ip link set veth0 up; ip -6 addr add fd77::9/64 dev veth0'",
    "nsenter -t $(cat /run/out.pid) -n ip route add default via 192.0.2.1",
    "nsenter -t $(cat /run/out.pid) -n ip -6 route add default via fd77::1",
    "ip route add 169.254.169.254/32 via 192.0.2.9",
    "(nsenter -t $(cat /run/out.pid) -n httpd -p 80 -h /run/out >/dev/null 2>&1 </dev/null &)",
];

/// An instance whose container `web` answers with `text` on port 8080, and what else it has.
fn web(registry: &Registry, name: &str, text: &str, more: &str) -> String {
    format!(
        "[[recipe]]\nname = \"{name}\"\n[recipe.containers.web]\nimage = \"{}\"\ntmpfs = [\"/tmp\"]\n\
         entrypoint = [\"/bin/sh\", \"-c\", \"echo {text} >/tmp/index.html; exec httpd -f -p 8080 -h /tmp\"]\n\
         stop_timeout = \"1s\"\n{more}\n",
        registry.reference("probe:1")
    )
}

struct Probes {
    machine: Machine,
}

impl Probes {
    /// Runs a line in the container `probe.sh`; whether it succeeded, and what it said.
    fn inside(&self, line: &str) -> (bool, String) {
        let done = self.machine.cli(&["exec", "probe.sh", "--", "/bin/sh", "-c", line]).unwrap();
        assert_ne!(done.status.code(), Some(125), "the probe did not run: {line}: {}", out(&done));
        (done.status.success(), String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }

    /// Runs a line on the neighbour, as [`Probes::inside`].
    fn outside(&mut self, line: &str) -> (bool, String) {
        self.shell(&format!("nsenter -t $(cat /run/out.pid) -n {line} && echo through"))
    }

    /// Runs a line on the box that ends with the word `through` if it succeeds.
    fn shell(&mut self, line: &str) -> (bool, String) {
        let said = self.machine.shell(&format!("{line} || true")).unwrap();
        (said.ends_with("through"), said.trim_end_matches("through").trim().to_owned())
    }

    /// Deletes the rules of a chain that contain a text.
    fn delete(&mut self, chain: &str, text: &str) {
        let listed = self.machine.shell(&format!("nft -a list chain inet holdfast {chain}")).unwrap();
        let rules = listed.lines().filter_map(|line| line.trim().split_once(" # handle "));
        let handles: Vec<_> = rules.filter(|(rule, _)| rule.contains(text)).map(|(_, at)| at).collect();
        assert!(!handles.is_empty(), "no `{text}` in {listed}");
        for handle in handles {
            self.machine.shell(&format!("nft delete rule inet holdfast {chain} handle {handle}")).unwrap();
        }
    }
}

#[test]
fn containers_reach_and_are_reached_by_what_they_may() {
    let (lab, registry) = lab();
    let ports = "ports = [\"8080:8080\", \"127.0.0.1:8081:8080\", \"9053:9053/udp\"]\n";
    let sleeper = format!(
        "[recipe.containers.sh]\nimage = \"{}\"\nentrypoint = [\"/bin/sleep\", \"1000000\"]\n\
         stop_timeout = \"1s\"\nworking_dir = \"/made/for/it\"\nvolumes = {{ data = \"/data\" }}\n\
         [recipe.volumes.data]\nsize = \"16M\"\n",
        registry.reference("probe:1")
    );
    let document = settings(&registry)
        + &web(&registry, "probe", "from-web", &(ports.to_owned() + &sleeper))
        + &web(&registry, "other", "from-other", "");
    let machine = resumed(&lab, &document, &[]);
    up(&machine, &["probe.sh", "probe.web", "other.web"]);
    let mut probes = Probes { machine };
    for line in NEIGHBOUR {
        probes.machine.shell(line).unwrap();
    }
    let end = Instant::now() + CHANGE;
    while probes.inside(&format!("{GET}192.0.2.9/")).1 != OUTSIDE {
        assert!(Instant::now() < end, "no way out");
    }
    names_and_ports(&mut probes);
    volume(&mut probes);
    small_links(&mut probes);
    walls(&mut probes);
    probes.machine.kill().unwrap();
}

/// Containers of an instance by name, published ports from everywhere they are meant for.
fn names_and_ports(probes: &mut Probes) {
    assert_eq!(probes.inside(&format!("{GET}web:8080/")), (true, "from-web".into()));
    let (_, addresses) = probes.inside("awk '$2 == \"web\" { print $1 }' /etc/hosts");
    let families: Vec<_> = addresses.lines().map(|a| a.contains(':')).collect();
    assert!(families.contains(&true) && families.contains(&false), "{addresses}");
    for address in addresses.lines() {
        let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let got = probes.inside(&format!("{GET}{address}:8080/"));
        assert_eq!(got, (true, "from-web".into()), "{address}");
    }
    assert!(!probes.inside(&format!("{GET}other:8080/")).0, "names are an instance's own");
    for address in ["192.0.2.1", "[fd77::1]"] {
        let line = format!("{GET}{address}:8080/");
        assert_eq!(probes.outside(&line), (true, "from-web".into()), "from outside by {address}");
        let here = probes.shell(&format!("{line} && echo through"));
        assert_eq!(here, (true, "from-web".into()), "from the box by {address}");
        assert_eq!(probes.inside(&line), (true, "from-web".into()), "from a container by {address}");
    }
    for port in [8080, 8081] {
        let here = probes.shell(&format!("{GET}127.0.0.1:{port}/ && echo through"));
        assert_eq!(here, (true, "from-web".into()), "from the box's loopback, port {port}");
    }
    assert!(!probes.outside(&format!("{GET}192.0.2.1:8081/")).0, "what is bound to loopback stays there");
    // Nothing listens behind the UDP port: the kernel counts what arrives nevertheless.
    let arrived = "awk '/^Udp:/ { n = $3 } /^Udp6NoPorts/ { m = $2 } END { print n, m }' \
                   /proc/net/snmp /proc/net/snmp6";
    let count = |probes: &Probes| {
        let done = probes.machine.cli(&["exec", "probe.web", "--", "/bin/sh", "-c", arrived]).unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let counts: Vec<u64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        (counts[0], counts[1])
    };
    let before = count(probes);
    for address in ["192.0.2.1", "fd77::1"] {
        probes.outside(&format!("timeout 3 tftp -g -l /dev/null -r x {address} 9053"));
    }
    let after = count(probes);
    assert!(after.0 > before.0 && after.1 > before.1, "UDP by v4 and v6: {before:?} {after:?}");
}

/// The volume's files have the container's own ids, its size is a limit, and the working folder is made.
fn volume(probes: &mut Probes) {
    assert_eq!(probes.inside("pwd").1, "/made/for/it");
    assert!(probes.inside("echo x >/data/file && chown 1000:1001 /data/file").0);
    let owner = probes.machine.shell("stat -c %u:%g /var/lib/holdfast/volumes/*/data/file").unwrap();
    assert_eq!(owner, "1000:1001", "as the container has it, on the disk");
    let fill = |path: &str| format!("dd if=/dev/zero of={path}/fill bs=1M count=24 && rm {path}/fill");
    assert!(!probes.inside(&fill("/data")).0, "24 MiB fit into 16");
    assert!(probes.inside(&fill("")).0, "elsewhere they do");
    let (_, used) = probes.inside("du -sk /data | cut -f1");
    assert!((8_000..=16_400).contains(&used.parse::<u32>().unwrap()), "{used} KiB");
    assert!(probes.inside("rm /data/fill && dd if=/dev/zero of=/data/less bs=1M count=8").0);
}

/// A way out that carries less than a container's link, and that nobody may say so of.
fn small_links(probes: &mut Probes) {
    probes.machine.shell("ip link set out0 mtu 1300").unwrap();
    probes
        .machine
        .shell(
            "nft 'add table inet lab; add chain inet lab out { type filter hook output priority 0; }; \
             add rule inet lab out icmp type destination-unreachable drop'",
        )
        .unwrap();
    let send = |probes: &mut Probes| {
        let listen = "sh -c 'sleep 20 | timeout 20 nc -l -p 9000 | wc -c >/run/out/count'";
        let start = format!("(nsenter -t $(cat /run/out.pid) -n {listen} >/dev/null 2>&1 </dev/null &)");
        probes.machine.shell(&format!("rm -f /run/out/count; {start}; sleep 1")).unwrap();
        probes.inside("head -c 200000 /dev/zero | timeout 10 nc -w 3 192.0.2.9 9000");
        let count = "while ! test -s /run/out/count; do sleep 1; done; cat /run/out/count";
        probes.machine.shell(count).unwrap()
    };
    assert_eq!(send(probes), "200000");
    probes.delete("forward", "maxseg");
    assert_ne!(send(probes), "200000", "the probe cannot fail");
    probes.machine.shell("nft delete table inet lab; ip link set out0 mtu 1500").unwrap();
}

/// What no container may reach, and who may reach no container.
fn walls(probes: &mut Probes) {
    let metadata = format!("{GET}169.254.169.254/");
    assert!(!probes.inside(&metadata).0);
    assert_eq!(probes.shell(&format!("{metadata} && echo through")), (true, OUTSIDE.into()));
    probes.delete("guard", "169.254.0.0/16");
    assert_eq!(probes.inside(&metadata), (true, OUTSIDE.into()), "the probe cannot succeed");

    // Another instance's containers, and any container from outside.
    let others = "awk '$2 == \"web\" { print $1 }' /run/holdfast/bundles/other.web/hosts";
    let others = probes.machine.shell(others).unwrap();
    assert_eq!(others.lines().count(), 2, "{others}");
    let url = |address: &str| match address.contains(':') {
        true => format!("{GET}[{address}]:8080/"),
        false => format!("{GET}{address}:8080/"),
    };
    for open in [false, true] {
        if open {
            probes.machine.shell("nft 'chain inet holdfast forward { policy accept ; }'").unwrap();
        }
        for address in others.lines() {
            assert_eq!(probes.inside(&url(address)).0, open, "{address} from another instance");
            assert_eq!(probes.outside(&url(address)).0, open, "{address} from outside");
        }
    }

    // The box itself: by its address on the bridge, and by the link-local one.
    let (_, gateway) = probes.inside("ip route | awk '/^default/ { print $3 }'");
    let bridge = probes.machine.shell(&format!("ip -o addr | grep -F {gateway}/24")).unwrap();
    let bridge = bridge.split_whitespace().nth(1).unwrap().to_owned();
    let local = format!("ip -o -6 addr show dev {bridge} scope link | sed 's,.*inet6 ,,; s,/.*,,'");
    let local = probes.machine.shell(&local).unwrap();
    let ssh = |address: &str| format!("timeout 5 nc -w 3 {address} 22 </dev/null | grep -q SSH");
    let (by_address, by_link) = (ssh(&gateway), ssh(&format!("{local}%eth0")));
    assert!(!probes.inside(&by_address).0 && !probes.inside(&by_link).0);
    // The last rule of the chain.
    probes.delete("input", "drop");
    assert!(probes.inside(&by_address).0, "the probe cannot succeed");
    assert!(!probes.inside(&by_link).0, "link-local addresses have a rule of their own");
    probes.delete("guard", "fe80::/10 icmpv6");
    probes.delete("guard", "fe80::/10 meta");
    assert!(probes.inside(&by_link).0, "the probe cannot succeed: {local}");
}
