//! A client at work on one NIC.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::sockopt::{BindToDevice, Ipv6V6Only, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn6, bind, setsockopt, socket,
};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::client::{Action, Client};
use super::message::{Identity, Lease};
use crate::dhcp::task::{random, sleep_until};

const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// All servers and relays on the link (RFC 8415, section 7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// What a client has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dhcp6Event {
    /// The link is to have this.
    Use(Lease),
    /// A server gave this just now: keep it.
    Keep(Lease),
    /// The link must not have the addresses any more; what was kept is void.
    Drop,
    /// It could not send or receive; it will try again.
    Trouble(String),
}

/// A running client; dropped, it ends without a word to the server.
#[derive(Debug)]
pub struct Dhcp6Task {
    carrier: mpsc::UnboundedSender<bool>,
    task: JoinHandle<()>,
}

impl Dhcp6Task {
    /// Starts a client on the link that is up and has this number. It waits for [`Dhcp6Task::carrier`]. `kept`
    /// is the lease of an earlier run and whether the link still has it. What the client has to say goes to
    /// `report`, which must not block.
    pub fn start(
        link: String,
        index: u32,
        identity: Identity,
        kept: Option<(Lease, bool)>,
        report: impl Fn(Dhcp6Event) + Send + 'static,
    ) -> Dhcp6Task {
        let (carrier, commands) = mpsc::unbounded_channel();
        let mut client = Client::new(identity);
        if let Some((lease, used)) = kept {
            client.hold(Duration::ZERO, lease, used);
        }
        let report = Box::new(report);
        let worker = Worker { link, index, client, epoch: Instant::now(), socket: None, report };
        Dhcp6Task { carrier, task: tokio::spawn(worker.run(commands)) }
    }

    /// Says whether the link's other end is there.
    pub fn carrier(&self, present: bool) {
        // It ends only with this handle.
        let _ = self.carrier.send(present);
    }
}

impl Drop for Dhcp6Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Worker {
    link: String,
    index: u32,
    client: Client,
    epoch: Instant,
    socket: Option<UdpSocket>,
    report: Box<dyn Fn(Dhcp6Event) + Send>,
}

impl Worker {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<bool>) {
        let mut running = false;
        loop {
            let deadline = self.client.deadline().map(|deadline| self.epoch + deadline);
            let actions = tokio::select! {
                command = commands.recv() => match command {
                    Some(true) if !running => {
                        running = true;
                        self.client.start(self.epoch.elapsed(), random())
                    }
                    Some(false) if running => {
                        running = false;
                        self.client.stop();
                        Vec::new()
                    }
                    Some(_) => continue,
                    None => return,
                },
                () = sleep_until(deadline) => self.client.wake(self.epoch.elapsed(), random()),
                message = receive(self.socket.as_ref()) => match message {
                    Ok(message) => self.client.receive(self.epoch.elapsed(), &message, random()),
                    Err(error) => {
                        self.trouble("receive", &error);
                        Vec::new()
                    }
                },
            };
            for action in actions {
                match action {
                    Action::Send(bytes) => {
                        if let Err(error) = self.send(&bytes).await {
                            self.trouble("send", &error);
                        }
                    }
                    Action::Use(lease) => (self.report)(Dhcp6Event::Use(lease)),
                    Action::Keep(lease) => (self.report)(Dhcp6Event::Keep(lease)),
                    Action::Drop => (self.report)(Dhcp6Event::Drop),
                }
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open(&self.link)?,
        };
        let to = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, self.index);
        self.socket.insert(socket).send_to(bytes, to).await.map(drop)
    }

    /// The socket is made anew by the next message sent.
    fn trouble(&mut self, what: &str, error: &io::Error) {
        self.socket = None;
        (self.report)(Dhcp6Event::Trouble(format!("DHCPv6 failed to {what}: {error}")));
    }
}

/// Opens a UDP socket on the client's port of one link.
fn open(link: &str) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet6, SockType::Datagram, flags, SockProtocol::Udp)?;
    setsockopt(&fd, Ipv6V6Only, &true)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    setsockopt(&fd, BindToDevice, &link.into())?;
    let any = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, CLIENT_PORT, 0, 0);
    bind(fd.as_raw_fd(), &SockaddrIn6::from(any))?;
    UdpSocket::from_std(fd.into())
}

/// The next message from a server on the link; never where there is no socket.
async fn receive(socket: Option<&UdpSocket>) -> io::Result<Vec<u8>> {
    let Some(socket) = socket else { return std::future::pending().await };
    let mut buffer = vec![0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        if matches!(from, SocketAddr::V6(from) if from.ip().is_unicast_link_local()) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}
