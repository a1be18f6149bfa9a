//! Addresses, hosts of registries, and keys of admins.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use base64::Engine;
use serde::{Deserialize, Serialize};

use super::{ShapeError, is_compatible_hostname};

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// The address, host bits included.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

impl Cidr {
    /// Reads `ADDRESS/PREFIX`.
    pub fn parse(text: &str) -> Result<Cidr, ShapeError> {
        let hint = "write `ADDRESS/PREFIX`, such as \"203.0.113.7/24\" or \"2001:db8::7/64\"";
        let Some((address, prefix)) = text.split_once('/') else {
            return Err(ShapeError::new("an address without the length of its prefix", hint));
        };
        let address: IpAddr = address.parse().map_err(|_| ShapeError::new("not an IP address", hint))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|b| b.is_ascii_digit());
        match prefix.parse::<u8>() {
            Ok(prefix) if digits && prefix <= most => Ok(Cidr { address, prefix }),
            _ => Err(ShapeError::new(format!("not the length of a prefix from 0 to {most}"), hint)),
        }
    }

    /// The network's own address: without host bits.
    pub fn network(&self) -> IpAddr {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        match self.address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & (mask >> 96) as u32)),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask)),
        }
    }

    /// Whether the address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same_family = self.address.is_ipv4() == address.is_ipv4();
        same_family && Cidr { address, prefix: self.prefix }.network() == self.network()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Cidr {
    type Error = ShapeError;

    fn try_from(text: String) -> Result<Cidr, ShapeError> {
        Cidr::parse(&text)
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

/// A hardware address of six bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads `52:54:00:12:34:56`, in either case.
    pub fn parse(text: &str) -> Result<Mac, ShapeError> {
        let wrong = || {
            ShapeError::new(
                "not a MAC address",
                "write six pairs of hexadecimal digits: \"52:54:00:12:34:56\"",
            )
        };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = part.and_then(|p| u8::from_str_radix(p, 16).ok()).ok_or_else(wrong)?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Mac(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<String> for Mac {
    type Error = ShapeError;

    fn try_from(text: String) -> Result<Mac, ShapeError> {
        Mac::parse(&text)
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

/// `HOST[:PORT]` of a registry, an IPv6 address in brackets.
pub fn registry_host(text: &str) -> Result<String, ShapeError> {
    let hint = "write `HOST` or `HOST:PORT`, such as \"registry.example.org:5000\", without `https://`";
    match is_host_and_port(text) {
        true => Ok(text.to_owned()),
        false => Err(ShapeError::new("not the host of a registry", hint)),
    }
}

/// Whether a text is `HOST` or `HOST:PORT`, an IPv6 address in brackets.
pub(super) fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good_host = match bracketed {
        Some(inner) => Ipv6Addr::from_str(inner).is_ok(),
        None => is_compatible_hostname(host),
    };
    let good_port = port.is_none_or(|p| {
        p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|n| n > 0)
    });
    good_host && good_port
}

/// An OpenSSH public key as `authorized_keys` has it: type, base64, comment; no options.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AdminKey(String);

/// Key types that the box's sshd accepts.
const KEY_TYPES: &[&str] = &[
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

/// The fewest bits of an RSA key that the box's sshd accepts.
const RSA_BITS: usize = 2048;

impl AdminKey {
    /// Reads one key (RFC 4253, section 6.6: the blob begins with its type).
    pub fn parse(text: &str) -> Result<AdminKey, ShapeError> {
        let hint = "write the whole line of a `.pub` file, such as \"ssh-ed25519 AAAA… name\"";
        let wrong = |message: &str| ShapeError::new(message, hint);
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(wrong("a private key: keep it to yourself and make a new one"));
        }
        if text.len() > 16 * 1024 || text.contains(|c: char| c.is_control()) {
            return Err(wrong("not one line of an OpenSSH public key"));
        }
        let mut words = text.split_ascii_whitespace();
        let kind = words.next().unwrap_or("");
        if !KEY_TYPES.contains(&kind) {
            let options = text.split_ascii_whitespace().any(|word| KEY_TYPES.contains(&word));
            let message =
                if options { "a key with options before its type" } else { "not an OpenSSH public key" };
            return Err(wrong(message));
        }
        let blob = words.next().and_then(|word| base64::engine::general_purpose::STANDARD.decode(word).ok());
        let Some(blob) = blob else {
            return Err(wrong("an OpenSSH public key whose base64 is damaged"));
        };
        let mut fields = Fields(&blob);
        let short = "an OpenSSH public key that is cut short or of another type than it says";
        if fields.next() != Some(kind.as_bytes()) || blob.len() < 4 + kind.len() + 32 {
            return Err(wrong(short));
        }
        if kind == "ssh-rsa" {
            // Behind its exponent.
            let bits = bits(fields.nth(1).ok_or_else(|| wrong(short))?);
            if bits < RSA_BITS {
                let message = format!("an RSA key of {bits} bits, where at least {RSA_BITS} are accepted");
                return Err(ShapeError::new(message, "make a new one: `ssh-keygen -t ed25519`"));
            }
        }
        Ok(AdminKey(text.to_owned()))
    }

    /// The line, without a line break.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The fields of a key's blob, each behind its length (RFC 4251, section 5).
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (field, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.0 = rest;
        Some(field)
    }
}

/// Bits of a number, the highest byte first.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    number.first().map_or(0, |first| 8 * number.len() - first.leading_zeros() as usize)
}
