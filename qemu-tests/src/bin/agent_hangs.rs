//! An agent that never says anything, to be put into an image in place of the real one.

#![forbid(unsafe_code)]

use std::time::Duration;

fn main() {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
