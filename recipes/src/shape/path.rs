//! Paths in a container.

use super::ShapeError;

/// An absolute path without `..`, `.`, empty parts or control characters, at most 4096 bytes.
pub fn absolute_path(text: &str) -> Result<String, ShapeError> {
    let hint = "write an absolute path such as \"/var/lib/notes\", without `.`, `..` and `//`";
    if text == "/" {
        return Ok(text.to_owned());
    }
    let trimmed = text.strip_suffix('/').unwrap_or(text);
    let Some(inner) = trimmed.strip_prefix('/') else {
        return Err(ShapeError::new("not an absolute path", hint));
    };
    if text.len() > 4095 || text.contains(|c: char| c.is_control()) {
        return Err(ShapeError::new("not a possible path", hint));
    }
    if inner.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > 255) {
        return Err(ShapeError::new("a path that is not in its plain form", hint));
    }
    Ok(trimmed.to_owned())
}

/// An absolute path that names something below `/`.
pub fn file_path(text: &str) -> Result<String, ShapeError> {
    match absolute_path(text)?.as_str() {
        "/" => Err(ShapeError::new("the root itself cannot be used here", "name a path below `/`")),
        path => Ok(path.to_owned()),
    }
}
