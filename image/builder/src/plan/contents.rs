//! The parts of `image/holdfast.toml` that say what an image holds.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `[root]`: the files of the root.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// Package to patterns of paths that are kept of it; a package that is not named gives nothing.
    pub keep: BTreeMap<String, Vec<String>>,
    /// Patterns of paths that are dropped, whoever they are of.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Paths whose setuid or setgid bit is taken away; any other file that has one stops the build.
    #[serde(default)]
    pub without_setuid: Vec<String>,
    /// Empty folders that something is mounted on.
    pub mount_points: Vec<String>,
    /// Symbolic links that no package has: path to target.
    pub links: BTreeMap<String, String>,
}

/// `[kernel]`: the kernel, its arguments and its modules.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The command line; `hf.verity=` is added.
    pub arguments: Vec<String>,
    /// Modules of the root, loaded at each boot; what they depend on follows.
    pub modules: Vec<String>,
    /// Modules of the initrd with their parameters, in the order in which they are loaded; what each
    /// depends on is loaded before it.
    pub initrd_modules: Vec<String>,
}

/// `[embed]`: what comes along for containers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embed {
    /// Apps of `recipes/apps` whose images are embedded: the app's name to the full reference.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use crate::config::{self, Config, ConfigError};

    const DOCUMENT: &str = include_str!("../../../holdfast.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        config::parse(text, "holdfast.toml")
    }

    #[test]
    fn the_repository_document_is_read_and_an_unknown_key_is_told() {
        let document = parse(DOCUMENT).unwrap();
        assert!(document.root.keep.contains_key("systemd"));
        for (table, wrong, right) in [("[root]", "drops", "drop"), ("[kernel]", "argumens", "arguments")] {
            assert!(DOCUMENT.contains(&format!("\n{table}\n")), "{table}");
            let text = DOCUMENT.replacen(&format!("\n{table}\n"), &format!("\n{table}\n{wrong} = []\n"), 1);
            let error = parse(&text).unwrap_err();
            let place = text.lines().position(|line| line.starts_with(wrong)).unwrap() + 1;
            assert!(
                error.to_string().starts_with(&format!("holdfast.toml:{place}:1: unknown field `{wrong}`")),
                "{error}"
            );
            assert_eq!(error.hint(), Some(format!("did you mean `{right}`?")));
        }
    }
}
