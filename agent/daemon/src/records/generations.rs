//! Accepted documents.

use agent_core::state::{self, Accepted, Generation, Provider};
use agent_system::files::{self, Access};
use recipes::Secret;

use super::{LIMIT, RecordError, Records};
use crate::provider_network::{FORMAT, Kept};

/// Beside the leases.
const PROVIDER_NETWORK: &str = "network/provider.json";
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

    /// What the provider described of the network. What cannot be read counts as nothing: it can be had again.
    pub(crate) fn provider_network(&self) -> Option<Kept> {
        let text = files::read_text(self.path(PROVIDER_NETWORK), LIMIT);
        let text = text.inspect_err(|error| {
            if !error.is_not_found() {
                tracing::warn!("the provider's network is asked for anew: {error}");
            }
        });
        let kept: Option<Kept> = serde_json::from_str(&text.ok()?).ok();
        kept.filter(|kept| kept.format == FORMAT)
    }

    /// Keeps what the provider describes of the network.
    pub(crate) fn put_provider_network(&self, kept: &Kept) -> Result<(), RecordError> {
        let path = self.path(PROVIDER_NETWORK);
        if let Some(folder) = path.parent() {
            files::create_dir_all(folder, Access::mode(0o755))?;
        }
        let text = serde_json::to_vec_pretty(kept).unwrap_or_default();
        Ok(files::write_atomic(path, text, 0o600)?)
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
