//! An agent that takes memory without end, to be put into an image in place of the real one.

#![forbid(unsafe_code)]

/// Bytes that are taken at a time.
const BITE: usize = 4 << 20;

fn main() {
    let mut eaten: Vec<Vec<u8>> = vec![];
    loop {
        // Every page is written to: what is only reserved costs nothing.
        eaten.push(std::hint::black_box(vec![1; BITE]));
    }
}
