//! The host's apt sources, read only for where Debian's archives are: its suites do not matter.

use std::collections::BTreeMap;
use std::path::Path;

use crate::lock::control::paragraphs;

/// The folder of a mirror that holds the main archive.
pub(crate) const DEBIAN: &str = "debian";
/// The folder of a mirror that holds the security archive.
pub(crate) const SECURITY: &str = "debian-security";

/// Base URIs by archive, from `/etc/apt`. What cannot be read offers nothing.
pub(crate) fn host(etc_apt: &Path) -> BTreeMap<String, String> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(etc_apt.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut bases = BTreeMap::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let sources = match file.extension().and_then(|e| e.to_str()) {
            Some("list") => one_line(&text),
            Some("sources") => deb822(&text),
            _ => continue,
        };
        for (uri, suites) in sources {
            if let Some(archive) = archive_of(&uri, &suites) {
                bases.entry(archive.to_owned()).or_insert_with(|| uri.trim_end_matches('/').to_owned());
            }
        }
    }
    bases
}

fn one_line(text: &str) -> Vec<(String, Vec<String>)> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb ").or_else(|| line.strip_prefix("deb\t")) else { continue };
        let rest = rest.trim_start();
        let rest = if rest.starts_with('[') { rest.split_once(']').map_or("", |(_, r)| r) } else { rest };
        let mut words = rest.split_ascii_whitespace();
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            sources.push((uri.to_owned(), vec![suite.to_owned()]));
        }
    }
    sources
}

fn deb822(text: &str) -> Vec<(String, Vec<String>)> {
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line.trim_end(), "\n"]).collect();
    let mut sources = Vec::new();
    for paragraph in paragraphs(&text) {
        let words =
            |name| paragraph.get(name).unwrap_or_default().split_ascii_whitespace().map(str::to_owned);
        let disabled = words("Enabled").any(|word| word == "no" || word == "false");
        if disabled || !words("Types").any(|word| word == "deb") {
            continue;
        }
        let suites: Vec<String> = words("Suites").collect();
        sources.extend(words("URIs").map(|uri| (uri, suites.clone())));
    }
    sources
}

/// Which archive a source is a mirror of, by its last folder, else by its suites.
fn archive_of(uri: &str, suites: &[String]) -> Option<&'static str> {
    const RELEASES: [&str; 9] =
        ["stable", "oldstable", "testing", "unstable", "sid", "bullseye", "bookworm", "trixie", "forky"];
    if !["http:", "https:", "file:"].iter().any(|scheme| uri.starts_with(scheme)) {
        return None;
    }
    match uri.trim_end_matches('/').rsplit('/').next() {
        Some(DEBIAN) => return Some(DEBIAN),
        Some(SECURITY) => return Some(SECURITY),
        _ => {}
    }
    suites.iter().find_map(|suite| {
        let (release, rest) = suite.split_once(['-', '/']).unwrap_or((suite, ""));
        match (RELEASES.contains(&release), rest) {
            (true, "security") => Some(SECURITY),
            (true, "" | "updates") => Some(DEBIAN),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, expect: &[(&str, &str)]) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sources.list.d")).unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        let bases = host(folder.path());
        let found: Vec<(&str, &str)> = bases.iter().map(|(a, u)| (a.as_str(), u.as_str())).collect();
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn both_formats_of_sources_are_read() {
        check(
            "sources.list",
            "# a\ndeb [signed-by=/x arch=amd64] http://m/debian/ bookworm main # tail\ndeb-src http://n/debian x y\n\
             deb http://s/sec bookworm-security main\ndeb https://other/apt stable main\n",
            &[("debian", "http://m/debian"), ("debian-security", "http://s/sec")],
        );
        check(
            "sources.list.d/debian.sources",
            "Types: deb\n# was: elsewhere\nURIs: http://m/debian\nSuites: bookworm bookworm-updates\n\n\
             Types: deb deb-src\nURIs: http://m/debian-security\nSuites: bookworm-security\n\n\
             Enabled: no\nTypes: deb\nURIs: http://off/debian\nSuites: sid\n",
            &[("debian", "http://m/debian"), ("debian-security", "http://m/debian-security")],
        );
        check("sources.list.d/x.sources.disabled", "Types: deb\nURIs: http://m/debian\nSuites: sid\n", &[]);
        check("sources.list", "deb https://deb.nodesource.com/node_20.x nodistro main\n", &[]);
    }
}
