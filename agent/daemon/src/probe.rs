//! Asks containers whether they are well: one task for each that runs and has a probe.
//!
//! A task ends with its run of the container. What its answers mean is decided in `agent-core`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use agent_core::ContainerName;
use agent_core::health::{HealthConfig, Probe, Verdict};
use agent_core::observed::UnitState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::agent::Agent;
use crate::{clock, exec};

/// Until the first success a container is asked at least this often.
const EAGER: Duration = Duration::from_secs(1);

/// The tasks.
#[derive(Default)]
pub(crate) struct Probes {
    tasks: BTreeMap<ContainerName, Task>,
}

struct Task {
    since: u64,
    config: HealthConfig,
    abort: AbortHandle,
}

impl Probes {
    /// Starts and ends tasks so that they match what runs.
    pub(crate) fn follow(&mut self, agent: &Arc<Agent>) {
        let wanted = wanted(agent);
        self.tasks.retain(|name, task| {
            let keep = wanted
                .get(name)
                .is_some_and(|(since, config, _)| *since == task.since && *config == task.config);
            if !keep {
                task.abort.abort();
            }
            keep
        });
        for (name, (since, config, address)) in wanted {
            self.tasks.entry(name.clone()).or_insert_with(|| {
                let work = watch(agent.clone(), name, since, config.clone(), address);
                Task { since, config, abort: tokio::spawn(work).abort_handle() }
            });
        }
    }
}

/// Containers that run and have a probe: since when, how, and where.
fn wanted(agent: &Agent) -> BTreeMap<ContainerName, (u64, HealthConfig, IpAddr)> {
    let live = agent.live();
    let mut found = BTreeMap::new();
    for (instance, wanted) in &live.desired.instances {
        for (container, desired) in &wanted.containers {
            let name = ContainerName::new(instance, container);
            let unit = live.observed.containers.get(&name).map(|c| &c.unit);
            let record = live.observed.records.get(instance);
            let address = record.and_then(|r| r.allocation.addresses.get(container));
            if let (Some(config), Some(UnitState::Running { since, .. }), Some((v4, _))) =
                (&desired.health, unit, address)
            {
                found.insert(name, (*since, config.clone(), IpAddr::V4(*v4)));
            }
        }
    }
    found
}

async fn watch(agent: Arc<Agent>, name: ContainerName, since: u64, config: HealthConfig, address: IpAddr) {
    loop {
        let asked = tokio::time::timeout(config.timeout, ask(&agent, &name, &config.probe, address));
        let result = asked.await.unwrap_or_else(|_| Err("no answer in time".into()));
        let verdict = {
            let mut live = agent.live();
            let memory = live.memory.containers.get_mut(&name);
            let Some(probed) = memory.and_then(|m| m.probed.as_mut()) else { return };
            if probed.started != since {
                return;
            }
            let before = probed.verdict(&config);
            probed.record(&config, result, clock::uptime());
            let after = probed.verdict(&config);
            if before != after {
                agent.wake.notify_one();
            }
            after
        };
        let wait = if verdict == Verdict::Starting { config.interval.min(EAGER) } else { config.interval };
        tokio::time::sleep(wait).await;
    }
}

async fn ask(agent: &Agent, name: &ContainerName, probe: &Probe, address: IpAddr) -> Result<(), String> {
    match probe {
        Probe::Tcp { port } => connect(address, *port).await.map(drop),
        Probe::Http { port, path } => http(connect(address, *port).await?, *port, path).await,
        Probe::Command(words) => {
            let mut command = exec::command(agent, name, words);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
            let status = command.status().await.map_err(|error| error.to_string())?;
            match exec::code(status) {
                0 => Ok(()),
                code => Err(format!("its command ended with {code}")),
            }
        }
    }
}

async fn connect(address: IpAddr, port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect((address, port)).await;
    connected.map_err(|error| format!("port {port}: {}", error.kind()))
}

/// GET, of which the status alone is read.
async fn http(mut stream: TcpStream, port: u16, path: &str) -> Result<(), String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: holdfast\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < 1024 {
        let mut buffer = [0; 256];
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) => return Err(error.to_string()),
        }
    }
    judge(&answer)
}

/// Whether an answer begins with a status from 200 to 399.
fn judge(answer: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer);
    let mut words = text.split_whitespace();
    let version = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    match words.next().and_then(|word| word.parse::<u16>().ok()).filter(|_| version) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("it answers {status}")),
        None => Err("it does not answer in HTTP".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_their_status() {
        let check = |answer: &str, expect: bool| {
            assert_eq!(judge(answer.as_bytes()).is_ok(), expect, "{answer}");
        };
        check("HTTP/1.1 200 OK\r\n", true);
        check("HTTP/1.0 399 x\r\n", true);
        check("HTTP/1.1 404 Not Found\r\n", false);
        check("HTTP/1.1 199 x\r\n", false);
        check("SSH-2.0-OpenSSH 200\r\n", false);
        check("", false);
        check("HTTP/1.1 abc\r\n", false);
    }

    #[tokio::test]
    async fn a_probe_speaks_http() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 512];
            let count = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8(request[..count].to_vec()).unwrap()
        };
        let ask =
            async { http(connect("127.0.0.1".parse().unwrap(), port).await.unwrap(), port, "/x?y").await };
        let (request, result) = tokio::join!(serve, ask);
        assert_eq!(result, Ok(()));
        assert!(request.starts_with("GET /x?y HTTP/1.1\r\nHost: localhost:"), "{request}");
        assert!(request.ends_with("\r\n\r\n"));
    }
}
