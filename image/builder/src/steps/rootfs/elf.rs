//! As much of ELF (64-bit, little-endian) as a builder needs: what a program loads, and sections.
//!
//! Bytes that are not such a file, or that are cut, give `None`; nothing here panics on them.

/// What the dynamic loader is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// The loader itself, where the file is a program.
    pub interpreter: Option<String>,
    /// Libraries, by soname.
    pub needed: Vec<String>,
    /// Folders to look in first, `$ORIGIN` not expanded.
    pub runpath: Vec<String>,
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Reads the dynamic section; `None` for what is not an ELF file.
pub fn dynamic(file: &[u8]) -> Option<Dynamic> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (u64_at(file, 32)?, u16_at(file, 54)?, u16_at(file, 56)?);
    let headers: Vec<&[u8]> =
        (0..u64::from(count)).map(|i| slice(file, table + i * u64::from(size), 56)).collect::<Option<_>>()?;
    let field = |header: &[u8], at: usize| u64_at(header, at).unwrap_or(0);
    let kind = |header: &[u8]| u32_at(header, 0).unwrap_or(0);
    let mut result = Dynamic::default();
    for header in &headers {
        let bytes = || slice(file, field(header, 8), field(header, 32));
        match kind(header) {
            PT_INTERP => result.interpreter = Some(text(bytes()?)),
            PT_DYNAMIC => {
                let entries: Vec<(u64, u64)> =
                    bytes()?.chunks_exact(16).map(|e| (field(e, 0), field(e, 8))).collect();
                let Some(strings) = entries.iter().find(|(tag, _)| *tag == DT_STRTAB) else { continue };
                // The address of the strings, as an offset in the file.
                let load = headers.iter().find(|h| {
                    let (start, length) = (field(h, 16), field(h, 32));
                    kind(h) == PT_LOAD && (start..start + length).contains(&strings.1)
                })?;
                let strings = strings.1 - field(load, 16) + field(load, 8);
                for (tag, value) in entries {
                    let string = || file.get((strings + value) as usize..).map(text);
                    match tag {
                        DT_NEEDED => result.needed.push(string()?),
                        DT_RPATH | DT_RUNPATH => {
                            result.runpath.extend(string()?.split(':').map(str::to_owned));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(result)
}

/// The content of a section.
pub fn section<'a>(file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = u64_at(file, 40)?;
    let (size, count, names) = (u16_at(file, 58)?, u16_at(file, 60)?, u16_at(file, 62)?);
    let header = |i: u16| slice(file, table + u64::from(i) * u64::from(size), 64);
    let content = |header: &[u8]| slice(file, u64_at(header, 24)?, u64_at(header, 32)?);
    let names = content(header(names)?)?;
    (0..count).filter_map(header).find_map(|section| {
        let start = u32_at(section, 0)? as usize;
        (text(names.get(start..)?) == name).then(|| content(section))?
    })
}

fn slice(bytes: &[u8], start: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test program itself is a dynamic ELF file.
    #[test]
    fn reads_a_real_program() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let found = dynamic(&program).unwrap();
        assert!(found.needed.iter().any(|name| name == "libc.so.6"), "{found:?}");
        assert!(found.interpreter.is_some_and(|path| path.contains("ld-linux")));
        assert!(section(&program, ".dynstr").is_some_and(|s| s.windows(9).any(|w| w == b"libc.so.6")));
        assert_eq!(section(&program, ".modinfo"), None);
        // Cut anywhere: no panic.
        for length in (0..program.len().min(4096)).chain([program.len() / 2]) {
            let _ = (dynamic(&program[..length]), section(&program[..length], ".text"));
        }
    }
}
