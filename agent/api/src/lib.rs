//! The box's local API: wire types, routes, the exec framing, and a client.
//!
//! HTTP/1.1 and JSON under `/v1` on [`SOCKET`]. Every reply of the server is one of the types here, and
//! [`openapi`] is generated from them. Deliberately absent: what the server does.

#![forbid(unsafe_code)]

pub mod client;
mod doc;
pub mod exec;
mod stdio;
pub mod types;

pub use client::{Client, ClientError};
pub use doc::openapi;

/// Where the server listens.
pub const SOCKET: &str = "/run/holdfast/api.sock";

/// The hidden CLI command that joins stdin and stdout to [`SOCKET`], for a client behind `ssh`.
pub const STDIO_COMMAND: &str = "api-stdio";

/// Routes. `{name}` is a path segment.
pub mod routes {
    /// GET → [`Status`](super::types::Status).
    pub const STATUS: &str = "/v1/status";
    /// GET → [`Doctor`](super::types::Doctor).
    pub const DOCTOR: &str = "/v1/doctor";
    /// GET with [`ReportQuery`](super::types::ReportQuery) → a tar stream in gzip, without secrets.
    pub const REPORT: &str = "/v1/report";
    /// GET → a list of [`Container`](super::types::Container).
    pub const CONTAINERS: &str = "/v1/containers";
    /// GET → [`Plan`](super::types::Plan) for what is accepted; POST a user-data document for what it
    /// would do.
    pub const PLAN: &str = "/v1/plan";
    /// POST a user-data document, with [`ApplyQuery`](super::types::ApplyQuery) →
    /// [`Applied`](super::types::Applied) when the new state is durable. An empty body retries now.
    pub const APPLY: &str = "/v1/apply";
    /// GET with [`WaitQuery`](super::types::WaitQuery) → [`Waited`](super::types::Waited).
    pub const WAIT: &str = "/v1/wait";
    /// GET with [`LogsQuery`](super::types::LogsQuery) → lines of [`LogLine`](super::types::LogLine).
    pub const LOGS: &str = "/v1/logs";
    /// GET with [`EventsQuery`](super::types::EventsQuery) → lines of [`Event`](super::types::Event).
    pub const EVENTS: &str = "/v1/events";
    /// POST [`ExecRequest`](super::types::ExecRequest) with `Upgrade: holdfast-exec` →
    /// [`exec`](super::exec) frames.
    pub const EXEC: &str = "/v1/exec";
    /// GET → a list of [`Image`](super::types::Image).
    pub const IMAGES: &str = "/v1/images";
    /// POST → [`Pruned`](super::types::Pruned).
    pub const IMAGES_PRUNE: &str = "/v1/images/prune";
    /// POST → [`Pulled`](super::types::Pulled), when the new image is healthy or the old one is back.
    pub const PULL: &str = "/v1/instances/{name}/pull";
    /// POST → [`Changed`](super::types::Changed). The name is an instance or `INSTANCE.CONTAINER`.
    pub const RESTART: &str = "/v1/restart/{name}";
    /// GET → a list of [`Volume`](super::types::Volume).
    pub const VOLUMES: &str = "/v1/volumes";
    /// DELETE → [`Changed`](super::types::Changed).
    pub const VOLUME: &str = "/v1/volumes/{instance}/{volume}";
    /// GET → a tar stream; PUT a tar stream → [`Changed`](super::types::Changed).
    pub const VOLUME_CONTENT: &str = "/v1/volumes/{instance}/{volume}/content";
    /// GET → [`NetworkState`](super::types::NetworkState).
    pub const NETWORK: &str = "/v1/network";
    /// POST the network keys of a document → [`Changed`](super::types::Changed), when they are being tried.
    pub const NETWORK_TRY: &str = "/v1/network/try";
    /// POST → [`Changed`](super::types::Changed), when what was tried is durable.
    pub const NETWORK_CONFIRM: &str = "/v1/network/confirm";
    /// POST → [`Changed`](super::types::Changed).
    pub const NETWORK_REVERT: &str = "/v1/network/revert";
    /// GET → [`Data`](super::types::Data).
    pub const DATA: &str = "/v1/data";
    /// POST → [`DataChecked`](super::types::DataChecked).
    pub const DATA_CHECK: &str = "/v1/data/check";
    /// POST [`DataFormat`](super::types::DataFormat) → [`Changed`](super::types::Changed).
    pub const DATA_FORMAT: &str = "/v1/data/format";
    /// POST → [`Changed`](super::types::Changed).
    pub const REBOOT: &str = "/v1/reboot";
    /// POST → [`Changed`](super::types::Changed).
    pub const POWEROFF: &str = "/v1/poweroff";
    /// GET → [`UpdateStatus`](super::types::UpdateStatus).
    pub const UPDATE: &str = "/v1/update";
    /// POST → [`UpdateStatus`](super::types::UpdateStatus), when the source has answered.
    pub const UPDATE_CHECK: &str = "/v1/update/check";
    /// POST → [`UpdateStatus`](super::types::UpdateStatus), when the release is staged.
    pub const UPDATE_STAGE: &str = "/v1/update/stage";
    /// POST → [`UpdateStatus`](super::types::UpdateStatus), when both slots were read and repaired.
    pub const UPDATE_SCRUB: &str = "/v1/update/scrub";
    /// POST → [`Changed`](super::types::Changed), when the release is staged and the box is about to restart.
    pub const UPDATE_APPLY: &str = "/v1/update/apply";
    /// POST → [`Changed`](super::types::Changed), when the box is about to restart.
    pub const UPDATE_ROLLBACK: &str = "/v1/update/rollback";
    /// GET → [`NotifyStatus`](super::types::NotifyStatus).
    pub const NOTIFY: &str = "/v1/notify";
    /// POST → [`NotifyTested`](super::types::NotifyTested), when the server has taken a message.
    pub const NOTIFY_TEST: &str = "/v1/notify/test";
    /// GET → [`Version`](super::types::Version).
    pub const VERSION: &str = "/v1/version";
    /// GET → the OpenAPI document.
    pub const OPENAPI: &str = "/v1/openapi.json";
}
