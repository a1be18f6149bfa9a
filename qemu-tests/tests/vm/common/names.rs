//! A name server of the lab, in the place of all others.

use std::net::UdpSocket;

use qemu_tests::Machine;

/// Answers every question with a refusal on the host's loopback; the port.
fn serve() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length @ 12.., client)) = socket.recv_from(&mut question) {
            let mut answer = question[..length].to_vec();
            // An answer; this server does not look names up (RFC 1035, section 4.1.1).
            (answer[2], answer[3]) = (answer[2] | 0x80, 5);
            // A client that has gone asks no more.
            let _ = socket.send_to(&answer, client);
        }
    });
    port
}

/// Lets a name server answer whatever is asked of any, until the box restarts. The machine needs a shell.
pub(crate) fn answer(machine: &mut Machine) {
    let port = serve();
    machine
        .shell(&format!(
            "nft 'add table ip names; add chain ip names out {{ type nat hook output priority -100; }}; \
             add rule ip names out udp dport 53 dnat to 10.0.2.2:{port}'"
        ))
        .unwrap();
}
