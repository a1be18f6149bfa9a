//! User-data documents of tests, in parts that can be joined.

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
