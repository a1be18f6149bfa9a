//! What is recorded of a volume.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Format;

/// Names a volume's directory for as long as it lives: 16 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeId(String);

impl VolumeId {
    /// A new one from randomness.
    pub fn from_random(random: u64) -> VolumeId {
        VolumeId(format!("{random:016x}"))
    }

    /// Reads a directory's name.
    pub fn parse(text: &str) -> Option<VolumeId> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 16 && text.bytes().all(hex)).then(|| VolumeId(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `volume.json` beside a volume's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its id.
    pub id: VolumeId,
    /// Instance that it belongs to.
    pub instance: String,
    /// Its name in the recipe.
    pub name: String,
    /// Quota in bytes.
    pub size: Option<u64>,
    /// Number that the file system counts its blocks under; 0: not counted.
    pub project: u32,
    /// Seconds since 1970.
    pub created_at: u64,
    /// How often all that it holds was replaced: each time there is another folder for it.
    #[serde(default)]
    pub replaced: u32,
}

impl VolumeRecord {
    /// The folder in the volume's own that containers see.
    pub fn folder(&self) -> String {
        match self.replaced {
            0 => "data".to_owned(),
            count => format!("data-{count}"),
        }
    }
}

impl Format for VolumeRecord {
    const SUBJECT: &'static str = "record of a volume";
    const SINCE: &'static [u32] = &[1];
    const SPARE: bool = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_file_names() {
        let id = VolumeId::from_random(0xbeef);
        assert_eq!(id.as_str(), "000000000000beef");
        assert_eq!(VolumeId::parse(id.as_str()), Some(id));
        for bad in ["", "..", "000000000000BEEF", "../../../../etc/p", "000000000000beeg"] {
            assert_eq!(VolumeId::parse(bad), None, "{bad}");
        }
    }
}
