//! A client at work on one NIC.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::time::{Duration, UNIX_EPOCH};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::client::{Action, Client, Destination, Loss};
use super::frame::SERVER_PORT;
use super::lease::Lease;
use super::message::Identity;
use super::socket::{PacketSocket, udp};

/// What a client has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DhcpEvent {
    /// The link is to have this.
    Use(Lease),
    /// A server acknowledged this just now: keep it.
    Keep(Lease),
    /// The link must not have the address any more; what was kept is void.
    Drop(Loss),
    /// It could not send or receive; it will try again.
    Trouble(String),
}

/// A running client; dropped, it ends without a word to the server.
#[derive(Debug)]
pub struct DhcpTask {
    carrier: mpsc::UnboundedSender<bool>,
    task: JoinHandle<()>,
}

impl DhcpTask {
    /// Starts a client on a link that is up. It waits for [`DhcpTask::carrier`]. `kept` is the lease of
    /// an earlier run and whether the link still has it. What the client has to say goes to `report`,
    /// which must not block.
    pub fn start(
        link: String,
        identity: Identity,
        kept: Option<(Lease, bool)>,
        report: impl Fn(DhcpEvent) + Send + 'static,
    ) -> DhcpTask {
        let (carrier, commands) = mpsc::unbounded_channel();
        let mac = identity.mac;
        let mut client = Client::new(identity);
        if let Some((lease, used)) = kept {
            client.hold(Duration::ZERO, lease, used);
        }
        let worker = Worker {
            link,
            mac,
            client,
            epoch: Instant::now(),
            packets: None,
            datagrams: None,
            report: Box::new(report),
        };
        DhcpTask { carrier, task: tokio::spawn(worker.run(commands)) }
    }

    /// Says whether the link's other end is there.
    pub fn carrier(&self, present: bool) {
        // It ends only with this handle.
        let _ = self.carrier.send(present);
    }
}

impl Drop for DhcpTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Worker {
    link: String,
    mac: agent_core::network::Mac,
    client: Client,
    epoch: Instant,
    packets: Option<PacketSocket>,
    datagrams: Option<UdpSocket>,
    report: Box<dyn Fn(DhcpEvent) + Send>,
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
                message = receive(self.packets.as_ref(), self.datagrams.as_ref()) => match message {
                    Ok(message) => self.client.receive(self.epoch.elapsed(), &message, random()),
                    Err(error) => {
                        self.trouble("receive", &error);
                        // Made anew by the next message sent.
                        (self.packets, self.datagrams) = (None, None);
                        Vec::new()
                    }
                },
            };
            for action in actions {
                self.act(action).await;
            }
            if !self.client.listens_on_link() {
                self.packets = None;
            }
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Send { bytes, to } => {
                if let Err(error) = self.send(&bytes, to).await {
                    self.trouble("send", &error);
                    (self.packets, self.datagrams) = (None, None);
                }
            }
            Action::Use(lease) => {
                self.datagrams = None;
                (self.report)(DhcpEvent::Use(lease));
            }
            Action::Keep(lease) => (self.report)(DhcpEvent::Keep(lease)),
            Action::Drop(loss) => {
                self.datagrams = None;
                (self.report)(DhcpEvent::Drop(loss));
            }
        }
    }

    async fn send(&mut self, bytes: &[u8], to: Destination) -> io::Result<()> {
        match to {
            Destination::Link => {
                let socket = match self.packets.take() {
                    Some(socket) => socket,
                    None => PacketSocket::open(&self.link, self.mac)?,
                };
                self.packets.insert(socket).send(bytes).await
            }
            Destination::From { to, .. } => {
                let socket = match self.datagrams.take() {
                    Some(socket) => socket,
                    None => udp(&self.link)?,
                };
                let target = SocketAddrV4::new(to, SERVER_PORT);
                self.datagrams.insert(socket).send_to(bytes, target).await.map(drop)
            }
        }
    }

    fn trouble(&self, what: &str, error: &io::Error) {
        (self.report)(DhcpEvent::Trouble(format!("DHCP failed to {what}: {error}")));
    }
}

pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The next message on either socket; never where there is none.
async fn receive(packets: Option<&PacketSocket>, datagrams: Option<&UdpSocket>) -> io::Result<Vec<u8>> {
    let by_packet = async {
        match packets {
            Some(socket) => socket.receive().await,
            None => std::future::pending().await,
        }
    };
    let by_datagram = async {
        let Some(socket) = datagrams else { return std::future::pending().await };
        let mut buffer = vec![0; 2048];
        let length = socket.recv(&mut buffer).await?;
        buffer.truncate(length);
        Ok(buffer)
    };
    tokio::select! {
        message = by_packet => message,
        message = by_datagram => message,
    }
}

/// Unpredictable enough for transaction numbers and waits.
pub(crate) fn random() -> u32 {
    let mut bytes = [0; 4];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    match read {
        Ok(()) => u32::from_ne_bytes(bytes),
        Err(_) => UNIX_EPOCH.elapsed().unwrap_or_default().subsec_nanos(),
    }
}
