//! A small archive to append to an initrd, whose files stand above those of the same name.

/// What an entry is.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A regular file with this content.
    File(&'a str),
    /// A named pipe, which whoever opens it to read waits at.
    Pipe,
}

/// An archive in the form that the kernel unpacks
/// (`Documentation/driver-api/early-userspace/buffer-format.rst`) of paths without a leading slash.
pub fn cpio(entries: &[(&str, Entry<'_>)]) -> Vec<u8> {
    let mut bytes = vec![];
    for (index, (name, entry)) in entries.iter().enumerate() {
        let (mode, content) = match entry {
            Entry::File(content) => (0o100_644, *content),
            Entry::Pipe => (0o010_644, ""),
        };
        put(&mut bytes, index + 1, mode, name, content);
    }
    put(&mut bytes, 0, 0, "TRAILER!!!", "");
    bytes
}

fn put(bytes: &mut Vec<u8>, inode: usize, mode: usize, name: &str, content: &str) {
    let fields = [inode, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    bytes.extend(b"070701");
    bytes.extend(fields.map(|field| format!("{field:08X}")).concat().as_bytes());
    for text in [&format!("{name}\0"), content] {
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
}
