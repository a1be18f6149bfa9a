//! A real registry on loopback, started from the locked tools.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::run;
use crate::lab::Lab;
use crate::ports::free_port;

/// User and password of a [`Registry::secured`] one.
pub const USER: (&str, &str) = ("hub", "pass word");
/// The same for the registry, which knows bcrypt only.
const HTPASSWD: &str = "hub:$2b$04$PqOWqWZElzl087n6o4ao7esz7TeXWymaWT4pyptcAIrBA6XT8pZVO\n";

/// A running registry. It ends when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Option<Child>,
    port: u16,
    dir: std::path::PathBuf,
}

impl Registry {
    /// Starts an empty registry on a free port, over plain HTTP.
    pub fn start(lab: &Lab) -> Result<Registry> {
        let dir = lab.dir().join("registry");
        std::fs::create_dir_all(&dir)?;
        let port = free_port(lab)?;
        std::fs::write(dir.join("config.yml"), config(&dir, port))?;
        let mut registry = Registry { child: None, port, dir };
        registry.up(lab)?;
        Ok(registry)
    }

    /// Starts one that serves these apps of `target/apps`, each as `NAME:1`.
    pub fn with_apps(lab: &Lab, apps: &[&str]) -> Result<Registry> {
        let registry = Registry::start(lab)?;
        apps.iter().try_for_each(|app| registry.push(lab, &lab.app(app), &format!("{app}:1")))?;
        Ok(registry)
    }

    /// Starts another one on what this one holds, over TLS with this certificate and its key (PEM), and for
    /// [`USER`] only.
    pub fn secured(&self, lab: &Lab, certificate: &str, key: &str) -> Result<Registry> {
        let port = free_port(lab)?;
        let dir = lab.dir().join(format!("registry-{port}"));
        std::fs::create_dir(&dir)?;
        let files = [("server.pem", certificate), ("server.key", key), ("htpasswd", HTPASSWD)];
        for (name, text) in files {
            std::fs::write(dir.join(name), text)?;
        }
        let at = dir.display();
        let more = format!(
            "  tls:\n    certificate: {at}/server.pem\n    key: {at}/server.key\nauth:\n  htpasswd:\n    realm: lab\n    path: {at}/htpasswd\n"
        );
        std::fs::write(dir.join("config.yml"), config(&self.dir, port) + &more)?;
        let mut registry = Registry { child: None, port, dir };
        registry.up(lab)?;
        Ok(registry)
    }

    /// Starts it again after [`Registry::down`], on the same port with what it held.
    pub fn up(&mut self, lab: &Lab) -> Result<()> {
        let log = std::fs::File::create(self.dir.join("log"))?;
        let child = lab
            .tool("docker-registry")
            .arg("serve")
            .arg(self.dir.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the registry")?;
        self.child = Some(child);
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > end {
                bail!("the registry does not answer: {}", std::fs::read_to_string(self.dir.join("log"))?);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Stops it; its port refuses connections then.
    pub fn down(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// How a machine names an image of it: `10.0.2.2:PORT/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// How a machine reaches it: `10.0.2.2:PORT`.
    pub fn host(&self) -> String {
        format!("10.0.2.2:{}", self.port)
    }

    /// Its port of the host's loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it keeps its blobs.
    pub fn storage(&self) -> &Path {
        &self.dir
    }

    /// Pushes an OCI layout under `name` (`app:tag`).
    pub fn push(&self, lab: &Lab, layout: &Path, name: &str) -> Result<()> {
        let reference = format!("127.0.0.1:{}/{name}", self.port);
        let mut command = Command::new(lab.builder());
        run(command.args(["app", "push", "--plain-http"]).arg(layout).arg(reference)).map(drop)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("the registry did not end: {error}");
        }
    }
}

/// A configuration, whose end is its section `http`.
fn config(storage: &Path, port: u16) -> String {
    format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n",
        storage.display()
    )
}
