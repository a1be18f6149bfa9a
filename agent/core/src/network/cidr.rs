//! Addresses with a prefix length, and what subnets have to do with each other.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address with its prefix length. Host bits are kept: `10.0.0.7/24` is an interface's address,
/// [`Cidr::network`] is the subnet around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Joins the two; none when the prefix is longer than the address.
    pub fn new(address: impl Into<IpAddr>, prefix: u8) -> Option<Cidr> {
        let address = address.into();
        (prefix <= width(address)).then_some(Cidr { address, prefix })
    }

    /// The address alone: `/32` or `/128`.
    pub fn host(address: impl Into<IpAddr>) -> Cidr {
        let address = address.into();
        Cidr { address, prefix: width(address) }
    }

    /// `0.0.0.0/0` or `::/0`, the family of `like`.
    pub fn default_route(like: IpAddr) -> Cidr {
        let address = match like {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Cidr { address, prefix: 0 }
    }

    /// The address, host bits and all.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is a default route's destination.
    pub fn is_default(&self) -> bool {
        self.prefix == 0 && self.address.is_unspecified()
    }

    /// The same with its host bits zero.
    pub fn network(&self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask))
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask))
            }
        };
        Cidr { address, prefix: self.prefix }
    }

    /// Whether the address lies in the subnet.
    pub fn contains(&self, address: IpAddr) -> bool {
        same_family(self.address, address)
            && Cidr { address, prefix: self.prefix }.network() == self.network()
    }

    /// Whether the two subnets share an address.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        let (wide, narrow) = if self.prefix <= other.prefix { (self, other) } else { (other, self) };
        wide.contains(narrow.address)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Text that is not an address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address with a prefix length, like 192.0.2.7/24")]
pub struct ParseError(String);

impl FromStr for Cidr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Cidr, ParseError> {
        let parsed = text
            .split_once('/')
            .and_then(|(address, prefix)| Cidr::new(address.parse::<IpAddr>().ok()?, prefix.parse().ok()?));
        parsed.ok_or_else(|| ParseError(text.to_owned()))
    }
}

impl TryFrom<String> for Cidr {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Cidr, ParseError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_contain_and_overlap_within_their_family() {
        assert!(cidr("10.0.0.7/24").contains("10.0.0.200".parse().unwrap()));
        assert!(!cidr("10.0.0.7/24").contains("10.0.1.1".parse().unwrap()));
        assert!(!cidr("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(cidr("10.0.0.0/8").overlaps(&cidr("10.213.4.0/24")));
        assert!(cidr("10.213.4.128/25").overlaps(&cidr("10.213.4.0/24")));
        assert!(!cidr("10.213.5.0/24").overlaps(&cidr("10.213.4.0/24")));
        assert!(!cidr("::/0").overlaps(&cidr("10.213.4.0/24")));
        assert_eq!(cidr("2001:db8::7/64").network(), cidr("2001:db8::/64"));
        assert_eq!(cidr("203.0.113.7/32").network(), cidr("203.0.113.7/32"));
        assert!(cidr("::/0").is_default() && !cidr("10.0.0.0/0").is_default());
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["10.0.0.1", "10.0.0.1/33", "::1/129", "10.0.0/8", "", "/24", "a/b"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
