//! Effects on the box.
