//! User-data documents of tests, in parts that can be joined, and how one is applied.

use std::io::{Seek, Write};
use std::process::{Output, Stdio};

use anyhow::Result;

use crate::machine::Machine;
use crate::registry::Registry;

/// The settings of every document: the registry over plain HTTP.
pub fn settings(registry: &Registry) -> String {
    format!(
        "format = 1\n[box]\nhostname = \"box\"\n[[box.registry]]\nhost = \"{}\"\nplain_http = true\n",
        registry.host()
    )
}

/// An instance `site` that serves `text` on port 80.
pub fn site(registry: &Registry, text: &str) -> String {
    format!(
        r#"
[[recipe]]
name = "site"
[recipe.containers.web]
image = "{}"
ports = ["80:8080"]
files = {{ "/usr/share/nginx/html/index.html" = {{ content = "{text}\n" }} }}
[recipe.containers.web.health]
http = ":8080/"
interval = "5s"
"#,
        registry.reference("nginx:1")
    )
}

/// Settings and the one site.
pub fn page(registry: &Registry, text: &str) -> String {
    settings(registry) + &site(registry, text)
}

/// An instance `probe` that sleeps in a container with a shell.
pub fn probe(registry: &Registry, more: &str) -> String {
    format!(
        "\n[[recipe]]\nname = \"probe\"\n[recipe.containers.sh]\nimage = \"{}\"\n\
         entrypoint = [\"/bin/sleep\", \"1000000\"]\nstop_timeout = \"1s\"\n{more}\n",
        registry.reference("probe:1")
    )
}

/// Applies a document by the CLI, with more arguments.
pub fn apply(machine: &Machine, document: &str, more: &[&str]) -> Result<Output> {
    let mut file = tempfile::tempfile()?;
    file.write_all(document.as_bytes())?;
    file.rewind()?;
    machine.cli_with(&[&["apply"], more, &["-"]].concat(), Stdio::from(file))
}
