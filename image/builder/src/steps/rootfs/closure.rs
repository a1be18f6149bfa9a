//! Whether every program of a root finds its libraries there: nobody runs it before a box does.
//!
//! Follows `DT_NEEDED` through the folders of Debian's loader and `RUNPATH`. Libraries that are loaded
//! by `dlopen` are not seen here.

use super::elf;
use super::tree::{Kind, Tree};

const FOLDERS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib"];

/// What is asked for and not there: "usr/bin/x needs liby.so.1".
pub fn missing(tree: &Tree) -> Vec<String> {
    let mut missing = Vec::new();
    for (path, node) in tree.iter() {
        let Kind::File(content) = &node.kind else { continue };
        let Some(dynamic) = elf::dynamic(content) else { continue };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let own = dynamic.runpath.iter().map(|path| path.replace("$ORIGIN", folder));
        // A private library may count on its neighbours: the program that loads it loads those as well.
        let neighbours = std::iter::once(folder.to_owned());
        let folders: Vec<String> = own.chain(FOLDERS.map(str::to_owned)).chain(neighbours).collect();
        for name in dynamic.needed {
            if !folders.iter().any(|folder| tree.resolves(&format!("{folder}/{name}"))) {
                missing.push(format!("`{path}` needs `{name}`"));
            }
        }
        if let Some(loader) = dynamic.interpreter
            && !tree.resolves(&loader)
        {
            missing.push(format!("`{path}` needs `{loader}`"));
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_told() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut tree = Tree::merged();
        tree.file("usr/bin/program", 0o755, program, "test");
        let found = missing(&tree);
        assert!(found.contains(&"`usr/bin/program` needs `libc.so.6`".to_owned()), "{found:?}");
        assert!(found.iter().any(|m| m.contains("ld-linux")), "{found:?}");
        tree.file("usr/lib/x86_64-linux-gnu/libc.so.6", 0o755, *b"", "test");
        assert!(!missing(&tree).iter().any(|m| m.contains("libc.so.6")));
    }
}
