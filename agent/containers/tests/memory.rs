//! The normaliser's memory on the largest layers that are accepted, and a pull's on a long one, each measured on
//! a process of its own.

mod support;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;

use agent_containers::Limits;
use agent_containers::layer::{self, Parents};
use support::fetching::Staging;
use support::image::{Image, Pack};
use support::making::{Item, Tar, header, noise};
use support::proxy::Proxy;
use support::registry::{Options, Registry};

/// Set for the process that is measured: the layer's path.
const CHILD: &str = "HOLDFAST_TEST_LAYER";
/// 256 MiB in the unit of `VmHWM`.
const MOST: u64 = 256 << 10;

/// Runs this test again as a process of its own, and gives its peak memory in KiB.
fn measured(test: &str, layer: &Path) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, layer)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let peak = text.lines().find_map(|line| line.split("VmHWM:").nth(1)).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// In the child: both passes, as a fetch does them, and then its own peak. `expect`: what the error says.
fn child(expect: Option<&str>) {
    let path = std::env::var_os(CHILD).unwrap();
    let limits = Limits::default();
    let size = fs::metadata(&path).unwrap().len();
    let open = || layer::open(File::open(&path).unwrap(), size, &limits, true);
    let done = open()
        .and_then(|stream| layer::scan(stream, size, &limits))
        .and_then(|scan| layer::emit(open()?, &scan, &Parents::default(), io::sink()));
    assert_eq!(done.err().map(|error| error.to_string()).as_deref(), expect);
    tell_peak();
}

fn tell_peak() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM:")).unwrap());
}

/// Writes a gzip layer entry by entry; `name` gives each one's name, `None` ends it.
fn write(path: &Path, kind: u8, mut name: impl FnMut(u32) -> Option<String>) {
    let out = BufWriter::new(File::create(path).unwrap());
    let mut out = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    for index in 0.. {
        let Some(name) = name(index) else { break };
        let item = Item { kind, name: name.as_bytes(), mode: 0o755, ..Item::default() };
        out.write_all(header(&item, 0).as_bytes()).unwrap();
    }
    out.write_all(&[0; 1024]).unwrap();
    out.finish().unwrap().flush().unwrap();
}

#[test]
fn a_million_files() {
    if std::env::var_os(CHILD).is_some() {
        return child(None);
    }
    let folder = tempfile::tempdir().unwrap();
    let layer = folder.path().join("layer");
    write(&layer, b'0', |index| {
        (index < 999_000).then(|| format!("folder-{}/some-file-of-usual-length-{index}", index % 999))
    });
    let peak = measured("a_million_files", &layer);
    assert!(peak < MOST, "{peak} KiB");
}

#[test]
fn a_million_folders_with_long_names() {
    if std::env::var_os(CHILD).is_some() {
        return child(Some("the layer has more than 67108864 bytes of file names"));
    }
    let folder = tempfile::tempdir().unwrap();
    let layer = folder.path().join("layer");
    write(&layer, b'5', |index| (index < 1_000_000).then(|| format!("{index:090}")));
    let peak = measured("a_million_folders_with_long_names", &layer);
    assert!(peak < MOST, "{peak} KiB");
}

/// However long a layer is, and however often its download is cut, little of it is in memory.
#[test]
fn a_long_pull() {
    const LONG: usize = 96 << 20;
    const TEST: &str = "a_long_pull";
    if let Some(host) = std::env::var_os(CHILD) {
        let staging = Staging::new();
        let limits = Limits::default();
        Staging { limits, ..staging }.plain(host.to_str().unwrap(), "app:1").unwrap();
        return tell_peak();
    }
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(folder.path(), &Options::default());
    let layer = Tar::default().file("noise", &noise(LONG)).end();
    registry.push("app", "1", Image::new(&[(Pack::Plain, layer)]));
    let proxy = Proxy::start(&registry.host, 20 << 20);
    let peak = measured(TEST, Path::new(&proxy.host));
    assert!(proxy.connections() > 4);
    assert!(peak < LONG as u64 >> 11, "{peak} KiB");
}
