//! An agent that ends at once, to be put into an image in place of the real one.

#![forbid(unsafe_code)]

fn main() {
    std::process::exit(1);
}
