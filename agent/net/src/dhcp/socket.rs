//! The two sockets of a client.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use agent_core::network::Mac;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::sockopt::{BindToDevice, Broadcast, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, bind, setsockopt, socket,
};
use tokio::net::UdpSocket;

use super::frame;

/// Receives every IPv4 frame of a link and sends frames to all on it.
///
/// Tokio and the standard library know no packet sockets; what is needed of one (send, receive, wait)
/// is what their UDP socket does with any socket that keeps messages apart.
pub(super) struct PacketSocket {
    socket: UdpSocket,
    mac: Mac,
}

impl PacketSocket {
    /// Opens it on a link by its name. Needs CAP_NET_RAW.
    pub(super) fn open(link: &str, mac: Mac) -> io::Result<PacketSocket> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthIp)?;
        // A link's entry is a packet address with the link's number and no protocol; bound to it, the
        // socket keeps the protocol it was made with.
        let address = getifaddrs()?
            .filter(|entry| entry.interface_name == link)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the link has no packet address"))?;
        bind(fd.as_raw_fd(), &address)?;
        Ok(PacketSocket { socket: UdpSocket::from_std(fd.into())?, mac })
    }

    /// Sends a DHCP message to all on the link.
    pub(super) async fn send(&self, message: &[u8]) -> io::Result<()> {
        self.socket.send(&frame::broadcast(self.mac, message)).await.map(drop)
    }

    /// The next DHCP message from a server.
    pub(super) async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 2048];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            if let Some(message) = frame::payload(&buffer[..length]) {
                return Ok(message.to_vec());
            }
        }
    }
}

/// Opens a UDP socket on the client's port of one link, for renewals.
pub(super) fn udp(link: &str) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Datagram, flags, SockProtocol::Udp)?;
    setsockopt(&fd, ReuseAddr, &true)?;
    setsockopt(&fd, Broadcast, &true)?;
    setsockopt(&fd, BindToDevice, &link.into())?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, frame::CLIENT_PORT)))?;
    UdpSocket::from_std(fd.into())
}
