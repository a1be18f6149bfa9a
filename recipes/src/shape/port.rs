//! Published ports and probe targets.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::ShapeError;
use crate::model::HttpProbe;

const HINT: &str =
    "write `[ADDRESS:]HOST:CONTAINER[/tcp|udp]`, such as \"80:8080\" or \"127.0.0.1:53:53/udp\"";

/// A published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port {
    /// Address of the box it listens on; all of them when absent.
    pub address: Option<IpAddr>,
    /// Port on the box.
    pub host: u16,
    /// Port in the container.
    pub container: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Transport of a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// Where the box's own ssh listens.
const SSH: u16 = 22;

impl Port {
    /// Reads `"[ADDRESS:]HOST:CONTAINER[/tcp|udp]"`, an IPv6 address in brackets.
    pub fn parse(text: &str) -> Result<Port, ShapeError> {
        let (rest, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((rest, "tcp")) => (rest, Protocol::Tcp),
            Some((rest, "udp")) => (rest, Protocol::Udp),
            Some(_) => return Err(ShapeError::new("not a protocol of a published port", HINT)),
        };
        let Some((rest, container)) = rest.rsplit_once(':') else {
            return Err(ShapeError::new("a port without the side of the box", HINT));
        };
        let (address, host) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((address, host)) => (Some(address), host),
        };
        let host = parse_number(host)?;
        // Published, it would shadow the way in for the box's admin.
        if host == SSH && protocol == Protocol::Tcp {
            return Err(ShapeError::new(
                "port 22 of the box, which is its own ssh",
                "publish it on another port: \"2222:22\"",
            ));
        }
        Ok(Port {
            address: address.map(parse_address).transpose()?,
            host,
            container: parse_number(container)?,
            protocol,
        })
    }

    /// Whether both cannot be published on one box.
    pub fn conflicts_with(&self, other: &Port) -> bool {
        let wide = |address: Option<IpAddr>| address.is_none_or(|address| address.is_unspecified());
        let overlap = match (self.address, other.address) {
            (None, _) | (_, None) => true,
            (Some(a), Some(b)) => a == b || (a.is_ipv4() == b.is_ipv4() && (wide(Some(a)) || wide(Some(b)))),
        };
        overlap && self.host == other.host && self.protocol == other.protocol
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        write!(f, "{}:{}", self.host, self.container)?;
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

fn parse_address(text: &str) -> Result<IpAddr, ShapeError> {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(IpAddr::V6(address)),
            Err(_) => Err(ShapeError::new("not an IPv6 address in brackets", HINT)),
        };
    }
    match text.parse() {
        Ok(address @ IpAddr::V4(_)) => Ok(address),
        _ if text.contains(':') => Err(ShapeError::new("an IPv6 address without brackets", HINT)),
        _ => Err(ShapeError::new("not an address of the box", HINT)),
    }
}

fn parse_number(text: &str) -> Result<u16, ShapeError> {
    if text.contains('-') {
        return Err(ShapeError::new(
            "a range of ports, which the language does not have",
            "write one entry for each port",
        ));
    }
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => Err(ShapeError::new("not a port from 1 to 65535", HINT)),
    }
}

/// `":PORT/PATH"` of an HTTP probe; the path is `/` when absent.
pub fn http_probe(text: &str) -> Result<HttpProbe, ShapeError> {
    let hint = "write `:PORT/PATH` of the container itself, such as \":8080/healthz\"";
    let Some(rest) = text.strip_prefix(':') else {
        return Err(ShapeError::new("not the target of an HTTP probe", hint));
    };
    let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = parse_number(port).map_err(|_| ShapeError::new("not a port from 1 to 65535", hint))?;
    let good = path.len() <= 2048 && path.bytes().all(|b| b.is_ascii_graphic());
    if !good {
        return Err(ShapeError::new("not a path of an HTTP probe", hint));
    }
    Ok(HttpProbe { port, path: if path.is_empty() { "/".to_owned() } else { path.to_owned() } })
}

/// `":PORT"` of a TCP probe.
pub fn tcp_probe(text: &str) -> Result<u16, ShapeError> {
    let hint = "write `:PORT` of the container itself, such as \":5432\"";
    match text.strip_prefix(':').map(parse_number) {
        Some(Ok(port)) => Ok(port),
        _ => Err(ShapeError::new("not the target of a TCP probe", hint)),
    }
}
