//! Kernel modules of the initrd, loaded as they are packed.
//!
//! Invariant: a module that cannot be loaded stops nothing; what needed it says so later. Absent:
//! dependencies and aliases: the list is in an order that works.

use crate::console;
use image_layout::initrd::MODULES_LIST;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The kernel's flag for a file that it has to unpack.
const COMPRESSED: i32 = 4;

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// File in the initrd.
    pub(crate) path: String,
    /// Parameters, as `modprobe` takes them.
    pub(crate) parameters: String,
}

impl Module {
    /// The module's name as the kernel has it.
    pub(crate) fn name(&self) -> String {
        let file = self.path.rsplit('/').next().unwrap_or_default();
        file.split('.').next().unwrap_or_default().replace('-', "_")
    }
}

/// Reads the list.
pub(crate) fn list() -> io::Result<Vec<Module>> {
    fs::read_to_string(MODULES_LIST).map(|text| parse(&text))
}

fn parse(text: &str) -> Vec<Module> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let module = |line: &str| {
        let (path, parameters) = line.split_once(' ').unwrap_or((line, ""));
        Module { path: path.to_owned(), parameters: parameters.trim().to_owned() }
    };
    lines.map(module).collect()
}

/// Loads modules in order. One that is there already is no news.
pub(crate) fn load(modules: &[Module]) {
    for module in modules {
        match load_one(module) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // A driver whose device this box does not have.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => {}
            Err(error) => console::warn(&format!("module {} was not loaded: {error}", module.name())),
            Ok(()) => {}
        }
    }
}

fn load_one(module: &Module) -> io::Result<()> {
    let path = Path::new(&module.path);
    let file = File::open(path)?;
    let parameters = CString::new(module.parameters.as_str())?;
    let packed = path.extension().is_some_and(|e| e != "ko");
    rustix::system::finit_module(file, &parameters, if packed { COMPRESSED } else { 0 })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_paths_with_parameters() {
        let modules = parse("/modules/dm-verity.ko.xz\n\n/modules/softdog.ko soft_margin=60 x=1\n");
        let names: Vec<_> = modules.iter().map(Module::name).collect();
        assert_eq!(names, ["dm_verity", "softdog"]);
        assert_eq!(modules[1].path, "/modules/softdog.ko");
        assert_eq!(modules[1].parameters, "soft_margin=60 x=1");
        assert_eq!(modules[0].parameters, "");
    }
}
