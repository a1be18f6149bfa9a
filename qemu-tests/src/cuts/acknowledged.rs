//! What a box has acknowledged, and must still know after a power cut.

use anyhow::Result;
use image_layout::Slot;
use serde_json::Value;

/// Something that a box said is done.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// So many entries were in the log when it had been said: it holds in every cut from here on.
    pub from: usize,
    /// Up to this many: then the harness began to change it.
    pub until: Option<usize>,
    /// What must be there.
    pub record: Record,
}

/// What must be there. Paths of files are relative to the state folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A file that holds just this.
    Content(String, Vec<u8>),
    /// A file of JSON with this value at a pointer (RFC 6901).
    Field(String, &'static str, Value),
    /// A file that holds a number, at least this one.
    AtLeast(String, u64),
    /// A page with this text, which only a running box has.
    Page(String),
    /// A slot that can be started.
    Starts(Slot),
    /// This slot is the one that the boot loader has for good.
    Good(Slot),
}

impl Acknowledged {
    /// Whether it counts after a cut at `entry`.
    pub fn holds_at(&self, entry: usize) -> bool {
        self.from <= entry && self.until.is_none_or(|until| entry < until)
    }
}

impl Record {
    /// The file that it is in, if it is in one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Record::Content(path, _) | Record::Field(path, ..) | Record::AtLeast(path, _) => Some(path),
            Record::Page(_) | Record::Starts(_) | Record::Good(_) => None,
        }
    }

    /// What is wrong with its file, if it is in one; `read` gives a file's content, `None` when there is none. The
    /// content is not told: it may be a secret.
    pub fn missing(&self, read: impl FnOnce(&str) -> Result<Option<Vec<u8>>>) -> Result<Option<String>> {
        let Some(path) = self.path() else { return Ok(None) };
        let Some(found) = read(path)? else { return Ok(Some(format!("`{path}` is not there"))) };
        let wrong = match self {
            Record::Content(_, content) => (found != *content)
                .then(|| format!("`{path}` has other content, {} bytes for {}", found.len(), content.len())),
            Record::Field(_, pointer, value) => {
                let json: Value = serde_json::from_slice(&found).unwrap_or_default();
                (json.pointer(pointer) != Some(value))
                    .then(|| format!("`{path}` has another `{pointer}` than was acknowledged"))
            }
            Record::AtLeast(_, number) => {
                let text = String::from_utf8_lossy(&found);
                let there: Option<u64> = text.trim().parse().ok();
                there
                    .is_none_or(|there| there < *number)
                    .then(|| format!("`{path}` holds {:?}, less than {number}", text.trim()))
            }
            Record::Page(_) | Record::Starts(_) | Record::Good(_) => None,
        };
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_are_there_or_missed() {
        let check = |record: Record, found: Option<&str>, good: bool| {
            let missing = record.missing(|_| Ok(found.map(|text| text.as_bytes().to_vec()))).unwrap();
            assert_eq!(missing.is_none(), good, "{record:?} in {found:?}: {missing:?}");
        };
        let content = Record::Content("a".into(), b"one".to_vec());
        let field = Record::Field("a".into(), "/b/c", json!(1));
        let number = Record::AtLeast("a".into(), 7);
        for (record, found, good) in [
            (&content, Some("one"), true),
            (&content, Some("on"), false),
            (&content, None, false),
            (&field, Some(r#"{"b": {"c": 1}, "d": 2}"#), true),
            (&field, Some(r#"{"b": {"c": 2}}"#), false),
            (&field, Some(r#"{"b": {"#), false),
            (&field, None, false),
            (&number, Some("7\n"), true),
            (&number, Some("12"), true),
            (&number, Some("6"), false),
            (&number, Some("\0\0"), false),
        ] {
            check(record.clone(), found, good);
        }
    }

    #[test]
    fn a_record_holds_from_its_acknowledgement_until_it_is_changed() {
        let record = Record::AtLeast("a".into(), 1);
        let some = Acknowledged { from: 5, until: Some(9), record };
        assert_eq!([4, 5, 8, 9].map(|entry| some.holds_at(entry)), [false, true, true, false]);
        assert!(Acknowledged { until: None, ..some }.holds_at(1000));
    }
}
