//! Figures of the box beside those of the peer, measured in one run.

#![forbid(unsafe_code)]

mod bench;
mod boots;
mod container;
mod figure;
mod figures;
mod healing;
mod idle;
mod ours;
mod peer;
mod releases;
mod updates;

use std::process::ExitCode;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match figures::measure(&names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
