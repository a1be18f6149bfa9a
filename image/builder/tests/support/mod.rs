//! A repository of its own for each test: a signed archive, made by code, and a checkout that locks
//! from it. Nothing needs a network, a running service or a right.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod archive;
pub(crate) mod digitalocean;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod openstack;
pub(crate) mod openstack_stub;
pub(crate) mod release;
pub(crate) mod s3;
pub(crate) mod terminal;
pub(crate) mod workspace;
