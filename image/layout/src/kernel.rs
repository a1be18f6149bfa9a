//! Kernel arguments that boot loader, initrd and agent exchange.

/// The slot that was started: `a` or `b`.
pub const SLOT: &str = "hf.slot";
/// The copy of the slot state that GRUB read (`grubenv` or `grubenv2`), empty when none was whole.
pub const ENV: &str = "hf.env";
/// Tries left for slot a after counting down.
pub const TRIES_A: &str = "hf.tries_a";
/// Tries left for slot b after counting down.
pub const TRIES_B: &str = "hf.tries_b";
/// The random text of the slot state.
pub const BOOT: &str = "hf.boot";
/// Slots that GRUB passed over in this boot since they cannot be started: `a`, `b`, both or none.
pub const PASSED: &str = "hf.passed";
/// The root's verity parameters: `DATA_BLOCKS:ROOT_HASH:SALT`, hashes in lower-case hex.
pub const VERITY: &str = "hf.verity";

/// The value of argument `name` on a kernel command line; the last one counts.
pub fn argument<'a>(cmdline: &'a str, name: &str) -> Option<&'a str> {
    let mut values = cmdline.split_whitespace().filter_map(|w| w.strip_prefix(name)?.strip_prefix('='));
    values.next_back()
}

/// How the root of a slot is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verity {
    /// Blocks of data; the hash tree starts behind them.
    pub data_blocks: u64,
    /// SHA-256 of the tree's root, in hex.
    pub root_hash: String,
    /// Salt, in hex.
    pub salt: String,
}

impl Verity {
    /// Reads the value of [`VERITY`].
    pub fn parse(text: &str) -> Option<Verity> {
        let mut parts = text.split(':');
        let data_blocks = parts.next()?.parse().ok()?;
        let (root_hash, salt) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let hex = |s: &str| s.bytes().all(|b| b.is_ascii_hexdigit()) && s.len() == 64;
        (parts.next().is_none() && hex(&root_hash) && hex(&salt)).then_some(Verity {
            data_blocks,
            root_hash,
            salt,
        })
    }
}

impl std::fmt::Display for Verity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.data_blocks, self.root_hash, self.salt)
    }
}
