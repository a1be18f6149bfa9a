//! systemd over D-Bus: starting transient units, stopping them, reading them, hearing of changes.
//!
//! Invariant: nothing is polled; a job's end and a unit's change are signals, subscribed to before the
//! call that causes them. A connection that is lost is not remade here: every call and the stream of
//! changes fail, and the caller connects again and reads everything anew.

mod signals;
mod status;
mod unit;

pub use status::{ActiveState, Exit, ListedUnit, UnitStatus};
pub use unit::{Filter, Flag, Int, List, Number, Span, Stream, Text, TransientUnit};

use futures_util::future::try_join_all;
use signals::{Listener, Signal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use zbus::{Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant, Variant};

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
/// systemd answers at once or is in trouble.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Why systemd could not be asked, or refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SystemdError {
    /// There is no connection to the bus.
    #[error("failed to connect to the system bus")]
    Connect { source: zbus::Error },
    /// The connection was lost while waiting.
    #[error("the connection to the system bus was lost")]
    Lost,
    /// A unit of that name is loaded.
    #[error("unit `{unit}` exists already")]
    Exists { unit: String },
    /// There is no such unit.
    #[error("there is no unit `{unit}`")]
    NoSuchUnit { unit: String },
    /// The call failed.
    #[error("systemd failed to {method} `{unit}`")]
    Call { method: &'static str, unit: String, source: zbus::Error },
    /// The job ended otherwise than done: `failed`, `canceled`, `timeout`, `dependency` …
    #[error("the job of `{unit}` ended as {result}")]
    Job { unit: String, result: String },
}

/// What changed, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitChange {
    /// This unit is to be read again.
    Unit(String),
    /// So much happened that all are to be read again.
    All,
}

/// The changes of units, from the moment this was asked for.
#[derive(Debug)]
pub struct UnitChanges(broadcast::Receiver<Signal>);

impl UnitChanges {
    /// The next change; `None` when the bus is gone.
    pub async fn next(&mut self) -> Option<UnitChange> {
        loop {
            match self.0.recv().await {
                Ok(Signal::Changed { unit } | Signal::Removed { unit }) => {
                    return Some(UnitChange::Unit(unit));
                }
                Ok(Signal::JobEnded { .. }) => {}
                Err(RecvError::Lagged(_)) => return Some(UnitChange::All),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// A connection to systemd. Clones share it.
#[derive(Clone, Debug)]
pub struct Systemd {
    connection: Connection,
    listener: Arc<Listener>,
}

impl Systemd {
    /// Connects over the system bus and subscribes to systemd's signals.
    pub async fn connect() -> Result<Systemd, SystemdError> {
        let failed = |source| SystemdError::Connect { source };
        let connection =
            zbus::connection::Builder::system().method_timeout(CALL_TIMEOUT).build().await.map_err(failed)?;
        let listener = Arc::new(Listener::start(&connection).await.map_err(failed)?);
        let systemd = Systemd { connection, listener };
        systemd.manager("Subscribe", &()).await.map_err(failed)?;
        Ok(systemd)
    }

    /// The changes of all units from now on.
    pub fn changes(&self) -> Result<UnitChanges, SystemdError> {
        self.listen().map(UnitChanges)
    }

    /// Starts a transient unit and waits until it is started: for `Type=notify` until it said so. A unit
    /// of that name that is down is released first; one that is not is [`SystemdError::Exists`].
    pub async fn start_transient(&self, unit: TransientUnit) -> Result<(), SystemdError> {
        let TransientUnit { name, properties } = unit;
        self.release(&name).await?;
        let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        self.job("StartTransientUnit", &name, &(&name, "fail", properties, auxiliary)).await
    }

    /// Starts a unit that is installed, and waits until it is started.
    pub async fn start(&self, name: &str) -> Result<(), SystemdError> {
        self.job("StartUnit", name, &(name, "replace")).await
    }

    /// Stops a unit and waits until it is down; says whether it was loaded.
    pub async fn stop(&self, name: &str) -> Result<bool, SystemdError> {
        self.unless_absent(self.job("StopUnit", name, &(name, "replace")).await)
    }

    /// Restarts an installed unit and waits until it is started.
    pub async fn restart(&self, name: &str) -> Result<(), SystemdError> {
        self.job("RestartUnit", name, &(name, "replace")).await
    }

    /// Restarts a unit if it runs; says whether it is loaded.
    pub async fn try_restart(&self, name: &str) -> Result<bool, SystemdError> {
        self.unless_absent(self.job("TryRestartUnit", name, &(name, "replace")).await)
    }

    /// Sends `signal` to the unit's main process, or to all its processes; says whether it is loaded.
    pub async fn kill(&self, name: &str, all: bool, signal: i32) -> Result<bool, SystemdError> {
        let whom = if all { "all" } else { "main" };
        let sent = self.manager("KillUnit", &(name, whom, signal)).await;
        self.unless_absent(sent.map(drop).map_err(|source| call_error("KillUnit", name, source)))
    }

    /// Queues a target such as `reboot.target`; does not wait, since the caller is stopped by it.
    pub async fn enqueue(&self, target: &str) -> Result<(), SystemdError> {
        let queued = self.manager("StartUnit", &(target, "replace-irreversibly")).await;
        queued.map(drop).map_err(|source| call_error("StartUnit", target, source))
    }

    /// Sets numbers among the properties of a unit, until the next boot.
    pub async fn set_numbers(&self, name: &str, numbers: &[(Number, u64)]) -> Result<(), SystemdError> {
        let numbers: Vec<(&str, Variant<'_>)> =
            numbers.iter().map(|(number, value)| (number.name(), Variant::from(*value))).collect();
        let set = self.manager("SetUnitProperties", &(name, true, numbers)).await;
        set.map(drop).map_err(|source| call_error("SetUnitProperties", name, source))
    }

    /// Forgets that a unit failed; says whether it is loaded.
    pub async fn reset_failed(&self, name: &str) -> Result<bool, SystemdError> {
        let reset = self.manager("ResetFailedUnit", &name).await;
        self.unless_absent(reset.map(drop).map_err(|source| call_error("ResetFailedUnit", name, source)))
    }

    /// Lets go of a unit that is down, whether it failed or is kept by `AddRef`, so that its name is free
    /// again; says whether it was loaded. A unit that is not down is [`SystemdError::Exists`].
    pub async fn release(&self, name: &str) -> Result<bool, SystemdError> {
        let mut signals = self.listen()?;
        let Some(path) = self.path(name).await? else { return Ok(false) };
        let active: String = self.property(&path, UNIT, "ActiveState", name).await?;
        if !ActiveState::parse(&active).is_down() {
            return Err(SystemdError::Exists { unit: name.to_owned() });
        }
        self.reset_failed(name).await?;
        // Answers with an error where this connection holds no reference: then there is none to drop.
        let _ = self.manager("UnrefUnit", &name).await;
        while self.path(name).await?.is_some() {
            let removed = async {
                loop {
                    match signals.recv().await {
                        Ok(Signal::Removed { unit }) if unit == name => return Ok(()),
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => return Ok(()),
                        Err(RecvError::Closed) => return Err(SystemdError::Lost),
                    }
                }
            };
            match tokio::time::timeout(RELEASE_TIMEOUT, removed).await {
                Ok(outcome) => outcome?,
                Err(_) => return Err(SystemdError::Exists { unit: name.to_owned() }),
            }
        }
        Ok(true)
    }

    /// The state of a unit; `None` when it is not loaded.
    pub async fn status(&self, name: &str) -> Result<Option<UnitStatus>, SystemdError> {
        let Some(path) = self.path(name).await? else { return Ok(None) };
        match self.read_status(&path, name).await {
            Err(SystemdError::NoSuchUnit { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// How often systemd has started a service again since it was started; `None` when it is not loaded.
    pub async fn restarts(&self, name: &str) -> Result<Option<u32>, SystemdError> {
        let Some(path) = self.path(name).await? else { return Ok(None) };
        self.property(&path, SERVICE, "NRestarts", name).await.map(Some)
    }

    /// Waits until a unit is down or gone. To learn how it ended it must be held by `AddRef` or fail.
    pub async fn wait_down(&self, name: &str) -> Result<Option<UnitStatus>, SystemdError> {
        let mut changes = self.changes()?;
        loop {
            match self.status(name).await? {
                Some(status) if !status.active.is_down() => {}
                ended => return Ok(ended),
            }
            loop {
                match changes.next().await {
                    Some(UnitChange::Unit(unit)) if unit != name => {}
                    Some(_) => break,
                    None => return Err(SystemdError::Lost),
                }
            }
        }
    }

    /// The loaded units whose names match one of the glob `patterns`, by name.
    pub async fn list(&self, patterns: &[&str]) -> Result<Vec<ListedUnit>, SystemdError> {
        type Row =
            (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
        let states: [&str; 0] = [];
        let failed = |source| call_error("ListUnitsByPatterns", "*", source);
        let reply = self.manager("ListUnitsByPatterns", &(&states[..], patterns)).await.map_err(failed)?;
        let rows: Vec<Row> = reply.body().deserialize().map_err(failed)?;
        let mut units: Vec<ListedUnit> = rows
            .into_iter()
            .map(|row| ListedUnit { name: row.0, active: ActiveState::parse(&row.3), sub: row.4 })
            .collect();
        units.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(units)
    }

    async fn read_status(&self, path: &OwnedObjectPath, name: &str) -> Result<UnitStatus, SystemdError> {
        let text = |interface, property| self.property::<String>(path, interface, property, name);
        let words = try_join_all([text(UNIT, "ActiveState"), text(UNIT, "SubState")]).await?;
        let [active, sub] = <[String; 2]>::try_from(words).unwrap_or_default();
        let invocation: Vec<u8> = self.property(path, UNIT, "InvocationID", name).await?;
        let active_since: u64 = self.property(path, UNIT, "ActiveEnterTimestampMonotonic", name).await?;
        let mut status = UnitStatus {
            name: name.to_owned(),
            active: ActiveState::parse(&active),
            sub,
            result: String::new(),
            exit: None,
            main_pid: None,
            invocation_id: invocation.iter().map(|b| format!("{b:02x}")).collect(),
            active_since,
        };
        if name.ends_with(".service") {
            status.result = text(SERVICE, "Result").await?;
            let code: i32 = self.property(path, SERVICE, "ExecMainCode", name).await?;
            let ended: i32 = self.property(path, SERVICE, "ExecMainStatus", name).await?;
            let pid: u32 = self.property(path, SERVICE, "MainPID", name).await?;
            status.exit = Exit::from_main(code, ended);
            status.main_pid = (pid != 0).then_some(pid);
        }
        Ok(status)
    }

    async fn property<T>(
        &self,
        path: &OwnedObjectPath,
        interface: &'static str,
        property: &'static str,
        unit: &str,
    ) -> Result<T, SystemdError>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: Into<zbus::Error>,
    {
        let body = (interface, property);
        let call = self.connection.call_method(
            Some(DESTINATION),
            path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &body,
        );
        let value = call.await.and_then(|reply| reply.body().deserialize::<OwnedVariant>());
        value
            .and_then(|value| T::try_from(value).map_err(Into::into))
            .map_err(|source| call_error(property, unit, source))
    }

    async fn path(&self, name: &str) -> Result<Option<OwnedObjectPath>, SystemdError> {
        let found = self.manager("GetUnit", &name).await.and_then(|reply| reply.body().deserialize());
        match found.map_err(|source| call_error("GetUnit", name, source)) {
            Ok(path) => Ok(Some(path)),
            Err(SystemdError::NoSuchUnit { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Calls a method that answers with a job, and waits for its end.
    async fn job<B>(&self, method: &'static str, unit: &str, body: &B) -> Result<(), SystemdError>
    where
        B: serde::Serialize + DynamicType,
    {
        let mut signals = self.listen()?;
        let failed = |source| call_error(method, unit, source);
        let reply = self.manager(method, body).await.map_err(failed)?;
        let job: OwnedObjectPath = reply.body().deserialize().map_err(failed)?;
        let result = loop {
            match signals.recv().await {
                Ok(Signal::JobEnded { job: ended, result, .. }) if ended == job.as_str() => break result,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) if !self.job_exists(&job).await => {
                    break self.outcome(unit).await?;
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(SystemdError::Lost),
            }
        };
        match result.as_str() {
            "done" | "skipped" => Ok(()),
            _ => Err(SystemdError::Job { unit: unit.to_owned(), result }),
        }
    }

    async fn job_exists(&self, job: &OwnedObjectPath) -> bool {
        let body = ("org.freedesktop.systemd1.Job", "Id");
        let id = self.connection.call_method(
            Some(DESTINATION),
            job,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &body,
        );
        id.await.is_ok()
    }

    /// How a job whose end was missed must have ended.
    async fn outcome(&self, unit: &str) -> Result<String, SystemdError> {
        let failed = self.status(unit).await?.is_some_and(|s| s.active == ActiveState::Failed);
        Ok(if failed { "failed".into() } else { "done".into() })
    }

    fn listen(&self) -> Result<broadcast::Receiver<Signal>, SystemdError> {
        self.listener.subscribe().ok_or(SystemdError::Lost)
    }

    async fn manager<B>(&self, method: &'static str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + DynamicType,
    {
        self.connection.call_method(Some(DESTINATION), PATH, Some(MANAGER), method, body).await
    }

    fn unless_absent(&self, outcome: Result<(), SystemdError>) -> Result<bool, SystemdError> {
        match outcome {
            Ok(()) => Ok(true),
            Err(SystemdError::NoSuchUnit { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A unit that is down and let go of is unloaded in the next round of systemd's main loop.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);

fn call_error(method: &'static str, unit: &str, source: zbus::Error) -> SystemdError {
    let unit = unit.to_owned();
    match &source {
        zbus::Error::MethodError(name, _, _) => match name.as_str() {
            "org.freedesktop.systemd1.NoSuchUnit" => SystemdError::NoSuchUnit { unit },
            "org.freedesktop.systemd1.UnitExists" => SystemdError::Exists { unit },
            _ => SystemdError::Call { method, unit, source },
        },
        zbus::Error::FDO(error) if matches!(**error, zbus::fdo::Error::UnknownObject(_)) => {
            SystemdError::NoSuchUnit { unit }
        }
        _ => SystemdError::Call { method, unit, source },
    }
}
