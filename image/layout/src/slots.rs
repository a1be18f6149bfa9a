//! The slot state: which slot is tried, and how often it may still be.
//!
//! A GRUB environment block: 1024 bytes, a header line, `name=value` lines, padded with `#`. All
//! variables stand in the first 512-byte sector with `ok=1` last, so that a block whose second sector
//! was lost still reads as whole, and one whose first sector was torn does not.

use std::fmt;

/// Bytes of an environment block.
pub const BLOCK_SIZE: usize = 1024;
/// First line of every environment block.
pub const HEADER: &str = "# GRUB Environment Block\n";
/// Tries that a slot known to be good is given.
pub const TRIES_GOOD: u8 = 3;
/// Tries that a new slot is given.
pub const TRIES_NEW: u8 = 1;

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The other one.
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// `a` or `b`.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }

    /// Reads `a` or `b`.
    pub fn parse(text: &str) -> Option<Slot> {
        match text {
            "a" => Some(Slot::A),
            "b" => Some(Slot::B),
            _ => None,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the boot loader decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// The slot to try first.
    pub slot: Slot,
    /// The slot that last proved healthy.
    pub good: Slot,
    /// Tries left for slot a, 0 to 3.
    pub tries_a: u8,
    /// Tries left for slot b, 0 to 3.
    pub tries_b: u8,
    /// Random text, written anew by the OS at each boot: tells this disk from its clones.
    pub boot: String,
}

/// Why an environment block cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It does not start with [`HEADER`].
    #[error("the slot state has no header")]
    Header,
    /// `ok=1` is missing: the block was torn.
    #[error("the slot state is not whole")]
    Torn,
    /// A variable is missing or has a value that it cannot have.
    #[error("the slot state has no usable `{0}`")]
    Value(&'static str),
    /// The disk does not give it.
    #[error("the slot state cannot be read")]
    Unreadable,
}

impl SlotState {
    /// Tries left for `slot`.
    pub fn tries(&self, slot: Slot) -> u8 {
        match slot {
            Slot::A => self.tries_a,
            Slot::B => self.tries_b,
        }
    }

    /// Sets the tries left for `slot`.
    pub fn set_tries(&mut self, slot: Slot, tries: u8) {
        match slot {
            Slot::A => self.tries_a = tries,
            Slot::B => self.tries_b = tries,
        }
    }

    /// Reads an environment block; only its first sector counts.
    pub fn parse(block: &[u8]) -> Result<SlotState, StateError> {
        let sector = &block[..block.len().min(512)];
        let text = String::from_utf8_lossy(sector);
        let body = text.strip_prefix(HEADER).ok_or(StateError::Header)?;
        let get = |name: &'static str| {
            let line = body.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
            line.ok_or(StateError::Value(name))
        };
        if get("ok") != Ok("1") {
            return Err(StateError::Torn);
        }
        let slot = |name| Slot::parse(get(name)?).ok_or(StateError::Value(name));
        let tries = |name| match get(name)?.parse::<u8>() {
            Ok(n) if n <= TRIES_GOOD => Ok(n),
            _ => Err(StateError::Value(name)),
        };
        let boot = get("boot")?;
        if boot.len() > 64 || !boot.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(StateError::Value("boot"));
        }
        Ok(SlotState {
            slot: slot("slot")?,
            good: slot("good")?,
            tries_a: tries("tries_a")?,
            tries_b: tries("tries_b")?,
            boot: boot.to_owned(),
        })
    }

    /// Writes an environment block of [`BLOCK_SIZE`] bytes.
    pub fn encode(&self) -> [u8; BLOCK_SIZE] {
        let text = format!(
            "{HEADER}slot={}\ngood={}\ntries_a={}\ntries_b={}\nboot={}\nok=1\n",
            self.slot, self.good, self.tries_a, self.tries_b, self.boot
        );
        let mut block = [b'#'; BLOCK_SIZE];
        block[..text.len()].copy_from_slice(text.as_bytes());
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> SlotState {
        SlotState { slot: Slot::B, good: Slot::A, tries_a: 3, tries_b: 1, boot: "x7".into() }
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(SlotState::parse(&state().encode()), Ok(state()));
    }

    #[test]
    fn second_sector_does_not_count_and_first_does() {
        let mut block = state().encode();
        block[512..].fill(0);
        assert_eq!(SlotState::parse(&block), Ok(state()));
        let torn = [&block[..40], &[0u8; 984][..]].concat();
        assert_eq!(SlotState::parse(&torn), Err(StateError::Torn));
        assert_eq!(SlotState::parse(&[0; BLOCK_SIZE]), Err(StateError::Header));
    }

    #[test]
    fn refuses_values_out_of_range() {
        let text = String::from_utf8(state().encode().to_vec()).unwrap();
        for (from, to, name) in [
            ("tries_b=1", "tries_b=9", "tries_b"),
            ("slot=b", "slot=c", "slot"),
            ("boot=x7", "boot=x ", "boot"),
        ] {
            let block = text.replace(from, to);
            assert_eq!(SlotState::parse(block.as_bytes()), Err(StateError::Value(name)));
        }
    }
}
