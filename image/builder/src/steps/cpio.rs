//! The initrd's archive: cpio in the "newc" form that the kernel unpacks
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Everything is owned by root and dated 0, inode numbers count up: the same input gives the same bytes.
//! Hard links are deliberately absent.

/// An archive being written, in memory.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;

impl Archive {
    /// Adds a directory; parents are not made, so they come first.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, REGULAR | mode, (0, 0), content);
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.entry(path, CHARACTER | mode, (major, minor), &[]);
    }

    /// Ends the archive and returns its bytes, a multiple of 512.
    pub fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.header("TRAILER!!!", 0, (0, 0), 0);
        let length = self.bytes.len().next_multiple_of(512);
        self.bytes.resize(length, 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.inode += 1;
        self.header(path.trim_start_matches('/'), mode, device, content.len());
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Magic, then inode, mode, uid, gid, links, mtime, size, device, special device, length of the name
    /// with its NUL, checksum (unused); all of eight hexadecimal digits.
    fn header(&mut self, name: &str, mode: u32, device: (u32, u32), size: usize) {
        let size = u32::try_from(size).expect("newc holds files of less than 4 GiB");
        let links = if mode & DIRECTORY != 0 { 2 } else { 1 };
        let name_bytes = name.len() as u32 + 1;
        let fields = [self.inode, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_bytes, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(bytes: &[u8], at: usize, index: usize) -> u32 {
        let start = at + 6 + index * 8;
        u32::from_str_radix(std::str::from_utf8(&bytes[start..start + 8]).unwrap(), 16).unwrap()
    }

    /// Walks the archive as the kernel does: header, name, padding, content, padding.
    fn entries(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let (mut at, mut found) = (0, Vec::new());
        loop {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (mode, size, name_bytes) =
                (field(bytes, at, 1), field(bytes, at, 6) as usize, field(bytes, at, 11) as usize);
            let name = at + 110;
            let content = (name + name_bytes).next_multiple_of(4);
            let text = std::str::from_utf8(&bytes[name..name + name_bytes - 1]).unwrap();
            assert_eq!(bytes[name + name_bytes - 1], 0);
            if text == "TRAILER!!!" {
                return found;
            }
            found.push((text.to_owned(), mode, bytes[content..content + size].to_vec()));
            at = (content + size).next_multiple_of(4);
        }
    }

    #[test]
    fn reads_back() {
        let mut archive = Archive::default();
        archive.directory("/dev");
        archive.character_device("dev/console", 0o600, 5, 1);
        archive.file("init", 0o755, b"seven b");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 512, 0);
        let expect = [
            ("dev".to_owned(), 0o040_755, Vec::new()),
            ("dev/console".to_owned(), 0o020_600, Vec::new()),
            ("init".to_owned(), 0o100_755, b"seven b".to_vec()),
        ];
        assert_eq!(entries(&bytes), expect);
    }
}
