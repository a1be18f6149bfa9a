//! A name server on the host's loopback that may lie, fail, or be silent: RFC 1035, section 4, over UDP.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};

use anyhow::Result;

use crate::machine::Machine;
use crate::time_server::redirect;

/// What is said to every question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// That each name has this one address, whosever it is.
    Address(Ipv4Addr),
    /// `SERVFAIL`.
    Failure,
    /// Nothing.
    Silence,
}

/// A server. It runs until the test ends.
#[derive(Clone, Debug)]
pub struct NameServer {
    port: u16,
    state: Arc<Mutex<(Answer, u32)>>,
}

impl NameServer {
    /// Starts one.
    pub fn start(answer: Answer) -> Result<NameServer> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let server =
            NameServer { port: socket.local_addr()?.port(), state: Arc::new(Mutex::new((answer, 0))) };
        let state = server.state.clone();
        std::thread::spawn(move || {
            let mut question = [0; 1024];
            while let Ok((length, client)) = socket.recv_from(&mut question) {
                let answer = {
                    let mut state = state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    state.1 += 1;
                    state.0
                };
                if let Some(reply) = reply(&question[..length], answer) {
                    // A client that has gone asks no more.
                    let _ = socket.send_to(&reply, client);
                }
            }
        });
        Ok(server)
    }

    /// What is said from now on.
    pub fn answer(&self, answer: Answer) {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0 = answer;
    }

    /// How many questions came.
    pub fn asked(&self) -> u32 {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).1
    }

    /// What the machine, which has a shell, asks anybody of names comes here.
    pub fn redirect(&self, machine: &mut Machine) -> Result<()> {
        redirect(machine, "names", "udp dport 53", self.port)
    }
}

/// The answer to a message with one question.
fn reply(question: &[u8], answer: Answer) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    /// A response, recursion desired and available.
    const FLAGS: u16 = 0x8180;
    const SERVFAIL: u16 = 2;
    let name = question.get(HEADER..)?;
    let end = HEADER + name.iter().position(|byte| *byte == 0)? + 5;
    let asks_for_ipv4 = question.get(end - 4..end)? == [0, 1, 0, 1];
    let (flags, address) = match answer {
        Answer::Silence => return None,
        Answer::Failure => (FLAGS | SERVFAIL, None),
        Answer::Address(address) => (FLAGS, Some(address).filter(|_| asks_for_ipv4)),
    };
    let mut reply = question[..2].to_vec();
    for number in [flags, 1, u16::from(address.is_some()), 0, 0] {
        reply.extend(number.to_be_bytes());
    }
    reply.extend(&question[HEADER..end]);
    if let Some(address) = address {
        // The name of the question; A, IN, for one second; four bytes.
        reply.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_form_of_the_specification() {
        let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
        let address = Answer::Address(Ipv4Addr::new(192, 0, 2, 7));
        let expect = b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x04test\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\xc0\0\x02\x07";
        assert_eq!(reply(question, address).unwrap(), expect);
        assert_eq!(reply(question, Answer::Failure).unwrap()[2..8], [0x81, 0x82, 0, 1, 0, 0]);
        assert_eq!(reply(question, Answer::Silence), None);
        let mut of_ipv6 = *question;
        of_ipv6[21] = 28;
        assert_eq!(reply(&of_ipv6, address).unwrap()[2..8], [0x81, 0x80, 0, 1, 0, 0]);
        assert_eq!(reply(b"short", address), None);
    }
}
