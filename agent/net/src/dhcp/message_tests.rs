//! Answers byte by byte, as servers write them and as they should not.

use super::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const XID: u32 = 0x1234_5678;

/// An answer with these options, for 192.0.2.7 from 192.0.2.1.
fn answer(options: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![2, 1, 6, 0];
    bytes.extend(XID.to_be_bytes());
    bytes.resize(16, 0);
    bytes.extend([192, 0, 2, 7]);
    bytes.resize(28, 0);
    bytes.extend(MAC.0);
    bytes.resize(OPTIONS - 4, 0);
    bytes.extend(v4::MAGIC);
    bytes.extend([53, 1, 5, 54, 4, 192, 0, 2, 1]);
    bytes.extend(options.concat());
    bytes.push(255);
    bytes
}

fn lease_of(options: &[&[u8]]) -> Lease {
    match parse(&answer(options), MAC, XID) {
        Some(Answer::Ack(lease)) => lease,
        other => panic!("{options:?}: {other:?}"),
    }
}

#[test]
fn all_options_that_are_used() {
    let lease = lease_of(&[
        &[51, 4, 0, 0, 0x0e, 0x10],
        &[1, 4, 255, 255, 255, 128],
        &[3, 8, 192, 0, 2, 1, 192, 0, 2, 2],
        &[6, 8, 9, 9, 9, 9, 149, 112, 112, 112],
        &[12, 4, b'B', b'o', b'x', b'1'],
        &[15, 11, b'e', b'x', b'a', b'm', b'p', b'l', b'e', b'.', b'o', b'r', b'g'],
        &[26, 2, 5, 0x78],
        &[58, 4, 0, 0, 4, 0],
        &[59, 4, 0, 0, 8, 0],
    ]);
    assert_eq!((lease.prefix, lease.seconds, lease.renew, lease.rebind), (25, 3600, 1024, 2048));
    assert_eq!(lease.routers.len(), 2);
    assert_eq!(lease.dns, [Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(149, 112, 112, 112)]);
    assert_eq!(lease.hostname.as_deref(), Some("box1"));
    assert_eq!(lease.search, ["example.org"]);
    assert_eq!(lease.mtu, Some(1400));
    assert_eq!(lease.routes, None);
    assert_eq!(lease.server, Ipv4Addr::new(192, 0, 2, 1));
}

#[test]
fn classless_routes_also_in_two_pieces() {
    let whole = lease_of(&[&[121, 13, 0, 192, 0, 2, 254, 24, 198, 51, 100, 0, 0, 0, 0]]);
    let pieces = lease_of(&[&[121, 7, 0, 192, 0, 2, 254, 24, 198], &[121, 6, 51, 100, 0, 0, 0, 0]]);
    let expect = vec![
        ("0.0.0.0/0".parse().unwrap(), Ipv4Addr::new(192, 0, 2, 254)),
        ("198.51.100.0/24".parse().unwrap(), Ipv4Addr::UNSPECIFIED),
    ];
    assert_eq!(whole.routes, Some(expect.clone()));
    assert_eq!(pieces.routes, Some(expect));
    let domains = [3, b'o', b'n', b'e', 0, 3, b't', b'w', b'o', 0];
    assert_eq!(lease_of(&[&[119, 10], &domains]).search, ["one", "two"]);
}

#[test]
fn a_bad_option_does_not_cost_the_lease() {
    for bad in [
        &[26, 1, 5][..],
        &[26, 0],
        &[1, 3, 255, 255, 255],
        &[1, 4, 255, 0, 255, 0],
        &[12, 2, 0xff, 0xfe],
        &[121, 3, 24, 198, 51],
        &[121, 6, 33, 1, 2, 3, 4, 5],
        &[3, 3, 192, 0, 2],
        &[6, 4, 0, 0, 0, 0],
        &[119, 2, 0xc0, 0],
        &[200, 4, 1, 2, 3, 4],
        &[250, 90, 1],
    ] {
        let lease = lease_of(&[&[51, 4, 0, 0, 0x0e, 0x10], bad]);
        assert_eq!((lease.address, lease.prefix), (Ipv4Addr::new(192, 0, 2, 7), 24), "{bad:?}");
        assert!(lease.dns.is_empty() && lease.hostname.is_none() && lease.search.is_empty(), "{bad:?}");
    }
}

#[test]
fn text_that_is_no_name_reaches_no_file() {
    for bad in [&b"a\nnameserver 6.6.6.6"[..], b"a b", b"", b"-", b"a..b", b"a;b", b"caf\xc3\xa9"] {
        let mut option = vec![15, bad.len() as u8];
        option.extend(bad);
        assert!(lease_of(&[&option]).search.is_empty(), "{bad:?}");
        option[0] = 12;
        assert_eq!(lease_of(&[&option]).hostname, None, "{bad:?}");
    }
    assert_eq!(lease_of(&[&[12, 5, b'a', b'.', b'b', b'.', 0]]).hostname.as_deref(), Some("a.b"));
}

#[test]
fn times_are_put_in_order() {
    for (seconds, renew, rebind, expect) in [
        (3600, None, None, (1800, 3150)),
        (3600, Some(100), Some(200), (100, 200)),
        (3600, Some(200), Some(100), (99, 100)),
        (3600, Some(0), Some(0), (1800, 3150)),
        (3600, Some(4000), Some(5000), (1800, 3150)),
        (20, None, None, (10, 18)),
        (INFINITE, Some(1), Some(2), (INFINITE, INFINITE)),
    ] {
        let got = times(seconds, renew, rebind);
        assert_eq!(got, expect, "{seconds} {renew:?} {rebind:?}");
        assert!(seconds == INFINITE || (got.0 < got.1 && got.1 < seconds));
    }
    assert_eq!(lease_of(&[&[51, 4, 0, 0, 0, 0]]).seconds, LEAST_SECONDS);
    assert_eq!(lease_of(&[]).seconds, DEFAULT_SECONDS);
}

#[test]
fn no_bytes_make_it_panic() {
    let good = answer(&[&[51, 4, 0, 0, 0x0e, 0x10], &[121, 7, 0, 192, 0, 2, 254, 24, 198]]);
    for at in 0..good.len() {
        for value in [0, 1, 6, 17, 127, 254, 255] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let _ = parse(&bytes, MAC, XID);
            let _ = parse(&bytes[..at], MAC, XID);
        }
    }
}
