//! `holdfast-fetch` and `holdfast-update`: what handles foreign bytes on a box, each run as its own user without
//! rights. One program under two names: the larger part of either is the same.
//!
//! It is what the name says that it is started by; deliberately absent: anything else that the two share.

#![forbid(unsafe_code)]

mod fetch;
mod update;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

const FETCH: &str = "holdfast-fetch";
const UPDATE: &str = "holdfast-update";

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    let (name, ended) = match Path::new(&called).file_name() {
        Some(name) if name == OsStr::new(UPDATE) => (UPDATE, update::run(&words)),
        _ => (FETCH, fetch::run(&words)),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("{name}: {error:#}");
        ExitCode::FAILURE
    })
}
