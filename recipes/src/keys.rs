//! Finding the word that was meant.

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
