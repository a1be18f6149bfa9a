//! Steps: a command in a running container, or a container of its own.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use agent_core::desired::{InstanceDesired, StepDesired, StepPlace};
use agent_core::observed::Exit;
use agent_core::state::StepRecord;
use agent_core::{ContainerName, Secret, plan};
use agent_system::systemd::{Span, Stream, Text};
use anyhow::{Context, bail};
use tokio::io::AsyncReadExt;

use super::containers;
use crate::agent::Agent;
use crate::{clock, exec, observe};

/// Bytes of a step's output that are kept.
const OUTPUT: u64 = 64 << 10;
/// Time for the container of a step to stop.
const STOP: Duration = Duration::from_secs(10);

/// Runs a step and records how it went.
pub(super) async fn run(agent: &Arc<Agent>, wanted: &InstanceDesired, name: &str) -> anyhow::Result<bool> {
    let step = wanted.steps.get(name).context("the step is not listed")?;
    let (code, output) = match &step.place {
        StepPlace::In(container) => in_container(agent, wanted, container, step).await?,
        StepPlace::OneOff { .. } => one_off(agent, wanted, name, step).await?,
    };
    let boot = agent.boot.id.clone();
    agent.records.change_instance(&wanted.name, |record| {
        let fingerprint = plan::step_fingerprint(wanted, step, record);
        let before = record.steps.get(name).cloned();
        let ok = code == 0;
        let kept = |new: Option<String>, old: fn(&StepRecord) -> Option<String>| match ok {
            true => new,
            false => before.as_ref().and_then(old),
        };
        let outcome = StepRecord {
            succeeded: ok || before.as_ref().is_some_and(|b| b.succeeded),
            fingerprint: kept(fingerprint, |b| b.fingerprint.clone()),
            boot: kept(Some(boot), |b| b.boot.clone()),
            ended_at: clock::epoch(),
            code,
            output: match (ok, &before) {
                (false, Some(before)) => before.output.clone(),
                _ => output,
            },
        };
        record.steps.insert(name.to_owned(), outcome);
    })?;
    if code != 0 {
        bail!("it ended with {code}");
    }
    agent.events.add("step", Some(&wanted.name), format!("step {}.{name} succeeded", wanted.name));
    Ok(true)
}

async fn in_container(
    agent: &Arc<Agent>,
    wanted: &InstanceDesired,
    container: &str,
    step: &StepDesired,
) -> anyhow::Result<(i32, Secret)> {
    let command = step.run.ready().context("something of the step is not known yet")?;
    let id = ContainerName::new(&wanted.name, container);
    let mut child = exec::command(agent, &id, command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("failed to start the shim")?;
    let stdout = child.stdout.take().context("the shim has no output")?;
    let work = async {
        let mut output = Vec::new();
        let mut limited = stdout.take(OUTPUT);
        limited.read_to_end(&mut output).await?;
        tokio::io::copy(&mut limited.into_inner(), &mut tokio::io::sink()).await?;
        anyhow::Ok((child.wait().await?, output))
    };
    let (status, output) = tokio::time::timeout(step.timeout, work)
        .await
        .with_context(|| format!("it took longer than {} s", step.timeout.as_secs()))??;
    Ok((exec::code(status), trimmed(&output)))
}

async fn one_off(
    agent: &Arc<Agent>,
    wanted: &InstanceDesired,
    name: &str,
    step: &StepDesired,
) -> anyhow::Result<(i32, Secret)> {
    let id = ContainerName::new(&wanted.name, name);
    agent.systemd.stop(&id.unit()).await?;
    agent.systemd.release(&id.unit()).await?;
    containers::remove_layer(agent, &id).await?;
    let ended = one_off_to_end(agent, &id, step).await;
    agent.systemd.stop(&id.unit()).await?;
    containers::remove(agent, &id).await?;
    ended
}

async fn one_off_to_end(
    agent: &Arc<Agent>,
    id: &ContainerName,
    step: &StepDesired,
) -> anyhow::Result<(i32, Secret)> {
    let StepPlace::OneOff { image, config } = &step.place else { bail!("the step has no image") };
    let config = config.ready().context("something of the step is not known yet")?;
    containers::prepare(agent, id, image, config)?;
    // Not a pipe: from a socket the shim makes one of the container's own user, who can open it by name.
    let (reader, writer) = UnixStream::pair().context("failed to make a pair of sockets")?;
    containers::before_start(agent, id, true).await;
    let unit = containers::unit(id, &agent.bundle(id), STOP, config.pids)
        .text(Text::StandardInput, "null")
        .text(Text::StandardError, "journal")
        .span(Span::RuntimeMaxUSec, step.timeout)
        .stream(Stream::StandardOutputFileDescriptor, OwnedFd::from(writer));
    let reading = tokio::task::spawn_blocking(move || read_output(reader));
    agent.systemd.start_transient(unit).await?;
    let status = agent.systemd.wait_down(&id.unit()).await?;
    let output = reading.await??;
    let code = match status.as_ref().map(|s| (s.result.as_str(), observe::exit(s))) {
        Some(("timeout", _)) => bail!("it took longer than {} s", step.timeout.as_secs()),
        Some((_, Some(Exit::Code(code)))) => code,
        Some((_, Some(Exit::Signal(signal)))) => 128 + signal,
        Some((_, Some(Exit::OutOfMemory))) => bail!("it ran out of memory"),
        Some((_, None)) | None => bail!("how it ended is not known"),
    };
    Ok((code, trimmed(&output)))
}

/// What the step says, up to the limit; the rest is read and dropped so that it can end.
fn read_output(mut from: UnixStream) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut output = Vec::new();
    (&mut from).take(OUTPUT).read_to_end(&mut output)?;
    std::io::copy(&mut from, &mut std::io::sink())?;
    Ok(output)
}

fn trimmed(output: &[u8]) -> Secret {
    Secret::new(String::from_utf8_lossy(output).trim())
}
