//! Accepted documents.

use agent_core::state::{self, Accepted, Generation, Provider};
use agent_system::files;
use recipes::Secret;

use super::{LIMIT, RecordError, Records};

/// So many are kept.
const KEPT: usize = 20;

impl Records {
    /// The newest generation that is usable, and what is to be said of newer ones.
    pub(crate) fn newest_generation(
        &self,
        usable: impl Fn(&Generation) -> Result<(), String>,
    ) -> (Option<Generation>, Vec<String>) {
        let files = self.generation_numbers().into_iter().map(|number| {
            let text = files::read_text(self.generation_path(number), LIMIT).unwrap_or_default();
            (number, text)
        });
        state::newest_usable(files.collect(), usable)
    }

    /// Keeps a document as the next generation; durable when this returns.
    pub(crate) fn accept(
        &self,
        document: Secret,
        source: Accepted,
        now: u64,
    ) -> Result<Generation, RecordError> {
        let numbers = self.generation_numbers();
        let generation = Generation {
            number: numbers.last().map_or(1, |last| last + 1),
            accepted_at: now,
            accepted_by: env!("CARGO_PKG_VERSION").into(),
            source,
            document,
        };
        self.formats.write(&self.generation_path(generation.number), &generation)?;
        for old in numbers.iter().take((numbers.len() + 1).saturating_sub(KEPT)) {
            self.formats.remove(&self.generation_path(*old))?;
        }
        Ok(generation)
    }

    /// The provider's identity when its user-data was last taken.
    pub(crate) fn provider(&self) -> Result<Option<Provider>, RecordError> {
        self.formats.read(&self.path("provider.json"))
    }

    /// Records the provider's identity.
    pub(crate) fn put_provider(&self, provider: &Provider) -> Result<(), RecordError> {
        self.formats.write(&self.path("provider.json"), provider)
    }

    fn generation_path(&self, number: u64) -> std::path::PathBuf {
        self.path("generations").join(format!("{number}.json"))
    }

    /// Numbers of all generations, in order.
    fn generation_numbers(&self) -> Vec<u64> {
        let names = super::entries(&self.path("generations"));
        let number = |path: &std::path::PathBuf| path.file_stem()?.to_str()?.parse().ok();
        let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_usable_one_is_found_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path(), None).unwrap();
        for n in 1..=25 {
            let source = Accepted { channel: "apply".into(), file: "x".into() };
            let kept = records.accept(Secret::new(format!("doc {n}")), source, n).unwrap();
            assert_eq!(kept.number, n);
        }
        assert_eq!(records.generation_numbers(), (6..=25).collect::<Vec<_>>());
        std::fs::write(records.generation_path(25), "torn").unwrap();
        std::fs::write(records.generation_path(24), r#"{"format":7}"#).unwrap();
        let (found, complaints) = records.newest_generation(|_| Ok(()));
        assert_eq!(found.unwrap().document.expose(), "doc 23");
        assert_eq!(complaints.len(), 2);
        let source = Accepted { channel: "apply".into(), file: "x".into() };
        assert_eq!(records.accept(Secret::new("next"), source, 1).unwrap().number, 26);
    }
}
