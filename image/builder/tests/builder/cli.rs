//! The sections of the README that lead to a box at a provider, and back into one, are there.
//!
//! Whether the lines are understood is tested beside the parser.

const README: &str = include_str!("../../../../README.md");

/// A section, without its title.
fn section(title: &str) -> &'static str {
    let after = README.split_once(&format!("\n### {title}\n"));
    let (_, after) = after.unwrap_or_else(|| panic!("README.md has no section `{title}`"));
    after.split("\n##").next().unwrap_or_default()
}

/// Expects a line of the section's code that begins so and has `part`.
fn has(title: &str, command: &str, part: &str) {
    let mut lines = section(title).split("```").skip(1).step_by(2).flat_map(str::lines);
    let start = format!("target/tool/holdfast-image {command} ");
    let found = lines.any(|line| line.starts_with(&start) && line.contains(part));
    assert!(found, "`{title}` has no line `{start}` with `{part}`");
}

#[test]
fn the_readme_uploads_and_launches_at_each_provider() {
    for (title, provider) in
        [("At DigitalOcean", "digitalocean"), ("At OVHcloud, or another OpenStack", "ovh")]
    {
        has(title, &format!("upload {provider}"), " target/image");
        has(title, &format!("launch {provider}"), " --user-data ");
    }
}

#[test]
fn the_readme_leads_back_into_a_box_and_away_from_compose() {
    for provider in ["digitalocean", "ovh"] {
        has("Locked out", &format!("launch {provider}"), " --image \"$SNAPSHOT\" ");
    }
    assert!(section("From a Compose file").contains("](recipes/from-compose.md)"));
    let whole = include_str!("../../../../recipes/from-compose.md");
    assert!(whole.starts_with("# From Compose\n"), "{whole}");
}
