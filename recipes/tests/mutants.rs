//! Ten thousand mutants of good user-data: each is read or refused with the place, in no time.

#[path = "../fuzz/bodies.rs"]
mod bodies;
mod mutation;

use std::fs;
use std::path::Path;
use std::time::Duration;

use recipes::user_data;
use rustix::time::{ClockId, clock_gettime};

const MUTANTS: u64 = 10_000;

/// What one may take; where little is optimised, four times that.
const PATIENCE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 200 } else { 50 });

fn documents() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/user_data");
    let mut paths: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("ok-"));
    paths.sort();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/user-data.toml");
    paths.iter().chain([&own]).map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn each_is_read_or_refused_with_its_place_in_no_time() {
    let documents = documents();
    let (mut toml, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    for seed in 0..MUTANTS {
        let text = mutation::mutant(seed, &documents);
        toml += u64::from(toml::from_str::<toml::Table>(&text).is_ok());
        let read = std::panic::catch_unwind(|| bodies::user_data(text.as_bytes()));
        let accepted = read.unwrap_or_else(|_| panic!("mutant {seed}:\n{text}"));
        if !accepted {
            refused += 1;
            for error in &user_data::parse("mutant.toml", &text).unwrap_err() {
                // A document of another tool is wrong as a whole; many errors end with how many more there are.
                let whole = ["this is a", "MIME user-data", "more errors"];
                let placed = error.line > 0 || whole.iter().any(|says| error.message.contains(says));
                assert!(placed && error.file == "mutant.toml", "mutant {seed}: {error:?}");
            }
        }
        let took = (0..5).map(|_| time(&text)).find(|took| *took < PATIENCE).unwrap_or(Duration::MAX);
        slowest = slowest.max(took);
        assert!(took < PATIENCE, "mutant {seed} takes {took:?}:\n{text}");
    }
    println!("{toml} are TOML, {refused} are refused, the slowest takes {slowest:?}");
    assert!(toml >= MUTANTS / 2, "{toml} are TOML");
    // Neither all nor none: the changes matter, and not each of them.
    assert!((MUTANTS / 4..MUTANTS * 19 / 20).contains(&refused), "{refused} are refused");
}

/// What a processor has to do for it: one that was busy with something else is no fault of the parser's.
fn time(text: &str) -> Duration {
    let used = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let start = used();
    let _ = std::hint::black_box(user_data::parse("mutant.toml", text));
    used() - start
}
