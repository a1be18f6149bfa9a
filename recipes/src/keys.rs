//! Finding the word that was meant.

mod foreign;

use self::foreign::FOREIGN;
use crate::spec::{Key, Shape, Spec};

/// The candidate nearest to a word, when it is near enough to have been meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let near = |candidate: &str| match strsim::damerau_levenshtein(word, candidate) {
        distance if distance <= candidate.len().min(word.len()).div_ceil(3) => Some(distance),
        _ => None,
    };
    let found = candidates.into_iter().filter_map(|candidate| near(candidate).map(|d| (d, candidate)));
    found.min().map(|(_, candidate)| candidate)
}

/// Words for a sentence: "`a`, `b` and `c`".
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [many @ .., last] => format!("{} and {last}", many.join(", ")),
    }
}

/// The message and hint for a key that a table does not have.
pub(crate) fn unknown(key: &str, spec: &Spec) -> (String, Option<String>) {
    if let Some(release) = spec.reserved(key) {
        let hint =
            format!("remove it: this is Holdfast {}, which does not know it yet", env!("CARGO_PKG_VERSION"));
        return (format!("`{key}` needs Holdfast {release}"), Some(hint));
    }
    let message = format!("unknown key `{}` in {}", clip(key), spec.title);
    let lower = key.to_ascii_lowercase();
    let names = || spec.keys.iter().map(|key| key.name);
    let exact = names().find(|name| *name == lower || *name == lower.replace('-', "_"));
    let hint = exact
        .map(|name| format!("did you mean `{name}`?"))
        .or_else(|| foreign(&lower, spec))
        .or_else(|| nearest(&lower, names()).map(|name| format!("did you mean `{name}`?")))
        .unwrap_or_else(|| {
            format!("there {} {}", if spec.keys.len() == 1 { "is" } else { "are" }, listed(names()))
        });
    (message, Some(hint))
}

/// What this language has for a key that the writer knows from elsewhere.
fn foreign(key: &str, spec: &Spec) -> Option<String> {
    let table = FOREIGN.iter().filter(|(title, ..)| *title == spec.title || title.is_empty());
    table
        .flat_map(|(_, words)| words.iter())
        .find(|(word, _)| *word == key)
        .map(|(_, hint)| (*hint).to_owned())
}

/// A key with an example of its value, for a hint.
pub(crate) fn example(key: &Key) -> String {
    let value = match key.shape {
        Shape::Form(form) => format!("{:?}", form.example),
        Shape::Table(spec) if spec.title.starts_with('[') => return spec.title.to_owned(),
        Shape::Table(_) => "{ … }".to_owned(),
        Shape::Template | Shape::Text => "\"…\"".to_owned(),
        Shape::List(_) | Shape::SomeOf(_) => "[\"…\"]".to_owned(),
        _ => "…".to_owned(),
    };
    format!("{} = {value}", key.name)
}

/// At most 60 characters of a text that goes into a message, without control characters.
pub(crate) fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}
