//! Tests in network namespaces of their own: NICs on one side, real servers on the other.
//!
//! A test runs itself again inside new namespaces, where it may do anything and from where nothing leaks:
//! whatever it has started ends with it.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_core::network::{HostConfig, NetworkEvent, NetworkStatus, NicStatus};
use agent_net::host::{HostNetwork, HostOptions};
use tokio::sync::mpsc;

/// How long a box may take for anything that happens here.
const PATIENCE: Duration = Duration::from_secs(60);
const INSIDE: &str = "HOLDFAST_TEST_NAMESPACE";
/// The servers' namespace.
const SERVERS: &str = "/run/netns/servers";

/// Runs `body` as the root of new namespaces; `test` is the test's own name.
pub(crate) fn inside(test: &str, body: impl AsyncFnOnce(Site)) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let site = Site::prepare();
        return runtime.block_on(body(site));
    }
    // As in a container without the right to make some: who runs the tests says so, and knows.
    if std::env::var_os("HOLDFAST_NO_NAMESPACES").is_some() {
        return;
    }
    let done = unshared()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        .output()
        .expect("`unshare` of util-linux runs");
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(done.status.success(), "{}{}", said[0], said[1]);
    assert!(said[0].contains("1 passed"), "it ran inside: {}", said[0]);
}

/// Starts a program in namespaces of its own; all that it leaves ends with it.
fn unshared() -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    // Where the servers are, also for those who are not root.
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Runs a line of shell; gives what it wrote.
pub(crate) fn sh(line: &str) -> String {
    let done = Command::new("sh").args(["-ec", line]).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "`{line}`: {text}{}", String::from_utf8_lossy(&done.stderr));
    text
}

/// Runs a line of shell on the servers' side.
pub(crate) fn far(line: &str) -> String {
    let net = format!("--net={SERVERS}");
    let done = Command::new("nsenter").args([net.as_str(), "sh", "-ec", line]).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "`{line}`: {text}{}", String::from_utf8_lossy(&done.stderr));
    text
}

/// What is there: a folder, and a namespace for servers. NICs are added by [`Site::nic`].
pub(crate) struct Site {
    folder: PathBuf,
}

impl Site {
    fn prepare() -> Site {
        sh("mount -t tmpfs tmpfs /run; mkdir /run/netns; ip netns add servers; ip link set lo up");
        far("ip link set lo up");
        let folder = PathBuf::from("/run/site");
        fs::create_dir(&folder).unwrap();
        Site { folder }
    }

    /// Adds the NIC `nicN` with the address `02:00:00:00:00:0N`; its other end is `srvN`, with `addresses`.
    pub(crate) fn nic(&self, n: u8, addresses: &[&str]) {
        sh(&format!(
            "ip link add nic{n} address 02:00:00:00:00:0{n} type veth peer name srv{n} netns servers"
        ));
        for address in addresses {
            far(&format!("ip addr add {address} dev srv{n} nodad"));
        }
        far(&format!("ip link set srv{n} up"));
    }

    /// Starts dnsmasq on `srvN`. It answers on TCP port 53 of every address, too, which shows what can be
    /// reached.
    pub(crate) fn dnsmasq(&self, n: u8, options: &[&str]) -> Server {
        let lease_file = self.folder.join(format!("leases-{n}"));
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={SERVERS}")).arg("dnsmasq");
        command.args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-dhcp"]);
        command.args(["--bind-dynamic", &format!("--interface=srv{n}"), "--interface=lo"]);
        command.arg(format!("--dhcp-leasefile={}", lease_file.display())).args(options);
        self.start("dnsmasq", command)
    }

    /// Starts BusyBox's udhcpd on `srvN` with these lines of configuration.
    pub(crate) fn udhcpd(&self, n: u8, lines: &str) -> Server {
        let configuration = self.folder.join(format!("udhcpd-{n}.conf"));
        let leases = self.folder.join(format!("udhcpd-{n}.leases"));
        fs::write(&leases, "").unwrap();
        let text = format!("interface srv{n}\nlease_file {}\npidfile /dev/null\n{lines}\n", leases.display());
        fs::write(&configuration, text).unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={SERVERS}")).args(["busybox", "udhcpd", "-f"]).arg(configuration);
        self.start("udhcpd", command)
    }

    fn start(&self, name: &str, mut command: Command) -> Server {
        let log = self.folder.join(format!("{name}.log"));
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} of Debian: {error}"));
        Server { child, log }
    }

    /// Starts the box's network.
    pub(crate) fn network(&self, config: HostConfig) -> Network {
        let options = HostOptions {
            state: self.folder.join("state"),
            volatile: self.folder.join("volatile"),
            resolv_conf: self.resolv_conf(),
            hostname: Some("hub1".to_owned()),
            is_nic: |link| link.name.starts_with("nic") || link.name.starts_with("ens"),
        };
        let (host, events) = HostNetwork::start(options).unwrap();
        host.configure(config);
        Network { host, events, heard: vec![] }
    }

    fn resolv_conf(&self) -> PathBuf {
        self.folder.join("resolv.conf")
    }

    /// The resolver's file.
    pub(crate) fn resolver(&self) -> String {
        fs::read_to_string(self.resolv_conf()).unwrap_or_default()
    }
}

/// A server; it ends when it is dropped.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// What it has said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said `text` so many times.
    pub(crate) async fn says(&self, text: &str, times: usize) {
        let end = Instant::now() + PATIENCE;
        while self.said().matches(text).count() < times {
            assert!(Instant::now() < end, "no {text:?}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The box's network as it runs.
pub(crate) struct Network {
    pub(crate) host: HostNetwork,
    events: mpsc::UnboundedReceiver<NetworkEvent>,
    heard: Vec<NetworkEvent>,
}

impl Network {
    /// Waits until the status is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&NetworkStatus) -> bool) -> NetworkStatus {
        let mut status = self.host.status();
        let waited = tokio::time::timeout(PATIENCE, status.wait_for(|status| is(status))).await;
        match waited {
            Ok(found) => found.expect("the task runs").clone(),
            Err(_) => panic!(
                "{what}: never; the status is {:#?}\n{}{}",
                self.host.status().borrow(),
                sh("ip addr; ip route; ip -6 route; ip rule"),
                fs::read_to_string("/run/site/dnsmasq.log").unwrap_or_default(),
            ),
        }
    }

    /// Waits until the NIC has this address.
    pub(crate) async fn has(&self, nic: &str, address: &str) -> NicStatus {
        let has = |status: &NetworkStatus| {
            let one = status.nics.iter().find(|one| one.name == nic);
            one.is_some_and(|one| one.addresses.iter().any(|own| own.to_string() == address))
        };
        let status = self.until(&format!("{nic} has {address}"), has).await;
        status.nics.into_iter().find(|one| one.name == nic).unwrap()
    }

    /// The events so far, a line each.
    pub(crate) fn events(&mut self) -> Vec<String> {
        while let Ok(event) = self.events.try_recv() {
            self.heard.push(event);
        }
        self.heard.iter().map(|event| format!("{} {}: {}", event.nic, event.kind, event.message)).collect()
    }
}

/// Whether something answers on TCP port 53 there, after a while if need be.
pub(crate) fn reaches(address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if TcpStream::connect_timeout(&SocketAddr::new(address, 53), Duration::from_secs(2)).is_ok() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Routes of the main table as `ip` shows them, without the kernel's own.
pub(crate) fn routes(family: &str) -> Vec<String> {
    let text = sh(&format!("ip {family} route show proto dhcp; ip {family} route show proto static"));
    text.lines().map(|line| line.trim().to_owned()).collect()
}
