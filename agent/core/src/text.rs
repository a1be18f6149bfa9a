//! Text of others, bounded before it is kept or shown.

/// Bytes of an error, whatever is quoted in it.
pub const ERROR: usize = 1 << 10;
/// Bytes of all that is said of something that went wrong.
pub const MESSAGE: usize = 4 << 10;

/// At most `most` bytes of a text, cut between two characters; `…` stands for the rest.
pub fn cut(text: impl Into<String>, most: usize) -> String {
    let mut text = text.into();
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_once() {
        for (text, expect) in [("", ""), ("abcd", "abcd"), ("abcde", "abcd…"), ("abcüd", "abc…")] {
            assert_eq!(cut(text, 4), expect, "{text}");
            assert_eq!(cut(expect, 4), expect, "{text}");
        }
    }
}
