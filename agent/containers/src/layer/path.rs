//! Names of entries: relative, inside the layer, and of a length that Linux can open.

use super::error::Problem;

/// Longest name of one file, in bytes (`NAME_MAX`).
const COMPONENT: usize = 255;
/// Longest path, in bytes (`PATH_MAX` less the terminating zero).
pub(super) const PATH: usize = 4095;

/// Splits a name into its components; none for the root (`./`). Empty components and `.` are dropped;
/// an empty or absolute name, `..` and zero bytes are refused, and so is what no kernel could open.
pub(super) fn components(path: &[u8], depth: usize) -> Result<Vec<&[u8]>, Problem> {
    if path.is_empty() {
        return Err(Problem::NoName);
    }
    if path[0] == b'/' {
        return Err(Problem::Absolute);
    }
    if path.len() > PATH {
        return Err(Problem::LongName);
    }
    if path.contains(&0) {
        return Err(Problem::Zero);
    }
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Problem::Parent),
            _ if part.len() > COMPONENT => return Err(Problem::LongName),
            _ => parts.push(part),
        }
    }
    if parts.len() > depth {
        return Err(Problem::Depth);
    }
    Ok(parts)
}

/// What a file's name means in a layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    /// The file itself.
    Plain,
    /// The file of this name in lower layers is gone.
    Whiteout(&'a [u8]),
    /// Everything that lower layers have in the directory is gone.
    Opaque,
}

/// Reads the whiteout conventions from the last component of a name. Names of aufs's own files
/// (`.wh..wh.…`) and whiteouts of nothing (`.wh.`, `.wh..`, `.wh...`) are refused.
pub(super) fn meaning(name: &[u8]) -> Result<Name<'_>, Problem> {
    let Some(hidden) = name.strip_prefix(b".wh.") else { return Ok(Name::Plain) };
    match hidden {
        b".wh..opq" => Ok(Name::Opaque),
        b"" | b"." | b".." => Err(Problem::Whiteout(super::entry::printable(name))),
        _ if hidden.starts_with(b".wh.") => Err(Problem::Whiteout(super::entry::printable(name))),
        _ => Ok(Name::Whiteout(hidden)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_of_good_names() {
        for (path, expect) in [
            (&b"a"[..], &["a"][..]),
            (b"./", &[]),
            (b".", &[]),
            (b"./a//b/./c/", &["a", "b", "c"]),
            (b"...", &["..."]),
            (b"a..b/..c", &["a..b", "..c"]),
        ] {
            let parts = components(path, 10).unwrap();
            let expect: Vec<&[u8]> = expect.iter().map(|part| part.as_bytes()).collect();
            assert_eq!(parts, expect, "{path:?}");
        }
    }

    #[test]
    fn bad_names_are_told_apart() {
        let long = [b'n'; 256];
        let longer = b"n/".repeat(2048);
        for (path, expect) in [
            (&b""[..], Problem::NoName),
            (b"/etc/x", Problem::Absolute),
            (b"/", Problem::Absolute),
            (b"..", Problem::Parent),
            (b"a/../b", Problem::Parent),
            (b"a\0b", Problem::Zero),
            (&long, Problem::LongName),
            (&longer, Problem::LongName),
            (b"1/2/3/4", Problem::Depth),
        ] {
            assert_eq!(components(path, 3), Err(expect), "{path:?}");
        }
    }

    #[test]
    fn whiteouts() {
        assert_eq!(meaning(b"a.wh.b"), Ok(Name::Plain));
        assert_eq!(meaning(b".wh.a"), Ok(Name::Whiteout(b"a")));
        assert_eq!(meaning(b".wh..a"), Ok(Name::Whiteout(b".a")));
        assert_eq!(meaning(b".wh..wh..opq"), Ok(Name::Opaque));
        for name in [&b".wh."[..], b".wh..", b".wh...", b".wh..wh.plnk", b".wh..wh.aufs", b".wh..wh."] {
            assert!(meaning(name).is_err(), "{name:?}");
        }
    }
}
