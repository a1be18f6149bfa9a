//! Debian versions and their order (Debian Policy, 5.6.12).

use std::cmp::Ordering;
use std::fmt;

/// `[epoch:]upstream[-revision]`, ordered as `dpkg` orders them.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    text: String,
}

impl Version {
    /// Any text is a version; what is not well-formed is compared all the same, as `dpkg` does.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Version { text: text.into() }
    }

    /// As written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    fn parts(&self) -> (u64, &str, &str) {
        let (epoch, rest) = match self.text.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
            None => (0, self.text.as_str()),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.parts(), other.parts());
        a.0.cmp(&b.0).then_with(|| compare(a.1, b.1)).then_with(|| compare(a.2, b.2))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

/// Compares alternating runs of non-digits and digits; `~` is before everything, even the end.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (a_text, b_text) =
            (split(&mut a, |c| !c.is_ascii_digit()), split(&mut b, |c| !c.is_ascii_digit()));
        let length = a_text.len().max(b_text.len());
        for at in 0..length {
            let order = weight(a_text.get(at)).cmp(&weight(b_text.get(at)));
            if order.is_ne() {
                return order;
            }
        }
        let (a_number, b_number) = (split(&mut a, u8::is_ascii_digit), split(&mut b, u8::is_ascii_digit));
        let order = compare_numbers(a_number, b_number);
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

fn split<'a>(text: &mut &'a [u8], belongs: impl Fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|c| !belongs(c)).unwrap_or(text.len());
    let (head, tail) = text.split_at(end);
    *text = tail;
    head
}

/// Numbers of any length.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    fn significant(text: &[u8]) -> &[u8] {
        let zeroes = text.iter().take_while(|c| **c == b'0').count();
        &text[zeroes..]
    }
    let (a, b) = (significant(a), significant(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn weight(character: Option<&u8>) -> i32 {
    match character {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_policy() {
        let ascending: [&[&str]; 6] = [
            &[
                "1.0~beta1~svc1",
                "1.0~beta1",
                "1.0",
                "1.0-1",
                "1.0-1+b1",
                "1.0-1.1",
                "1.0-2",
                "1.0a",
                "1.0+",
                "1.1",
                "2",
            ],
            &["0:1", "1:0.1", "2:0"],
            &["~~", "~~a", "~", "", "a"],
            &["1.9", "1.10", "1.010.1"],
            &["6.12.85-1", "6.12.107-1~deb13u1", "6.12.107-1"],
            &["1-1~", "1-1", "1-1-1"],
        ];
        for versions in ascending {
            for (i, a) in versions.iter().enumerate() {
                for (j, b) in versions.iter().enumerate() {
                    assert_eq!(Version::new(*a).cmp(&Version::new(*b)), i.cmp(&j), "{a} against {b}");
                }
            }
        }
    }

    #[test]
    fn different_spellings_of_the_same_version_are_equal() {
        for (a, b) in [("1.0", "0:1.0"), ("1.02", "1.2"), ("1", "1-0"), ("1.0-00", "1.0"), ("a00", "a0")] {
            assert_eq!(Version::new(a), Version::new(b), "{a} against {b}");
        }
    }
}
