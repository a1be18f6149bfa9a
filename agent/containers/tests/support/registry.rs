//! A real registry: Debian's `docker-registry`, in a folder of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_containers::Digest;

use super::image::Image;
use super::tokens::{ISSUER, SERVICE, Tokens};

/// `hub` with the password `pass word`.
const HTPASSWD: &str = "hub:$2b$04$PqOWqWZElzl087n6o4ao7esz7TeXWymaWT4pyptcAIrBA6XT8pZVO\n";
pub const USER: (&str, &str) = ("hub", "pass word");

/// A running registry, ended when dropped.
pub struct Registry {
    child: Child,
    pub host: String,
    storage: PathBuf,
}

/// How a registry is to be talked to.
#[derive(Default)]
pub struct Options<'a> {
    /// Certificate and key, PEM.
    pub tls: Option<(&'a str, &'a str)>,
    /// Whether it wants [`USER`].
    pub auth: bool,
    /// Whose tokens it wants.
    pub tokens: Option<&'a Tokens>,
}

impl Registry {
    /// Starts one that keeps its data in `folder`. `HOLDFAST_DOCKER_REGISTRY` is the program, else it is
    /// looked for on the PATH.
    pub fn start(folder: &Path, options: &Options<'_>) -> Registry {
        let storage = folder.join("storage");
        fs::create_dir_all(&storage).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            storage.display()
        );
        if let Some((certificate, key)) = options.tls {
            fs::write(folder.join("server.pem"), certificate).unwrap();
            fs::write(folder.join("server.key"), key).unwrap();
            let at = folder.display();
            config.push_str(&format!("  tls:\n    certificate: {at}/server.pem\n    key: {at}/server.key\n"));
        }
        if options.auth {
            fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
            config.push_str(&format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {}/htpasswd\n",
                folder.display()
            ));
        }
        if let Some(tokens) = options.tokens {
            fs::write(folder.join("tokens.pem"), &tokens.certificate).unwrap();
            config.push_str(&format!(
                "auth:\n  token:\n    realm: {}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    rootcertbundle: {}/tokens.pem\n",
                tokens.realm(),
                folder.display()
            ));
        }
        let file = folder.join(format!("config-{port}.yml"));
        fs::write(&file, config).unwrap();
        let program =
            std::env::var_os("HOLDFAST_DOCKER_REGISTRY").unwrap_or_else(|| "docker-registry".into());
        let child = Command::new(&program)
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program:?} (Debian package docker-registry): {error}"));
        let mut registry = Registry { child, host: format!("127.0.0.1:{port}"), storage };
        let begun = Instant::now();
        while TcpStream::connect(&registry.host).is_err() {
            assert!(registry.child.try_wait().unwrap().is_none(), "the registry ended at once");
            assert!(begun.elapsed() < Duration::from_secs(30), "the registry does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// Pushes an image under a tag; gives the manifest's digest. For one without TLS and users.
    pub fn push(&self, repository: &str, tag: &str, mut image: Image) -> Digest {
        let manifest = image.finish();
        for bytes in image.blobs.values() {
            self.push_blob(repository, bytes);
        }
        self.push_manifest(repository, tag, "application/vnd.oci.image.manifest.v1+json", &manifest)
    }

    pub fn push_blob(&self, repository: &str, bytes: &[u8]) {
        let start =
            ureq::post(format!("http://{}/v2/{repository}/blobs/uploads/", self.host)).send_empty().unwrap();
        let location = start.headers()["location"].to_str().unwrap().to_owned();
        let joint = if location.contains('?') { '&' } else { '?' };
        ureq::put(format!("{location}{joint}digest={}", Digest::of(bytes)))
            .header("content-type", "application/octet-stream")
            .send(bytes)
            .unwrap();
    }

    pub fn push_manifest(&self, repository: &str, tag: &str, kind: &str, manifest: &[u8]) -> Digest {
        ureq::put(format!("http://{}/v2/{repository}/manifests/{tag}", self.host))
            .header("content-type", kind)
            .send(manifest)
            .unwrap();
        Digest::of(manifest)
    }

    /// The file that holds a blob or manifest.
    pub fn file(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        self.storage.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
