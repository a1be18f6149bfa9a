//! What the tests of updates share: a publisher, a server that misbehaves as told, a box.

#![allow(dead_code, missing_docs, reason = "each test program uses a part of it")]

pub mod images;
pub mod machine;
pub mod publisher;
pub mod refusing;
pub mod server;
pub mod signing;
pub mod verity;
