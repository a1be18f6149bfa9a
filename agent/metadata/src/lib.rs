//! What the provider says of this box.
#![forbid(unsafe_code)]
