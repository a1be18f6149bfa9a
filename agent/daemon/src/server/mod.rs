//! The local API: HTTP and JSON on a Unix socket, for root and `admin` alone.
//!
//! Who is on the other side is what the kernel says of the socket's peer; nothing in a request is asked.
//! Deliberately absent: decisions about containers. A handler changes what is wanted, or reads what is,
//! and wakes the loop.

mod apply;
mod data;
mod doctor;
mod error;
mod exec;
mod images;
mod logs;
mod measure;
mod network;
mod notify;
mod power;
mod pull;
mod query;
mod session;
mod status;
mod update;
mod volumes;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use agent_api::routes;
use anyhow::Context;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use crate::agent::Agent;
use crate::sandbox;
pub(crate) use apply::current as plan;
pub(crate) use doctor::of as doctor;
pub(crate) use error::Failure;
pub(crate) use images::all as images;
pub(crate) use images::used as used_images;
pub(crate) use measure::{disk, memory, of_container};
pub(crate) use power::{power_button, restart};
pub(crate) use status::{Of, health, host_key_fingerprints, image_version, problems, status as state};
pub(crate) use volumes::all as volumes;

/// The longest body that is read whole.
const BODY: usize = 2 << 20;

/// The other side of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Option<u32>,
    pid: Option<i32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        let credentials = stream.io().peer_cred().ok();
        Peer {
            uid: credentials.map(|credentials| credentials.uid()),
            pid: credentials.and_then(|credentials| credentials.pid()),
        }
    }
}

/// Listens on the socket. Anyone may connect, so that all are told why they may not do more.
pub(crate) fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let _ = std::fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("failed to listen on `{}`", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Serves for ever.
pub(crate) async fn serve(agent: Arc<Agent>, listener: UnixListener) -> anyhow::Result<()> {
    let admin = sandbox::user("admin").map(|(uid, _)| uid);
    let admin = admin.inspect_err(|error| tracing::warn!("root alone may use the API: {error:#}")).ok();
    let service = router(agent, admin).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).await.context("the API ended")
}

fn router(agent: Arc<Agent>, admin: Option<u32>) -> Router {
    let reading = Router::new()
        .route(routes::STATUS, get(query::status))
        .route(routes::DOCTOR, get(doctor::findings))
        .route(routes::REPORT, get(doctor::report))
        .route(routes::CONTAINERS, get(query::containers))
        .route(routes::WAIT, get(query::wait))
        .route(routes::LOGS, get(logs::logs))
        .route(routes::EVENTS, get(logs::events))
        .route(routes::VERSION, get(query::version))
        .route(routes::OPENAPI, get(query::openapi))
        .route(routes::UPDATE, get(update::state))
        .route(routes::NOTIFY, get(notify::state))
        .route(routes::NETWORK, get(network::state))
        .route(routes::DATA, get(data::state));
    let acting = Router::new()
        .route(routes::PLAN, get(apply::plan).post(apply::plan_document))
        .route(routes::APPLY, post(apply::apply))
        .route(routes::EXEC, post(exec::exec))
        .route(routes::IMAGES, get(images::list))
        .route(routes::IMAGES_PRUNE, post(images::prune))
        .route(routes::PULL, post(pull::pull))
        .route(routes::RESTART, post(apply::restart))
        .route(routes::NETWORK_TRY, post(network::try_settings))
        .route(routes::NETWORK_CONFIRM, post(network::confirm))
        .route(routes::NETWORK_REVERT, post(network::revert))
        .route(routes::DATA_CHECK, post(data::check))
        .route(routes::DATA_FORMAT, post(data::format))
        .route(routes::UPDATE_CHECK, post(update::check))
        .route(routes::UPDATE_STAGE, post(update::stage))
        .route(routes::UPDATE_APPLY, post(update::apply))
        .route(routes::UPDATE_SCRUB, post(update::scrub))
        .route(routes::UPDATE_ROLLBACK, post(update::rollback))
        .route(routes::NOTIFY_TEST, post(notify::test))
        .route(routes::REBOOT, post(power::reboot))
        .route(routes::POWEROFF, post(power::poweroff));
    let volumes = Router::new()
        .route(routes::VOLUMES, get(volumes::list))
        .route(routes::VOLUME, delete(volumes::remove))
        .route(routes::VOLUME_CONTENT, get(volumes::export).put(volumes::import));
    reading
        .merge(acting)
        .layer(DefaultBodyLimit::max(BODY))
        .merge(volumes.layer(DefaultBodyLimit::disable()))
        .fallback(|| async { Failure::not_found("there is no such route") })
        .layer(axum::middleware::from_fn_with_state(admin, only_admins))
        .with_state(agent)
}

/// Does something to its end, even when the client that asked for it goes away meanwhile.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = error::Answer<T>> + Send + 'static,
) -> error::Answer<T> {
    let ended = tokio::spawn(work).await;
    ended.unwrap_or_else(|error| Err(Failure::failed(format!("it broke off: {error}"))))
}

/// Lets root and `admin` through.
async fn only_admins(
    State(admin): State<Option<u32>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match peer.uid {
        Some(uid) if allowed(uid, admin) => next.run(request).await,
        _ => Failure::not_allowed("this user may not use the API")
            .hint("log in as `admin`, or be root")
            .into_response(),
    }
}

fn allowed(uid: u32, admin: Option<u32>) -> bool {
    uid == 0 || Some(uid) == admin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_on_without_its_client() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let asked = tokio::spawn(to_the_end(async move {
            let _ = wait.await;
            let _ = tell.send("done");
            Ok(())
        }));
        tokio::task::yield_now().await;
        asked.abort();
        assert!(asked.await.is_err());
        go.send(()).unwrap();
        assert_eq!(told.await, Ok("done"));
    }

    #[test]
    fn root_and_admin_and_no_one_else() {
        assert!(allowed(0, None));
        assert!(allowed(0, Some(1000)));
        assert!(allowed(1000, Some(1000)));
        assert!(!allowed(1001, Some(1000)));
        assert!(!allowed(1000, None));
        assert!(!allowed(u32::MAX, Some(1000)));
    }
}
