//! Links, addresses, routes, DHCP and nftables.
#![forbid(unsafe_code)]
