//! The tests of the whole: one program, so that it is compiled and linked once.

#[path = "../support/mod.rs"]
mod support;

mod app;
mod check;
mod cli;
mod digitalocean;
mod hardening;
mod init;
mod keys;
mod lock;
mod mirror;
mod moto;
mod openstack;
mod openstack_stub;
mod page;
mod push;
mod release;
mod release_publish;
mod release_rotate;
