//! Runs all tests and keeps their results.
//!
//! Unit tests go through `cargo test`, whose lines are read. A test in a virtual machine is a process of
//! its own with a limit on its time; those whose name starts with `full_` run with `--full` only.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::results::{Outcome, Results};

/// How long a test of the quick set, and one of the full set, may take; the latter may compile everything.
const LIMITS: [Duration; 2] = [Duration::from_secs(1200), Duration::from_secs(3600)];
/// Files whose tests take minutes: they start first, so that none of them is left alone at the end.
const LONG: [&str; 4] = ["vm updates::", "vm commands::", "vm network_changes::", "vm networks::"];
/// Most machines at once: each is busy on two cores while it boots, and waits most of the time after that.
const AT_ONCE: u64 = 3;
/// Bytes that a machine takes, with what its emulator translates.
const MEMORY: u64 = 2 << 30;
/// What a test says when not the box but the emulator, or the host, has failed: it was killed, or one of its
/// processors has run into a breakpoint by which the kernel patches itself after that was gone again.
const EMULATOR: [&str; 2] = ["QEMU had ended by itself (signal", "Oops: int3:"];

pub(crate) fn run(full: bool, only: Option<&str>) -> Result<()> {
    let mut results = Results::open(full)?;
    // What is fetched comes while the builder is compiled.
    let fetched = full && only.is_none_or(|only| BY_PYTHON.contains(only));
    let fetching = fetched.then(|| std::thread::spawn(python_peers));
    let tools = peers()?;
    let mut python = vec![];
    if let Some(fetching) = fetching {
        let panicked = |_| anyhow::anyhow!("fetching programs of Python's panicked");
        python = fetching.join().map_err(panicked)??;
    }
    // Compiling for the image and the unit tests wait for each other nowhere: one fills what the other leaves idle.
    let mut build = Command::new("scripts/build").spawn().context("cannot run scripts/build")?;
    let tested = if only.is_none() { units(&mut results, full, tools, &python) } else { Ok(()) };
    let built = build.wait()?;
    tested?;
    ensure!(built.success(), "scripts/build failed");
    image(&mut results)?;
    let wanted = |name: &str| only.is_none_or(|o| name.contains(o)) && (full || !is_full(name));
    let tests: Vec<VmTest> =
        vm_tests()?.into_iter().filter(|t| wanted(&t.name) && !results.passed(&t.name)).collect();
    machines(tests, &mut results, &python)?;
    let [passed, failed, skipped] =
        [Outcome::Passed, Outcome::Failed, Outcome::Skipped].map(|o| results.count(o));
    for outcome in [Outcome::Failed, Outcome::Skipped] {
        for name in results.names(outcome) {
            println!("{outcome:?}: {name}");
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    // What is skipped is what this host does not allow or does not have, which was said.
    ensure!(failed == 0 && passed > 0, "not every test passed");
    Ok(())
}

fn is_full(name: &str) -> bool {
    name.rsplit("::").next().unwrap_or(name).starts_with("full_")
}

/// The image as it was built: its root verifies, and nothing in it is forbidden.
fn image(results: &mut Results) -> Result<()> {
    let start = Instant::now();
    let mut inspect = Command::new("target/tool/holdfast-image");
    let found = inspect.args(["inspect", "target/image/holdfast.raw"]).output()?;
    let outcome = if found.status.success() { Outcome::Passed } else { Outcome::Failed };
    if outcome == Outcome::Failed {
        let [said, errors] = [&found.stdout, &found.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        println!("{said}{errors}");
    }
    results.add("image verifies and holds nothing forbidden", outcome, start.elapsed().as_secs_f64())
}

/// Programs of the locked tools that unit tests start, and the variables that name them.
const PEERS: [(&str, &str); 2] =
    [("HOLDFAST_DOCKER_REGISTRY", "docker-registry"), ("HOLDFAST_MKFS_EROFS", "mkfs.erofs")];

/// Writes scripts that run [`PEERS`] from the locked tools, whatever the host has.
fn peers() -> Result<Vec<(&'static str, PathBuf)>> {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--profile", "tool", "-p", "image-builder", "-p", "agent-cli"])
        .status()?;
    ensure!(built.success(), "holdfast-image does not build");
    let root = crate::root().canonicalize()?;
    let folder = root.join("target/peers");
    std::fs::create_dir_all(&folder)?;
    let known = |name: &str| std::env::var(name).ok().map(|value| format!("{name}='{value}'"));
    let home: Vec<String> =
        ["HOME", "XDG_CACHE_HOME", "HOLDFAST_CACHE"].into_iter().filter_map(known).collect();
    let home = home.join(" ");
    let mut peers = vec![];
    for (variable, name) in PEERS {
        let script = folder.join(name);
        let builder = root.join("target/tool/holdfast-image");
        // What starts it may have cleared the environment, which says where the cache is.
        let text = format!(
            "#!/bin/sh\nexport HOLDFAST_RELOCK=1 {home}\nexec '{}' --root '{}' tool {name} -- \"$@\"\n",
            builder.display(),
            root.display()
        );
        std::fs::write(&script, text)?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        peers.push((variable, script));
    }
    Ok(peers)
}

/// Programs of Python's that there are with `--full` only: the variable that names their folder to tests, the name of
/// their list in `scripts/peers`, and what they are.
const PYTHON: [(&str, &str, &str); 2] =
    [("HOLDFAST_OPENSTACK", "openstack", "Keystone, Glance and Nova"), ("HOLDFAST_MOTO", "moto", "moto")];
/// What the names of unit tests begin with that need them.
const NEED_PYTHON: [&str; 4] = ["--skip", "keystone_and_glance", "--skip", "moto_"];
/// The test in a virtual machine that needs them.
const BY_PYTHON: &str = "vm launch::full_glance_and_nova_make_a_box_that_answers";

/// Puts all of [`PYTHON`] into their places.
fn python_peers() -> Result<Vec<(&'static str, PathBuf)>> {
    PYTHON.into_iter().map(|(variable, name, what)| Ok((variable, python(name, what)?))).collect()
}

/// Puts programs of Python's into a place of their own, in the versions of their list; gives their folder.
fn python(name: &str, what: &str) -> Result<PathBuf> {
    let root = crate::root().canonicalize()?;
    let wanted = root.join("scripts/peers").join(name).with_extension("txt");
    let folder = root.join("target/peers").join(name);
    let have = folder.join("versions.txt");
    let text = std::fs::read(&wanted).with_context(|| format!("no {}", wanted.display()))?;
    if std::fs::read(&have).is_ok_and(|have| have == text) {
        return Ok(folder.join("bin"));
    }
    println!("fetching {what}");
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).status();
    ensure!(
        made.context("cannot run python3")?.success(),
        "python3 makes no venv: apt-get install python3-venv"
    );
    let mut pip = Command::new(folder.join("bin/pip"));
    let fetched =
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"]).arg(&wanted);
    ensure!(fetched.status()?.success(), "{what} cannot be fetched");
    std::fs::write(have, text)?;
    Ok(folder.join("bin"))
}

/// The tests that make network namespaces.
const NAMESPACES: [&str; 2] = ["agent/net/tests/dhcp.rs", "agent/net/tests/static_settings.rs"];

/// Tells tests that they can make no network namespaces.
const NO_NAMESPACES: &str = "HOLDFAST_NO_NAMESPACES";

/// Whether this host lets tests make network namespaces, as many containers do not.
fn namespaces() -> Result<bool> {
    if std::env::var_os(NO_NAMESPACES).is_some() {
        return Ok(false);
    }
    let mut probe = Command::new("unshare");
    let made = probe.args(["--user", "--map-root-user", "--net", "--mount", "true"]).output();
    Ok(made.context("cannot run unshare")?.status.success())
}

/// The tests that read documents of other projects.
const DOCUMENTS: &str = "agent/metadata/tests/peers.rs";

/// Names the folder of those documents to the tests.
const FIXTURES: &str = "HOLDFAST_FIXTURES";

/// The names of the tests that do nothing without what `call` gives them: each says its own to it.
fn named(source: &str, call: &str) -> Vec<String> {
    let call = format!("{call}(\"");
    let said = source.split(&call).skip(1).filter_map(|rest| rest.split('"').next());
    said.map(str::to_owned).collect()
}

/// The same of a file.
fn named_in(file: &str, call: &str) -> Result<Vec<String>> {
    let source = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    Ok(named(&source, call))
}

/// All tests that need no machine.
fn units(
    results: &mut Results,
    full: bool,
    tools: Vec<(&str, PathBuf)>,
    python: &[(&str, PathBuf)],
) -> Result<()> {
    let mut tests = Command::new(env!("CARGO"));
    let mut idle: Vec<String> = vec![];
    if !namespaces()? {
        println!("this host lets nobody make namespaces: DHCP is not tested against real servers");
        tests.env(NO_NAMESPACES, "1");
        for file in NAMESPACES {
            idle.extend(named_in(file, "inside")?);
        }
    }
    if std::env::var_os(FIXTURES).is_none() {
        println!("{FIXTURES} names no folder: documents of other projects are not read");
        idle.extend(named_in(DOCUMENTS, "folder")?);
    }
    // Half of them wait for servers.
    let threads = 2 * std::thread::available_parallelism()?.get();
    let mut child = tests
        .args(["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"])
        .args(["--exclude", "qemu-tests", "--", "--include-ignored", "--test-threads", &threads.to_string()])
        .args(if full { &[][..] } else { &NEED_PYTHON })
        .envs(tools)
        .envs(python.iter().map(|(variable, path)| (variable, path)))
        .env("HOLDFAST_RELOCK", "1")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let lines = BufReader::new(child.stdout.take().context("cargo test has no stdout")?).lines();
    let mut seen = 0;
    let mut since = Instant::now();
    for line in lines {
        let line = line?;
        println!("{line}");
        if line.starts_with("running ") {
            since = Instant::now();
        }
        let Some((name, outcome)) = line.strip_prefix("test ").and_then(|l| l.split_once(" ... ")) else {
            continue;
        };
        let outcome = match outcome.split([' ', ',']).next() {
            Some("ok") if idle.iter().any(|test| test == name) => Outcome::Skipped,
            Some("ok") => Outcome::Passed,
            _ => Outcome::Failed,
        };
        seen += 1;
        // They run side by side: each is given the time since the one that ended before it.
        let seconds = since.elapsed().as_secs_f64();
        since = Instant::now();
        results.add(&format!("unit {seen} {name}"), outcome, seconds)?;
    }
    let status = child.wait()?;
    ensure!(status.success() || results.count(Outcome::Failed) > 0, "cargo test did not build or run");
    ensure!(seen > 0, "cargo test ran nothing");
    if full { optimised(results) } else { Ok(()) }
}

/// A file of `recipes/tests`, and the test in it that is held to its bound on time only where it is optimised.
const TIMED: (&str, &str) = ("mutants", "each_is_read_or_refused_with_its_place_in_no_time");

/// Runs [`TIMED`] as programs are compiled that people use.
fn optimised(results: &mut Results) -> Result<()> {
    let start = Instant::now();
    let (file, test) = TIMED;
    let done = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--profile", "tool", "-p", "recipes", "--test", file])
        .args(["--", "--exact", test])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo test")?;
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    let passed = done.status.success() && said.contains("1 passed");
    let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
    results.add(&format!("unit {test} (optimised)"), outcome, start.elapsed().as_secs_f64())
}

struct VmTest {
    name: String,
    executable: String,
    function: String,
}

/// The tests of `qemu-tests`, as its test programs list them.
fn vm_tests() -> Result<Vec<VmTest>> {
    let output = Command::new(env!("CARGO"))
        .args(["test", "-p", "qemu-tests", "--locked", "--no-run", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "the tests in virtual machines do not build");
    let mut tests = vec![];
    for line in output.stdout.lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let Some(executable) = message["executable"].as_str() else { continue };
        // The programs that tests may run are built too; they list nothing, they would start.
        if message["profile"]["test"] != true {
            continue;
        }
        let file = message["target"]["name"].as_str().unwrap_or("?");
        let listing = Command::new(executable).args(["--list", "--format", "terse"]).output()?;
        for line in String::from_utf8(listing.stdout)?.lines() {
            let Some(function) = line.strip_suffix(": test") else { continue };
            // The program of the tests in machines has a module for each file of them.
            let name = if file == "vm" { format!("vm {function}") } else { format!("vm {file}::{function}") };
            tests.push(VmTest { name, executable: executable.to_owned(), function: function.to_owned() });
        }
    }
    if tests.is_empty() {
        bail!("there are no tests in virtual machines");
    }
    let place = |name: &str| LONG.iter().position(|file| name.starts_with(file)).unwrap_or(LONG.len());
    tests.sort_by_cached_key(|test| (place(&test.name), test.name.clone()));
    Ok(tests)
}

fn machines(tests: Vec<VmTest>, results: &mut Results, python: &[(&str, PathBuf)]) -> Result<()> {
    let queue = Mutex::new(tests.into_iter());
    let results = Mutex::new(results);
    let lock = |e: std::sync::PoisonError<_>| anyhow::anyhow!("a worker panicked: {e}");
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            loop {
                let Some(test) = queue.lock().map_err(lock)?.next() else { return Ok(()) };
                let start = Instant::now();
                let passed = one(&test, python)?;
                let seconds = start.elapsed().as_secs_f64();
                let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
                println!("test {} ... {outcome:?} in {seconds:.0} s", test.name);
                let mut results = results.lock().map_err(|e| anyhow::anyhow!("a worker panicked: {e}"))?;
                results.add(&test.name, outcome, seconds)?;
            }
        };
        let workers: Vec<_> = (0..at_once()).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        Ok(())
    })
}

/// As many machines as there is memory for.
fn at_once() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or(1, |kib| kib * 1024 / MEMORY).clamp(1, AT_ONCE)
}

/// Runs one test, and once more when its emulator failed; shows what it said when it failed.
fn one(test: &VmTest, python: &[(&str, PathBuf)]) -> Result<bool> {
    let (passed, said) = attempt(test, python)?;
    let Some(why) = EMULATOR.iter().find(|why| !passed && said.contains(**why)) else { return Ok(passed) };
    println!("test {}: the emulator failed ({why}); it is run again", test.name);
    Ok(attempt(test, python)?.0)
}

/// Whether it passed, and what it said where it did not.
fn attempt(test: &VmTest, python: &[(&str, PathBuf)]) -> Result<(bool, String)> {
    let log = format!("target/vm-logs/{}.log", test.name.replace([' ', ':'], "_"));
    std::fs::create_dir_all("target/vm-logs")?;
    let file = std::fs::File::create(&log)?;
    let child = Command::new(&test.executable)
        .args(["--exact", &test.function, "--nocapture"])
        .envs(python.iter().map(|(variable, path)| (variable, path)))
        // What the box said is of more use than where the test stood, and there is room for one.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let passed = wait(child, LIMITS[usize::from(is_full(&test.function))])?;
    if passed {
        return Ok((true, String::new()));
    }
    let text = std::fs::read_to_string(&log)?;
    let lines: Vec<&str> = text.lines().collect();
    println!("{}:\n{}", test.name, lines[lines.len().saturating_sub(80)..].join("\n"));
    Ok((false, text))
}

fn wait(mut child: Child, limit: Duration) -> Result<bool> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_that_is_timed_is_known_by_its_name() {
        let (file, test) = TIMED;
        let path = crate::root().join("recipes/tests").join(file).with_extension("rs");
        let source = std::fs::read_to_string(path).unwrap();
        assert!(source.contains(&format!("#[test]\nfn {test}(")), "{test}");
    }

    #[test]
    fn each_test_that_may_do_nothing_is_known_by_its_name() {
        let files = NAMESPACES.map(|file| (file, "inside")).into_iter().chain([(DOCUMENTS, "folder")]);
        for (file, call) in files {
            let source = std::fs::read_to_string(crate::root().join(file)).unwrap();
            let functions = source.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split('(').next());
            assert_eq!(named(&source, call), functions.collect::<Vec<_>>(), "{file}");
        }
    }
}
