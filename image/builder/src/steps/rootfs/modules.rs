//! Kernel modules: those that are asked for, what they depend on, and their index.
//!
//! Dependencies come from each module's own `.modinfo`. Modules are unpacked: erofs and the initrd
//! compress them better for reading, and the kernel unpacks xz slowly. The index by which systemd finds them is made
//! by `depmod` of the tools, which the kernel package's maintainer script would run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::elf;

/// Why modules cannot be chosen.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// There is no such module, neither as a file nor built into the kernel.
    #[error("the kernel has no module `{0}`")]
    Unknown(String),
    /// A module cannot be read.
    #[error("failed to read the module `{path}`")]
    Read {
        /// The module's file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A module says nothing about itself.
    #[error("`{0}` is not a kernel module")]
    NoInfo(String),
}

/// The modules of a kernel by name, with those that are built in.
#[derive(Debug, Default)]
pub struct Modules {
    files: BTreeMap<String, (String, Vec<u8>)>,
    builtin: BTreeSet<String>,
}

/// A module's name from its file: `net/veth.ko.xz` is `veth`, and `-` is `_`.
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let name = file.strip_suffix(".ko.xz").or_else(|| file.strip_suffix(".ko"))?;
    Some(name.replace('-', "_"))
}

impl Modules {
    /// Adds a file of the kernel package's module folder, if it is a module.
    pub fn add(&mut self, path: &str, content: Vec<u8>) {
        if let Some(name) = name_of(path) {
            self.files.insert(name, (path.to_owned(), content));
        }
    }

    /// Says which modules are built in, by the text of `modules.builtin`.
    pub fn add_builtin(&mut self, text: &str) {
        self.builtin.extend(text.lines().filter_map(name_of));
    }

    /// Path and content of a module, both without their compression.
    pub fn file(&self, name: &str) -> Result<(&str, Vec<u8>), ModuleError> {
        let (path, content) = self.files.get(name).ok_or_else(|| ModuleError::Unknown(name.to_owned()))?;
        Ok((path.trim_end_matches(".xz"), unpacked(path, content)?))
    }

    /// The names of the wanted modules and of all they depend on, each after its dependencies. Built-in
    /// ones are passed over.
    pub fn closure<'a>(&self, wanted: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, ModuleError> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.visit(&name.replace('-', "_"), &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) -> Result<(), ModuleError> {
        if self.builtin.contains(name) || !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let (path, content) = self.files.get(name).ok_or_else(|| ModuleError::Unknown(name.to_owned()))?;
        for dependency in depends(path, content)? {
            self.visit(&dependency, seen, order)?;
        }
        order.push(name.to_owned());
        Ok(())
    }
}

fn unpacked(path: &str, content: &[u8]) -> Result<Vec<u8>, ModuleError> {
    if !path.ends_with(".xz") {
        return Ok(content.to_vec());
    }
    let mut plain = Vec::new();
    let mut decoder = liblzma::read::XzDecoder::new(content);
    let read = |source| ModuleError::Read { path: path.to_owned(), source };
    decoder.read_to_end(&mut plain).map_err(read)?;
    Ok(plain)
}

/// The names in `depends=`.
fn depends(path: &str, content: &[u8]) -> Result<Vec<String>, ModuleError> {
    let plain = unpacked(path, content)?;
    let info = elf::section(&plain, ".modinfo").ok_or_else(|| ModuleError::NoInfo(path.to_owned()))?;
    let values = info.split(|b| *b == 0).filter_map(|field| std::str::from_utf8(field).ok());
    let names = values.filter_map(|field| field.strip_prefix("depends=")).flat_map(|list| list.split(','));
    Ok(names.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least ELF file that has a section `.modinfo` with this content.
    fn module(info: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0";
        let mut file = vec![0u8; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let info_at = file.len() as u64;
        file.extend_from_slice(info.as_bytes());
        let names_at = file.len() as u64;
        file.extend_from_slice(names);
        let table = file.len() as u64;
        let mut section = |name: u32, at: u64, size: u64| {
            let mut header = [0u8; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&at.to_le_bytes());
            header[32..40].copy_from_slice(&size.to_le_bytes());
            file.extend_from_slice(&header);
        };
        section(1, info_at, info.len() as u64);
        section(0, names_at, names.len() as u64);
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[58..60].copy_from_slice(&64u16.to_le_bytes());
        file[60..62].copy_from_slice(&2u16.to_le_bytes());
        file[62..64].copy_from_slice(&1u16.to_le_bytes());
        file
    }

    fn kernel() -> Modules {
        let mut modules = Modules::default();
        modules.add("kernel/drivers/md/dm-verity.ko", module("license=GPL\0depends=dm-bufio,dm-mod,ext4\0"));
        modules.add("kernel/drivers/md/dm-bufio.ko", module("depends=dm-mod\0"));
        modules.add("kernel/drivers/md/dm-mod.ko", module("depends=\0"));
        modules.add("kernel/broken.ko", b"junk".to_vec());
        modules.add_builtin("kernel/fs/ext4/ext4.ko\n");
        modules
    }

    #[test]
    fn each_comes_after_what_it_depends_on() {
        let order = kernel().closure(["dm-verity", "dm_mod", "ext4"]).unwrap();
        assert_eq!(order, ["dm_mod", "dm_bufio", "dm_verity"]);
    }

    #[test]
    fn unknown_and_broken_modules_are_errors() {
        let error = |name| kernel().closure([name]).unwrap_err().to_string();
        assert_eq!(error("e1000"), "the kernel has no module `e1000`");
        assert_eq!(error("broken"), "`kernel/broken.ko` is not a kernel module");
    }
}
