//! What the kernel measures of a sealed file (`Documentation/filesystems/fsverity.rst`): SHA-256 over blocks
//! of 4 KiB, no salt.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

const BLOCK: usize = 4096;
/// Bytes of a digest.
const DIGEST: usize = 32;

/// The digest of a file as `sha256:HEX`.
pub(super) fn measure(mut file: impl Read) -> io::Result<String> {
    let (mut level, mut size) = (vec![], 0u64);
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        size += (&mut file).take(BLOCK as u64).read_to_end(&mut block)? as u64;
        if block.is_empty() {
            break;
        }
        level.extend(hash(&mut block));
    }
    while level.len() > DIGEST {
        level = level.chunks(BLOCK).flat_map(|chunk| hash(&mut chunk.to_vec())).collect();
    }
    // An empty file has a root of zeroes.
    level.resize(DIGEST, 0);
    let mut descriptor = [0; 256];
    // Version 1, SHA-256, blocks of 2^12.
    descriptor[..3].copy_from_slice(&[1, 1, 12]);
    descriptor[8..16].copy_from_slice(&size.to_le_bytes());
    descriptor[16..16 + DIGEST].copy_from_slice(&level);
    let digest = Sha256::digest(descriptor);
    Ok(format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

fn hash(block: &mut Vec<u8>) -> [u8; DIGEST] {
    block.resize(BLOCK, 0);
    Sha256::digest(block).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_measures_as_the_tool_prints() {
        let known = "sha256:3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95";
        assert_eq!(measure(io::empty()).unwrap(), known);
    }
}
