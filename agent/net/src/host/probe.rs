//! Whether a gateway answers ARP or NDP, and whether a name server answers at all.
//!
//! The kernel asks gateways: a neighbour entry marked as in use is resolved or confirmed, and its state is
//! told by netlink. A name server is asked for the root's own servers (RFC 1035); any answer of its own,
//! a refusal too, shows that it is there.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Handle, MulticastGroup};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::GATEWAY_WAIT;
use super::nic::AbortOnDrop;
use crate::netlink::NetlinkError;

/// How often the kernel is told to ask at first; it gives up after three seconds by itself.
const AGAIN: Duration = Duration::from_secs(1);
/// How often, once silence is nothing new.
const SELDOM: Duration = Duration::from_secs(30);
/// How long an answer of a name server may take: it may have to ask others.
const ANSWER: Duration = Duration::from_secs(5);

/// Waits until one of `gateways` answers on the link, and says which. It never gives up.
pub(super) async fn answers(index: u32, gateways: BTreeSet<IpAddr>) -> Result<IpAddr, NetlinkError> {
    let (connection, handle, mut messages) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Neigh]).map_err(NetlinkError::Open)?;
    let _connection = AbortOnDrop(tokio::spawn(connection));
    forget(&handle, index, &gateways).await;
    let since = Instant::now();
    let mut again = since;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(again) => {
                again = Instant::now() + pause(since);
                for gateway in &gateways {
                    ask(&handle, index, *gateway).await;
                }
                if let Some(found) = reachable(&handle, index, &gateways).await {
                    return Ok(found);
                }
            }
            message = messages.next() => {
                let Some((message, _)) = message else { return std::future::pending().await };
                let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(neighbour)) = message.payload
                else {
                    continue;
                };
                if let Some(found) = alive(&neighbour, index, &gateways) {
                    return Ok(found);
                }
            }
        }
    }
}

/// A question for the name servers of the root: header, the root's name, type NS, class IN.
const QUESTION: [u8; 17] = [0x68, 0x66, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
/// In the third byte of a header: this is an answer.
const IS_ANSWER: u8 = 0x80;
const DNS_PORT: u16 = 53;

/// Waits until one of the name servers answers, and says which. It never gives up.
pub(super) async fn resolves(servers: Vec<IpAddr>) -> IpAddr {
    let since = Instant::now();
    loop {
        let asked = servers.iter().map(|server| Box::pin(answers_questions(*server)));
        if let Ok((server, _)) = futures_util::future::select_ok(asked).await {
            return server;
        }
        tokio::time::sleep(pause(since)).await;
    }
}

/// Until what has been asked since then is asked again.
fn pause(since: Instant) -> Duration {
    if since.elapsed() < 2 * GATEWAY_WAIT { AGAIN } else { SELDOM }
}

/// Asks once; an error when there is no answer within a few seconds.
async fn answers_questions(server: IpAddr) -> io::Result<IpAddr> {
    let own: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((own, 0)).await?;
    socket.connect((server, DNS_PORT)).await?;
    socket.send(&QUESTION).await?;
    let mut answer = [0; 512];
    let length = tokio::time::timeout(ANSWER, socket.recv(&mut answer)).await??;
    let ours = length >= 12 && answer[..2] == QUESTION[..2] && answer[2] & IS_ANSWER != 0;
    if ours { Ok(server) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Removes old knowledge of the gateways, which the kernel would take seconds to doubt.
async fn forget(handle: &Handle, index: u32, gateways: &BTreeSet<IpAddr>) {
    let listed: Result<Vec<NeighbourMessage>, _> = handle.neighbours().get().execute().try_collect().await;
    for neighbour in listed.unwrap_or_default() {
        let ours =
            neighbour.header.ifindex == index && address(&neighbour).is_some_and(|a| gateways.contains(&a));
        if ours && neighbour.header.state == NeighbourState::Stale {
            // Gone by itself, or asked for just now: both are well.
            let _ = handle.neighbours().del(neighbour).execute().await;
        }
    }
}

async fn ask(handle: &Handle, index: u32, gateway: IpAddr) {
    let request = handle.neighbours().add(index, gateway).state(NeighbourState::None);
    // Refused while the link has no address yet: the next try may do.
    let _ = request.flags(NeighbourFlags::Use).replace().execute().await;
}

async fn reachable(handle: &Handle, index: u32, gateways: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let neighbours: Vec<NeighbourMessage> = handle.neighbours().get().execute().try_collect().await.ok()?;
    neighbours.iter().find_map(|neighbour| alive(neighbour, index, gateways))
}

/// The gateway that this entry shows to be there.
fn alive(neighbour: &NeighbourMessage, index: u32, gateways: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let sure = [NeighbourState::Reachable, NeighbourState::Permanent, NeighbourState::Noarp];
    if neighbour.header.ifindex != index || !sure.contains(&neighbour.header.state) {
        return None;
    }
    address(neighbour).filter(|address| gateways.contains(address))
}

fn address(neighbour: &NeighbourMessage) -> Option<IpAddr> {
    neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    })
}
