//! Whether a name server answers.
//!
//! One question that every server can answer, whatever it knows: for the name servers of the root (RFC 1035,
//! section 4.1). Any answer to it will do. Deliberately absent: names, and what they mean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::UdpSocket;

use crate::clock;

/// How long an answer may take, and how often a server is asked: a datagram may be lost.
const WAIT: Duration = Duration::from_secs(2);
const TIMES: usize = 2;
const PORT: u16 = 53;

/// Whether one of the servers answers; none when there is none.
pub(super) async fn resolves(servers: &[IpAddr]) -> Option<bool> {
    let servers: Vec<SocketAddr> = servers.iter().map(|server| SocketAddr::new(*server, PORT)).collect();
    resolves_at(&servers, WAIT).await
}

async fn resolves_at(servers: &[SocketAddr], wait: Duration) -> Option<bool> {
    if servers.is_empty() {
        return None;
    }
    let answers = join_all(servers.iter().map(|server| answers(*server, wait))).await;
    Some(answers.into_iter().any(|answers| answers))
}

async fn answers(server: SocketAddr, wait: Duration) -> bool {
    for _ in 0..TIMES {
        if matches!(tokio::time::timeout(wait, ask(server)).await, Ok(Ok(true))) {
            return true;
        }
    }
    false
}

async fn ask(server: SocketAddr) -> std::io::Result<bool> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id: [u8; 2] = clock::random();
    socket.send(&question(id)).await?;
    let mut answer = [0; 512];
    loop {
        let length = socket.recv(&mut answer).await?;
        if is_answer(&answer[..length], id) {
            return Ok(true);
        }
    }
}

/// A query, recursion desired, of one question: the root, type NS, class IN.
fn question(id: [u8; 2]) -> Vec<u8> {
    [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &[0, 0, 2, 0, 1]].concat()
}

/// Whether a message is a response with this id, of whatever kind.
fn is_answer(message: &[u8], id: [u8; 2]) -> bool {
    message.len() >= 12 && message[..2] == id && message[2] & 0x80 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_server_that_refuses_answers_and_one_that_is_silent_does_not() {
        assert_eq!(resolves_at(&[], SHORT).await, None);
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let silent_at = silent.local_addr().unwrap();
        assert_eq!(resolves_at(&[silent_at], SHORT).await, Some(false));
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = server.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut asked = [0; 512];
            let (length, from) = server.recv_from(&mut asked).await.unwrap();
            assert_eq!(&asked[2..length], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]);
            // Another's answer first, and then REFUSED.
            asked[2] = 0x81;
            asked[3] = 5;
            let mut other = asked;
            other[0] ^= 1;
            server.send_to(&other[..length], from).await.unwrap();
            server.send_to(&asked[..length], from).await.unwrap();
        });
        assert_eq!(resolves_at(&[silent_at, at], SHORT).await, Some(true));
        serving.await.unwrap();
        // Nobody listens there any more.
        assert_eq!(resolves_at(&[at], SHORT).await, Some(false));
    }
}
