//! Which files of a package are kept: explicit patterns.
//!
//! In a pattern `*` stands for any characters within one component of a path and `**` for any characters.
//! There are no other special characters, and no pattern excludes: what no pattern names is not kept.

/// Whether `path` (no leading slash) matches `pattern`.
pub fn matches(pattern: &str, path: &str) -> bool {
    fn step(pattern: &[u8], path: &[u8]) -> bool {
        match pattern {
            [] => path.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=path.len()).any(|at| step(rest, &path[at..])),
            [b'*', rest @ ..] => {
                let component = path.iter().position(|b| *b == b'/').unwrap_or(path.len());
                (0..=component).any(|at| step(rest, &path[at..]))
            }
            [byte, rest @ ..] => path.first() == Some(byte) && step(rest, &path[1..]),
        }
    }
    step(pattern.as_bytes(), path.as_bytes())
}

/// Keeps count of which patterns were of use, so that one that matches nothing is noticed.
#[derive(Debug)]
pub struct Selection<'a> {
    patterns: Vec<(&'a str, bool)>,
}

impl<'a> Selection<'a> {
    /// A selection by these patterns.
    pub fn new(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        Selection { patterns: patterns.into_iter().map(|p| (p, false)).collect() }
    }

    /// Whether a path is kept.
    pub fn keeps(&mut self, path: &str) -> bool {
        let mut kept = false;
        for (pattern, used) in &mut self.patterns {
            if matches(pattern, path) {
                *used = true;
                kept = true;
            }
        }
        kept
    }

    /// Patterns that have matched nothing so far.
    pub fn unused(&self) -> Vec<&'a str> {
        self.patterns.iter().filter(|(_, used)| !used).map(|(pattern, _)| *pattern).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expect) in [
            ("usr/bin/nft", "usr/bin/nft", true),
            ("usr/bin/nft", "usr/bin/nftx", false),
            ("usr/lib/*.so.*", "usr/lib/libz.so.1.3", true),
            ("usr/lib/*.so.*", "usr/lib/deep/libz.so.1", false),
            ("usr/share/ca/**", "usr/share/ca/mozilla/x.crt", true),
            ("usr/**/x.crt", "usr/share/ca/x.crt", true),
            ("usr/share/ca/**", "usr/share/cat", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, path), expect, "{pattern} against {path}");
        }
    }

    #[test]
    fn unused_patterns_are_told() {
        let mut selection = Selection::new(["a/*", "b"]);
        assert!(selection.keeps("a/x"));
        assert!(!selection.keeps("c"));
        assert_eq!(selection.unused(), ["b"]);
    }
}
