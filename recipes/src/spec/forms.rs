//! The forms that text can have, as regular expressions for the schemas and words for people.

use super::{Form, Shape};

macro_rules! forms {
    ($($name:ident: $word:literal, $pattern:literal, $example:literal;)*) => {
        $(#[doc = $word]
        pub(crate) const $name: Form = Form { word: $word, pattern: $pattern, example: $example };)*
    };
}

forms! {
    NAME: "name", "^[a-z][a-z0-9-]{0,30}$", "notes";
    IDENTIFIER: "parameter name", "^[a-z][a-z0-9_]{0,30}$", "title";
    VERSION: "semantic version", "^[0-9]+\\.[0-9]+\\.[0-9]+", "1.4.0";
    HOSTNAME: "host name", "^[A-Za-z0-9.-]{1,253}$", "a.example.org";
    SIZE_TEXT: "size", "^[0-9]+[KMGT]?$", "256M";
    DURATION: "time span", "^ *([0-9]+[dhms] *)+$", "1h 30m";
    IMAGE: "image", "^[^/]+/.+[:@].+$", "registry.example.org/notes:1.4";
    PATH: "absolute path", "^/", "/var/lib/notes";
    VARIABLE: "variable name", "^[^=]+$", "TITLE";
    MODE: "octal mode", "^[0-7]{3,4}$", "0644";
    OWNER: "UID:GID", "^[0-9]+(:[0-9]+)?$", "0:0";
    USER: "user", "^[^:]+(:[^:]+)?$", "1000:1000";
    CAPABILITY: "capability", "^[A-Z_]+$", "NET_BIND_SERVICE";
    SIGNAL: "signal", "^SIG[A-Z0-9+]+$", "SIGTERM";
    ITEM: "containers.NAME or steps.NAME", "^(containers|steps)\\.[a-z][a-z0-9-]{0,30}$", "containers.app";
    GENERATOR: "generator", "^((hex|base64|password):[0-9]+|uuid)$", "hex:32";
    SOURCE: "library name or absolute path", "^(/|[a-z])", "notes";
    ADMIN_KEY: "OpenSSH public key", " ", "ssh-ed25519 AAAA… ops";
    ADDRESS: "IP address", "^[0-9A-Fa-f.:]+$", "9.9.9.9";
    SERVER: "host name or IP address", "^[0-9A-Za-z.:-]+$", "time.example.org";
    CIDR: "address with prefix", "^[0-9A-Fa-f.:]+/[0-9]{1,3}$", "203.0.113.7/24";
    DESTINATION: "network, or `default`", "^(default|[0-9A-Fa-f.:]+/[0-9]{1,3})$", "default";
    MAC: "MAC address", "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$", "52:54:00:12:34:56";
    INTERFACE: "interface name", "^[^/ ]{1,15}$", "ens3";
    REGISTRY: "registry host", "^[^/]+$", "registry.example.org:5000";
    HTTP_BASE: "http or https URL", "^https?://[^/?#@]+(/[^?#]*)?$", "https://updates.example.org/holdfast";
    HOOK: "http or https URL", "^https?://[^/?#]+[^#]*$", "https://hooks.example.org/hub1";
    WINDOW: "times of day", "^[0-2][0-9]:[0-5][0-9][-–][0-2][0-9]:[0-5][0-9]$", "03:00-05:00";
    TIME_ZONE: "time zone", "^[A-Za-z0-9/_+-]+$", "Europe/Berlin";
    PEM: "PEM certificates", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----…";
}

/// Bytes, as a number or in K, M, G, T.
pub(crate) const SIZE: Shape = Shape::Either(&[Shape::Integer(0, i64::MAX), Shape::Form(&SIZE_TEXT)]);
/// What an owner can give a parameter.
pub(crate) const VALUE: Shape =
    Shape::Either(&[Shape::Text, Shape::Integer(i64::MIN, i64::MAX), Shape::Boolean]);
/// A bound of a parameter: a number, or text for sizes and time spans.
pub(crate) const BOUND: Shape =
    Shape::Either(&[Shape::Integer(i64::MIN, i64::MAX), Shape::Form(&SIZE_TEXT), Shape::Form(&DURATION)]);
