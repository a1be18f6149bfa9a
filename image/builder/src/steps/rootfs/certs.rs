//! The bundle of CA certificates: replaces `update-ca-certificates` of the package ca-certificates.
//!
//! All certificates of the package are trusted, as Debian's default is. Links by hash, which only
//! OpenSSL's folder lookup wants, are deliberately absent.

use super::tree::{Kind, Tree};

const SOURCE: &str = "usr/share/ca-certificates/mozilla/";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Moves the certificates into one file, in the order of their names; returns how many there are.
pub fn bundle(tree: &mut Tree) -> usize {
    let certificates: Vec<(String, Vec<u8>)> = tree
        .iter()
        .filter(|(path, _)| path.starts_with(SOURCE) && path.ends_with(".crt"))
        .filter_map(|(path, node)| match &node.kind {
            Kind::File(content) => Some((path.to_owned(), content.clone())),
            _ => None,
        })
        .collect();
    let mut text = Vec::new();
    for (_, certificate) in &certificates {
        text.extend_from_slice(certificate.trim_ascii_end());
        text.push(b'\n');
    }
    tree.remove(SOURCE);
    tree.file(BUNDLE, 0o644, text, "ca-certificates");
    certificates.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_end_up_in_one_file_by_name() {
        let mut tree = Tree::merged();
        tree.file(&format!("{SOURCE}B.crt"), 0o644, *b"bbb\n\n", "ca-certificates");
        tree.file(&format!("{SOURCE}A.crt"), 0o644, *b"aaa", "ca-certificates");
        assert_eq!(bundle(&mut tree), 2);
        assert_eq!(tree.content(BUNDLE), Some(&b"aaa\nbbb\n"[..]));
        assert!(tree.get(&format!("{SOURCE}A.crt")).is_none());
    }
}
