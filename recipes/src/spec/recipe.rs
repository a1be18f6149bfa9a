//! The tables of a recipe.

use super::forms::*;
use super::{Key, Shape, Spec};

const BOOLEAN: Shape = Shape::Boolean;
const TEMPLATES: Shape = Shape::List(&Shape::Template);
const COMMAND: Shape = Shape::SomeOf(&Shape::Template);
const ITEMS: Shape = Shape::List(&Shape::Form(&ITEM));
const ENV: Shape = Shape::Map(&VARIABLE, &Shape::Template);
const SECRETS: Shape = Shape::List(&Shape::Form(&IDENTIFIER));
const FILES: Shape = Shape::Map(&PATH, &Shape::Table(&FILE));
const MOUNTS: Shape = Shape::Map(&NAME, &Shape::Either(&[Shape::Form(&PATH), Shape::Table(&MOUNT)]));
const DURATION_SHAPE: Shape = Shape::Form(&DURATION);

pub(crate) const PARAMS: Shape = Shape::Map(&IDENTIFIER, &Shape::Table(&PARAM));
pub(crate) const VOLUMES: Shape = Shape::Map(&NAME, &Shape::Table(&VOLUME));
pub(crate) const CONTAINERS: Shape = Shape::Map(&NAME, &Shape::Table(&CONTAINER));
pub(crate) const STEPS: Shape = Shape::Map(&NAME, &Shape::Table(&STEP));
pub(crate) const ORDERS: &[&str] = &["parallel", "declared"];
/// Tables that later releases bring to a recipe.
pub(crate) const LATER: &[(&str, &str)] =
    &[("routes", "0.3"), ("backup", "0.3"), ("needs", "0.4"), ("provides", "0.4")];
/// Types of parameters.
pub(crate) const TYPES: &[&str] =
    &["string", "integer", "boolean", "hostname", "port", "enum", "size", "duration", "secret"];

/// The whole document.
pub(crate) static DOCUMENT: Spec = Spec {
    title: "the document",
    about: "A recipe: what runs, in which order, with which volumes and parameters.",
    keys: &[
        Key::new("format", Shape::Integer(1, crate::FORMAT as i64), "1", "Format of the language."),
        Key::required("recipe", Shape::Table(&RECIPE), "What the recipe is."),
        Key::new("params", PARAMS, "none", "What the owner may set."),
        Key::new("volumes", VOLUMES, "none", "Named volumes, which outlive the instance."),
        Key::new("containers", CONTAINERS, "none", "What runs."),
        Key::new("steps", STEPS, "none", "Ordered work: commands that run and end."),
    ],
    reserved: LATER,
};

/// `[recipe]`
pub(crate) static RECIPE: Spec = Spec {
    title: "[recipe]",
    about: "What the recipe is.",
    keys: &[
        Key::required("name", Shape::Form(&NAME), "Its name, and the default name of its instances."),
        Key::new("version", Shape::Form(&VERSION), "none", "Version of the recipe itself."),
        Key::new("description", Shape::Text, "none", "One line for people."),
        Key::new(
            "order",
            Shape::OneOf(ORDERS),
            "`parallel`",
            "`declared`: containers and steps start one after another, as written.",
        ),
    ],
    reserved: &[],
};

/// `[params.NAME]`
pub(crate) static PARAM: Spec = Spec {
    title: "[params.NAME]",
    about: "What the owner may set.",
    keys: &[
        Key::new("type", Shape::OneOf(TYPES), "`string`", "What values it takes."),
        Key::new("default", VALUE, "required of the owner", "Its value when the owner gives none."),
        Key::new("description", Shape::Text, "none", "What people are shown."),
        Key::new(
            "pattern",
            Shape::Text,
            "none",
            "For `string`: a regular expression to be found in the value.",
        ),
        Key::new(
            "values",
            Shape::SomeOf(&Shape::Text),
            "required for `enum`",
            "For `enum`: the texts it can be.",
        ),
        Key::new("min", BOUND, "none", "For `integer`, `port`, `size` and `duration`: the least value."),
        Key::new("max", BOUND, "none", "For `integer`, `port`, `size` and `duration`: the greatest value."),
        Key::new(
            "generate",
            Shape::Form(&GENERATOR),
            "none",
            "For `secret`: made once and kept: `hex:N`, `base64:N`, `password:N` or `uuid`.",
        ),
    ],
    reserved: &[],
};

/// `[volumes.NAME]`
pub(crate) static VOLUME: Spec = Spec {
    title: "[volumes.NAME]",
    about: "A directory on the data partition that outlives its instance.",
    keys: &[Key::new("size", Shape::OrTemplate(&SIZE), "none", "Quota.")],
    reserved: &[("backup", "0.3")],
};

/// `[containers.NAME]`
pub(crate) static CONTAINER: Spec = Spec {
    title: "[containers.NAME]",
    about: "Something that runs until it is stopped.",
    keys: &[
        Key::required(
            "image",
            Shape::Form(&IMAGE),
            "Its image, with the registry's host and a tag or digest.",
        ),
        Key::new(
            "entrypoint",
            COMMAND,
            "the image's",
            "Replaces the image's; without `command` it drops the image's command too.",
        ),
        Key::new("command", TEMPLATES, "the image's", "Replaces the image's."),
        Key::new("env", ENV, "none", "Environment, beside the image's."),
        Key::new(
            "secrets",
            SECRETS,
            "none",
            "Secret parameters given as files `/run/secrets/NAME`, 0400, of the container's user.",
        ),
        Key::new("files", FILES, "none", "Files by absolute path."),
        Key::new("volumes", MOUNTS, "none", "Named volumes and where they appear."),
        Key::new(
            "tmpfs",
            Shape::List(&Shape::Form(&PATH)),
            "none",
            "Paths that are in memory and start empty.",
        ),
        Key::new(
            "ports",
            TEMPLATES,
            "none",
            "Published ports, `[ADDRESS:]HOST:CONTAINER[/tcp|udp]`; without an address they are open to the internet.",
        ),
        Key::new("user", Shape::OrTemplate(&Shape::Form(&USER)), "the image's", "Whom it runs as."),
        Key::new("working_dir", Shape::Form(&PATH), "the image's", "Working directory."),
        Key::new("read_only", Shape::OrTemplate(&BOOLEAN), "`false`", "Its root cannot be written."),
        Key::new(
            "memory",
            Shape::OrTemplate(&SIZE),
            "none",
            "Memory limit; the box keeps a reserve of its own.",
        ),
        Key::new("cpus", Shape::OrTemplate(&Shape::Number(0.01, 1024.0)), "none", "Limit in processors."),
        Key::new(
            "pids",
            Shape::OrTemplate(&Shape::Integer(1, 4_194_304)),
            "`2048`",
            "Limit of processes and threads.",
        ),
        Key::new(
            "cap_add",
            Shape::List(&Shape::Form(&CAPABILITY)),
            "none",
            "Capabilities beside the default ones, which are Podman's.",
        ),
        Key::new(
            "userns",
            Shape::OneOf(&["auto", "host"]),
            "`auto`",
            "`host`: without a user namespace; `status` warns of it.",
        ),
        Key::new(
            "privileged",
            BOOLEAN,
            "`false`",
            "Every capability and device, no seccomp; needs `[box] allow_privileged = true`.",
        ),
        Key::new("stop_signal", Shape::Form(&SIGNAL), "the image's", "Signal that stops it."),
        Key::new("stop_timeout", DURATION_SHAPE, "`10s`", "Time between the stop signal and KILL."),
        Key::new(
            "restart",
            Shape::OneOf(&["always", "on-failure", "never"]),
            "`always`",
            "What happens when it ends.",
        ),
        Key::new(
            "require",
            ITEMS,
            "none",
            "What must hold first: containers healthy (running where they have no probe), steps succeeded.",
        ),
        Key::new("health", Shape::Table(&HEALTH), "none", "How it is known to be well."),
    ],
    reserved: &[],
};

/// `[containers.NAME.files]`, each
pub(crate) static FILE: Spec = Spec {
    title: "files.PATH",
    about: "A file put into the container.",
    keys: &[
        Key::required("content", Shape::Template, "What it holds."),
        Key::new("mode", Shape::Form(&MODE), "`0644`", "Permission bits."),
        Key::new("owner", Shape::Form(&OWNER), "`0:0`", "Its owner inside the container, in numbers."),
    ],
    reserved: &[],
};

/// A volume in a container, in its long form
pub(crate) static MOUNT: Spec = Spec {
    title: "volumes.NAME of a container",
    about: "Where a volume appears.",
    keys: &[
        Key::required("path", Shape::Form(&PATH), "Where it appears."),
        Key::new("read_only", BOOLEAN, "`false`", "The container may only read it."),
    ],
    reserved: &[],
};

/// `[containers.NAME.health]`
pub(crate) static HEALTH: Spec = Spec {
    title: "[containers.NAME.health]",
    about: "How it is known to be well; one of `http`, `tcp` and `command`.",
    keys: &[
        Key::new("http", Shape::Template, "one of three", "`:PORT/PATH`, well on 200 to 399."),
        Key::new("tcp", Shape::Template, "one of three", "`:PORT`, well when it accepts."),
        Key::new("command", COMMAND, "one of three", "A command in the container, well when it ends with 0."),
        Key::new("interval", DURATION_SHAPE, "`10s`", "Time between two probes."),
        Key::new("timeout", DURATION_SHAPE, "`3s`", "Time one probe may take."),
        Key::new("retries", Shape::Integer(1, 100), "`3`", "Failures in a row that make it unhealthy."),
        Key::new(
            "start_period",
            DURATION_SHAPE,
            "`30s`",
            "Time after the start in which failures do not count.",
        ),
    ],
    reserved: &[],
};

/// `[steps.NAME]`
pub(crate) static STEP: Spec = Spec {
    title: "[steps.NAME]",
    about: "A command that runs and ends; one of `in` and `image` says where. A step that was cut runs again, so it must be repeatable.",
    keys: &[
        Key::required("run", COMMAND, "The command and its arguments."),
        Key::new("in", Shape::Form(&NAME), "one of two", "The running container it runs in."),
        Key::new(
            "image",
            Shape::Form(&IMAGE),
            "one of two",
            "Runs as a container of its own, in the instance's network.",
        ),
        Key::new("env", ENV, "none", "With `image`: environment."),
        Key::new("secrets", SECRETS, "none", "With `image`: secrets as files."),
        Key::new("files", FILES, "none", "With `image`: files."),
        Key::new("volumes", MOUNTS, "none", "With `image`: volumes."),
        Key::new(
            "user",
            Shape::OrTemplate(&Shape::Form(&USER)),
            "the image's",
            "With `image`: whom it runs as.",
        ),
        Key::new("require", ITEMS, "none", "What must hold first."),
        Key::new("require_in", ITEMS, "none", "What waits for this step."),
        Key::new(
            "when",
            Shape::OneOf(&["once", "change", "boot"]),
            "`once`",
            "Once per instance; the first time and after each change of image, params or files; or at each boot.",
        ),
        Key::new("timeout", DURATION_SHAPE, "`10m`", "How long one run may take."),
        Key::new("retries", Shape::Integer(0, 100), "`3`", "How often a failed run is repeated."),
    ],
    reserved: &[],
};
