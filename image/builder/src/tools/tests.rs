//! Trees made of the host's own loader and programs.

use super::*;

fn tree_with(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Tools) {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let line = |(path, content): &(&str, &[u8])| format!("{}  {path}\n", digest::sha256(content));
    fs::write(folder.path().join(SUMS), files.iter().map(line).collect::<String>()).unwrap();
    let tools = Tools { tree: folder.path().to_owned(), checked: Mutex::default() };
    (folder, tools)
}

/// The host's loader and a program of the host that needs the C library.
fn program() -> (Vec<u8>, Vec<u8>) {
    (fs::read("/lib64/ld-linux-x86-64.so.2").unwrap(), fs::read("/usr/bin/env").unwrap())
}

#[test]
fn a_library_of_the_host_is_refused() {
    let (loader, env) = program();
    let (_folder, tools) = tree_with(&[(LOADER, &loader), ("usr/bin/env", &env)]);
    let error = tools.command("env").unwrap_err().to_string();
    assert!(error.starts_with("`env` would not run from its own tree:\n"), "{error}");
    assert!(error.contains("libc.so.6"), "{error}");
}

#[test]
fn a_program_runs_with_the_libraries_of_its_tree() {
    let (loader, env) = program();
    let libc = fs::read("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
    let files = [(LOADER, &loader[..]), ("usr/bin/env", &env), ("usr/lib/x86_64-linux-gnu/libc.so.6", &libc)];
    let (_folder, tools) = tree_with(&files);
    let output = tools.command("env").unwrap().arg("--version").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("env (GNU coreutils)"), "{output:?}");
}

#[test]
fn a_changed_file_is_not_used() {
    let (loader, env) = program();
    let libc = fs::read("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
    let files = [(LOADER, &loader[..]), ("usr/bin/env", &env), ("usr/lib/x86_64-linux-gnu/libc.so.6", &libc)];
    for (path, content) in files {
        let (folder, tools) = tree_with(&files);
        let mut changed = content.to_vec();
        changed.push(0);
        fs::write(folder.path().join(path), changed).unwrap();
        let error = tools.command("env").unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{path}` of the tools in ")), "{error}");
    }
}

#[test]
fn a_changed_file_of_a_folder_is_told() {
    let (folder, tools) = tree_with(&[("usr/lib/grub/a.mod", b"a"), ("usr/lib/grub/b.mod", b"b")]);
    fs::write(folder.path().join("usr/lib/grub/b.mod"), "c").unwrap();
    let error = tools.file("usr/lib/grub").unwrap_err().to_string();
    assert!(error.starts_with("`usr/lib/grub/b.mod` of the tools in "), "{error}");
}

#[test]
fn what_cannot_be_run_is_named() {
    let (_folder, tools) = tree_with(&[("usr/bin/script", b"#!/bin/sh\n"), ("usr/share/x", b"")]);
    assert_eq!(
        tools.command("script").unwrap_err().to_string(),
        "`script` is a script, and the tools have no interpreter"
    );
    assert_eq!(
        tools.command("nothing").unwrap_err().to_string(),
        "no locked package has the program `nothing`"
    );
    assert!(tools.file("usr/share/x").is_ok() && tools.file("usr/share").is_ok());
    assert_eq!(
        tools.file("usr/share/y").unwrap_err().to_string(),
        "no locked package has the file `usr/share/y`"
    );
}
