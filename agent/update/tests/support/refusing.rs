//! A small release that is refused.

use agent_update::UpdateErrorKind as Kind;

use super::images::image;
use super::machine::{Machine, check};
use super::publisher::Publisher;
use super::server::Server;

pub fn boot() -> Vec<u8> {
    image([1, 2, 3, 5])
}

pub fn root() -> Vec<u8> {
    image((101..117).step_by(2))
}

/// The slot before: it would start.
pub fn machine(publisher: &Publisher) -> Machine {
    let machine = Machine::new(publisher);
    machine.fill("target-boot", &image([9001]));
    machine
}

/// Stages and is refused; `written`: after the slot has been written to.
pub fn refused(case: &str, publisher: &Publisher, server: &Server, kind: Kind, message: &str, written: bool) {
    let machine = machine(publisher);
    let error = machine.stage(&server.url).expect_err(case);
    check(case, &error, &server.url, kind, message);
    assert_eq!(machine.starts(), !written, "{case}");
}
