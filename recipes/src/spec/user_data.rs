//! The tables of user-data.

use super::forms::*;
use super::recipe::{CONTAINERS, ORDERS, PARAMS, STEPS, VOLUMES};
use super::{Key, Shape, Spec};

const BOOLEAN: Shape = Shape::Boolean;
const ADDRESSES: Shape = Shape::List(&Shape::Form(&ADDRESS));

/// The whole document.
pub(crate) static DOCUMENT: Spec = Spec {
    title: "the document",
    about: "A box: its settings, and exactly the instances it runs.",
    keys: &[
        Key::new("format", Shape::Integer(1, crate::FORMAT as i64), "1", "Format of the language."),
        Key::new("box", Shape::Table(&BOX), "defaults", "The box itself."),
        Key::new("recipe", Shape::List(&INSTANCE), "none", "The box's instances."),
    ],
    reserved: &[],
};

/// An entry of `[[recipe]]`: one of two tables.
pub(crate) const INSTANCE: Shape = Shape::Either(&[Shape::Table(&USE), Shape::Table(&INLINE)]);

/// `[box]`
pub(crate) static BOX: Spec = Spec {
    title: "[box]",
    about: "The box itself.",
    keys: &[
        Key::new("hostname", Shape::Form(&HOSTNAME), "from DHCP or the provider", "Host name."),
        Key::new(
            "admins",
            Shape::List(&Shape::Form(&ADMIN_KEY)),
            "none",
            "OpenSSH public keys that log in as `admin`.",
        ),
        Key::new("provider_keys", BOOLEAN, "`true`", "The keys that the provider gives are accepted too."),
        Key::new("dns", ADDRESSES, "from DHCP or the provider", "Name servers."),
        Key::new("ntp", Shape::List(&Shape::Form(&SERVER)), "Debian's pool", "Time servers."),
        Key::new("allow_privileged", BOOLEAN, "`false`", "Recipes may ask for privileged containers."),
        Key::new(
            "interface",
            Shape::List(&Shape::Table(&NIC)),
            "as the provider describes, else DHCP and router advertisements on every NIC",
            "Interfaces with settings of their own.",
        ),
        Key::new(
            "registry",
            Shape::List(&Shape::Table(&REGISTRY_TABLE)),
            "none",
            "Registries that need more than their name.",
        ),
        Key::new("timezone", Shape::Form(&TIME_ZONE), "`UTC`", "Zone of local times, by its IANA name."),
        Key::new("update", Shape::Table(&UPDATE), "no updates", "Where updates come from."),
        Key::new("notify", Shape::Table(&NOTIFY), "nobody", "Who is told of events."),
    ],
    reserved: &[("trust", "0.4")],
};

/// `[[box.interface]]`
pub(crate) static NIC: Spec = Spec {
    title: "[[box.interface]]",
    about: "A network interface with settings of its own; every other one is as the provider describes, else by DHCP and router advertisements.",
    keys: &[
        Key::required("match", Shape::Table(&MATCH), "Which interface."),
        Key::new("dhcp4", BOOLEAN, "`true` without an IPv4 address", "It asks DHCPv4."),
        Key::new("accept_ra", BOOLEAN, "`true`", "Router advertisements are accepted."),
        Key::new("addresses", Shape::List(&Shape::Form(&CIDR)), "none", "Static addresses."),
        Key::new("routes", Shape::List(&Shape::Table(&ROUTE)), "none", "Static routes."),
        Key::new("dns", ADDRESSES, "none", "Name servers reached through it."),
        Key::new("mtu", Shape::Integer(68, 65_535), "the link's", "MTU; at least 1280 for IPv6."),
    ],
    reserved: &[],
};

/// `match` of an interface
pub(crate) static MATCH: Spec = Spec {
    title: "match",
    about: "Which interface: one of `mac` and `name`.",
    keys: &[
        Key::new("mac", Shape::Form(&MAC), "one of two", "By hardware address."),
        Key::new("name", Shape::Form(&INTERFACE), "one of two", "By the kernel's name."),
    ],
    reserved: &[],
};

/// A route of an interface
pub(crate) static ROUTE: Spec = Spec {
    title: "an entry of routes",
    about: "A static route.",
    keys: &[
        Key::required(
            "to",
            Shape::Form(&DESTINATION),
            "Network, or `default`, whose family is that of `via`.",
        ),
        Key::new("via", Shape::Form(&ADDRESS), "none: a link route", "Gateway; required for `default`."),
        Key::new(
            "on_link",
            BOOLEAN,
            "`false`",
            "The gateway is reached on the link though no address covers it.",
        ),
        Key::new("metric", Shape::Integer(0, 4_294_967_295), "the kernel's", "Lower wins."),
    ],
    reserved: &[],
};

/// `[[box.registry]]`
pub(crate) static REGISTRY_TABLE: Spec = Spec {
    title: "[[box.registry]]",
    about: "A registry that needs more than its name.",
    keys: &[
        Key::required("host", Shape::Form(&REGISTRY), "`HOST[:PORT]`, as in image references."),
        Key::new("ca", Shape::Form(&PEM), "the system's", "Certificates to trust instead."),
        Key::new("username", Shape::Text, "none", "User, for the registry and its token server."),
        Key::new("password", Shape::Text, "none", "Password; kept 0600, never shown."),
        Key::new("plain_http", BOOLEAN, "`false`", "Speak HTTP without TLS."),
    ],
    reserved: &[],
};

/// `[box.update]`
pub(crate) static UPDATE: Spec = Spec {
    title: "[box.update]",
    about: "Where updates of the box come from, and when it takes them.",
    keys: &[
        Key::required(
            "url",
            Shape::Form(&HTTP_BASE),
            "Where releases are published; no user, query or fragment.",
        ),
        Key::new(
            "policy",
            Shape::OneOf(&["auto", "stage", "manual"]),
            "`auto`",
            "Fetch a release and restart into it within the window; only fetch it; or do nothing unasked.",
        ),
        Key::new(
            "window",
            Shape::Form(&WINDOW),
            "`03:00-05:00`",
            "When it may restart, in its time zone; at least 10 minutes, across midnight if need be.",
        ),
        Key::new(
            "jitter",
            Shape::Form(&DURATION),
            "`30m`, or half of a shorter window",
            "The most that it waits, a random time, after the window opens; shorter than the window.",
        ),
        Key::new("channel", Shape::Form(&NAME), "`stable`", "Channel of releases that it follows."),
        Key::new(
            "ignore",
            Shape::List(&Shape::Form(&NAME)),
            "none",
            "Instances whose health does not count when a release is judged.",
        ),
    ],
    reserved: &[],
};

/// `[box.notify]`
pub(crate) static NOTIFY: Spec = Spec {
    title: "[box.notify]",
    about: "Who is told of the box's events.",
    keys: &[Key::required(
        "url",
        Shape::Form(&HOOK),
        "Where events are sent, with its user, path and query; no fragment; never shown.",
    )],
    reserved: &[],
};

/// What an instance has whatever its recipe is.
const HEALTH_TIMEOUT: Key = Key::new(
    "health_timeout",
    Shape::Form(&DURATION),
    "`10m`",
    "How long it may take to become healthy after an update of the box; 10 s to 1 h.",
);

/// What later releases bring to an instance.
const LATER: &[(&str, &str)] = &[("routes", "0.3"), ("backup", "0.3"), ("needs", "0.4"), ("provides", "0.4")];

/// `[[recipe]]` with `use`
pub(crate) static USE: Spec = Spec {
    title: "[[recipe]] with `use`",
    about: "An instance of a recipe that is written elsewhere.",
    keys: &[
        Key::required("use", Shape::Form(&SOURCE), "A name of the library, or an absolute path on the box."),
        Key::new("name", Shape::Form(&NAME), "the recipe's", "The instance's name."),
        Key::new("params", Shape::Map(&IDENTIFIER, &VALUE), "none", "Values for the recipe's parameters."),
        HEALTH_TIMEOUT,
    ],
    reserved: LATER,
};

/// `[[recipe]]` without `use`
pub(crate) static INLINE: Spec = Spec {
    title: "[[recipe]] without `use`",
    about: "A whole recipe in place, with the tables of a recipe under `recipe.`; each parameter has `default` or `generate`.",
    keys: &[
        Key::required("name", Shape::Form(&NAME), "The recipe's and the instance's name."),
        Key::new("version", Shape::Form(&VERSION), "none", "Version of the recipe."),
        Key::new("description", Shape::Text, "none", "One line for people."),
        Key::new("order", Shape::OneOf(ORDERS), "`parallel`", "As in a recipe."),
        Key::new("params", PARAMS, "none", "As in a recipe."),
        Key::new("volumes", VOLUMES, "none", "As in a recipe."),
        Key::new("containers", CONTAINERS, "none", "As in a recipe."),
        Key::new("steps", STEPS, "none", "As in a recipe."),
        HEALTH_TIMEOUT,
    ],
    reserved: LATER,
};
