//! Text for people: tables, sizes, times, and nothing that a terminal would obey.

use serde::Serialize;

use crate::error::Failure;

/// A text on one line: control characters, which a terminal would act on, become `?`.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()
}

/// The same for a text of several lines.
pub(crate) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// Bytes in the unit that keeps at most four digits.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "K", "M", "G"] {
        if value < 999.5 {
            return if unit == "B" || value >= 9.95 {
                format!("{value:.0}{unit}")
            } else {
                format!("{value:.1}{unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.1}T")
}

/// Seconds in their two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let at = units.iter().position(|(_, length)| seconds >= *length).unwrap_or(3);
    let (name, length) = units[at];
    let first = format!("{}{name}", seconds / length);
    match units.get(at + 1) {
        Some((name, next)) if seconds % length >= *next => {
            format!("{first} {}{name}", seconds % length / next)
        }
        _ => first,
    }
}

/// The first characters of a digest, enough to tell images apart.
pub(crate) fn short_digest(digest: &str) -> String {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.chars().take(12).collect()
}

/// Rows in columns as wide as need be. Empty without rows.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&header)
        .chain(rows)
        .map(|row| row.iter().map(|cell| plain(if cell.is_empty() { "-" } else { cell })).collect())
        .collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// At most so many of the lines, and how many more there are.
pub(crate) fn at_most(lines: Vec<String>, most: usize, more: &str) -> Vec<String> {
    if lines.len() <= most {
        return lines;
    }
    let left = lines.len() - (most - 1);
    let mut lines: Vec<String> = lines.into_iter().take(most - 1).collect();
    lines.push(format!("… and {left} more{more}"));
    lines
}

/// A text that fits in so many characters.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A text in lines of at most so many characters, broken at spaces; all but the first are indented.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    // Spaces at the start are part of the first word.
    let start = text.len() - text.trim_start().len();
    let (margin, words) = text.split_at(start);
    for (n, word) in words.split(' ').enumerate() {
        let line = lines.last_mut().map_or("", |line| line.as_str());
        let (gap, fits) = match n {
            0 => (margin, true),
            _ => (" ", line.chars().count() + 1 + word.chars().count() <= width),
        };
        match lines.last_mut() {
            Some(line) if fits => *line += &format!("{gap}{word}"),
            _ => lines.push(format!("{indent}{word}")),
        }
    }
    lines
}

/// A value as JSON, with an end of line.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::failed(format!("failed to write JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, expect) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.0K"),
            (1024, "1.0K"),
            (10_240, "10K"),
            (268_435_456, "256M"),
            (1_610_612_736, "1.5G"),
            (2_199_023_255_552, "2.0T"),
        ] {
            assert_eq!(size(bytes), expect, "{bytes}");
        }
    }

    #[test]
    fn durations() {
        for (seconds, expect) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3_600, "1h"),
            (3_661, "1h 1m"),
            (90_000, "1d 1h"),
            (86_400, "1d"),
        ] {
            assert_eq!(duration(seconds), expect, "{seconds}");
        }
    }

    #[test]
    fn a_terminal_is_told_nothing() {
        assert_eq!(plain("a\x1b[2Jb\r\n\u{9b}c\td"), "a?[2Jb???c\td");
        let text = table(&["A"], &[vec!["\x1b]0;x\x07".to_owned()]]);
        assert!(!text.contains(['\x1b', '\x07']), "{text:?}");
    }

    #[test]
    fn tables_are_as_wide_as_need_be() {
        let rows = [vec!["a".to_owned(), "long".to_owned()], vec!["bb".to_owned(), String::new()]];
        assert_eq!(table(&["X", "Y"], &rows), "X   Y\na   long\nbb  -\n");
        assert_eq!(table(&["X"], &[]), "");
    }

    #[test]
    fn long_texts_are_broken_at_spaces() {
        assert_eq!(wrap("  ! short", 20, "    "), ["  ! short"]);
        assert_eq!(wrap("  ! one two three four", 12, "    "), ["  ! one two", "    three", "    four"]);
        assert_eq!(wrap("  ! abcdefghijkl x", 8, "    "), ["  !", "    abcdefghijkl", "    x"]);
        assert_eq!(wrap("", 8, " "), [""]);
    }

    #[test]
    fn long_lists_and_lines_are_cut() {
        let lines = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(at_most(lines(3), 3, ""), ["0", "1", "2"]);
        assert_eq!(at_most(lines(5), 3, " (x)"), ["0", "1", "… and 3 more (x)"]);
        assert_eq!(fit("abcdef", 6), "abcdef");
        assert_eq!(fit("abcdefg", 6), "abcde…");
    }
}
