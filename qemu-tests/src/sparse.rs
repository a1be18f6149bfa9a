//! Copies of parts of files that keep their holes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Makes `to`, which is empty, a copy of what `from` holds from byte `start` to its end.
pub(crate) fn copy_from(from: &mut File, start: u64, to: &mut File) -> Result<()> {
    let end = from.metadata()?.len();
    ensure!(start <= end, "the file has no byte {start}");
    to.set_len(end - start)?;
    let mut at = start;
    while at < end {
        let data = match lseek(&*from, at as i64, Whence::SeekData) {
            Ok(data) => data as u64,
            // Nothing but a hole is left.
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error).context("cannot look for data"),
        };
        let hole = lseek(&*from, data as i64, Whence::SeekHole).context("cannot look for a hole")? as u64;
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data - start))?;
        std::io::copy(&mut (&mut *from).take(hole - data), to).context("cannot copy")?;
        at = hole;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn holes_stay_and_data_are_where_they_were() {
        let mut from = tempfile::tempfile().unwrap();
        from.set_len(64 << 20).unwrap();
        for at in [0, 10 << 20, (32 << 20) + 5] {
            from.write_all_at(b"data", at).unwrap();
        }
        for start in [0, 4096, 10 << 20, (64 << 20) - 1, 64 << 20] {
            let mut to = tempfile::tempfile().unwrap();
            copy_from(&mut from, start, &mut to).unwrap();
            let whole = |file: &File, skip: u64| {
                let mut bytes = vec![0; (file.metadata().unwrap().len() - skip) as usize];
                file.read_exact_at(&mut bytes, skip).unwrap();
                bytes
            };
            assert!(whole(&from, start) == whole(&to, 0), "{start}");
            assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20, "{start}");
        }
    }
}
