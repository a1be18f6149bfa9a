//! Pushing to a real registry: the locked `docker-registry`, started on a free port of loopback.
//!
//! The locked tools are taken from the cache, and fetched into it when they are not there.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::archive::{package, sha256};
use crate::support::workspace::{Run, Workspace, output};

/// "open sesame" by bcrypt, which is what the registry reads.
const HTPASSWD: &str = "ops:$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
const PASSWORD: &str = "open sesame";

struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    /// Starts a registry that keeps its data in `folder`; `more` goes into its configuration.
    fn start(folder: &Path, http: &str, more: &str) -> Registry {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let data = folder.join("registry");
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http:\n  addr: 127.0.0.1:{port}\n{http}{more}",
            data.display()
        );
        fs::write(folder.join("registry.yml"), config).unwrap();
        let log = folder.join("registry.log");
        let mut command = tool("docker-registry");
        command.arg("serve").arg(folder.join("registry.yml")).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(300);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().unwrap();
            let told = || fs::read_to_string(&log).unwrap();
            assert!(ended.is_none() && Instant::now() < end, "the locked registry does not run: {}", told());
            std::thread::sleep(Duration::from_millis(50));
        }
        Registry { child, port }
    }

    fn reference(&self) -> String {
        format!("127.0.0.1:{}/team/app:1", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of the repository's locked tools.
fn tool(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-image"));
    command.arg("--root").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    command.args(["tool", name, "--"]);
    command
}

fn built(w: &Workspace) -> (PathBuf, String) {
    w.app("app", &["app"], "[image]\nentrypoint = [\"/usr/bin/app\"]\n");
    w.run(&["lock"]).ok();
    let layout = w.dir.path().join("layout");
    let run = w.run(&["app", "build", "app", "--output", layout.to_str().unwrap()]).ok();
    let digest = run.stdout.trim().rsplit('@').next().unwrap().to_owned();
    (layout, digest)
}

fn workspace() -> Workspace {
    Workspace::new(&[], &[package("app", "1").file("usr/bin/app", &[7; 200_000])])
}

fn push(w: &Workspace, layout: &Path, reference: &str, more: &[&str], password: Option<&str>) -> Run {
    let mut command = w.command(&["app", "push", layout.to_str().unwrap(), reference]);
    command.args(more);
    if let Some(password) = password {
        command.env("HOLDFAST_REGISTRY_PASSWORD", password);
    }
    output(&mut command)
}

#[test]
fn what_is_pushed_is_what_was_built() {
    let w = workspace();
    let (layout, digest) = built(&w);
    let registry = Registry::start(w.dir.path(), "", "");
    let reference = registry.reference();
    let run = push(&w, &layout, &reference, &["--plain-http"], None).ok();
    assert_eq!(run.stdout.trim(), format!("{reference}@{digest}"));
    assert_eq!(run.stderr.matches("push sha256:").count(), 2, "{}", run.stderr);
    let pulled = w.dir.path().join("pulled");
    let mut skopeo = tool("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]);
    skopeo.arg(format!("docker://{reference}")).arg(format!("oci:{}:app", pulled.display()));
    output(&mut skopeo).ok();
    let blobs = |layout: &Path| {
        let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| (entry.file_name(), sha256(&fs::read(entry.path()).unwrap()))).collect();
        names.sort();
        names
    };
    assert_eq!(blobs(&pulled), blobs(&layout));
    let again = push(&w, &layout, &reference, &["--plain-http"], None).ok();
    assert!(!again.stderr.contains("push sha256:"), "nothing is sent twice: {}", again.stderr);
}

#[test]
fn a_private_registry_wants_its_authority_and_a_password() {
    let w = workspace();
    let (layout, _) = built(&w);
    let path = |name: &str| w.dir.path().join(name);
    let (authority, certificate, key) = certificates();
    fs::write(path("ca.pem"), authority).unwrap();
    fs::write(path("cert.pem"), certificate).unwrap();
    fs::write(path("key.pem"), key).unwrap();
    fs::write(path("htpasswd"), HTPASSWD).unwrap();
    let tls = format!(
        "  tls:\n    certificate: {}\n    key: {}\n",
        path("cert.pem").display(),
        path("key.pem").display()
    );
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path("htpasswd").display());
    let registry = Registry::start(w.dir.path(), &tls, &auth);
    let reference = registry.reference();
    let ca = path("ca.pem");
    let ca = ["--ca", ca.to_str().unwrap()];
    let ops = [&ca[..], &["--username", "ops"]].concat();
    push(&w, &layout, &reference, &[], None).fails(1, &["failed to reach", "hint: --plain-http"]);
    push(&w, &layout, &reference, &ca, None).fails(1, &["status 401", "hint: give --username"]);
    let (stranger, ..) = certificates();
    fs::write(path("stranger.pem"), stranger).unwrap();
    let by = |authority: &str| {
        let file = path(authority);
        let more = ["--ca", file.to_str().unwrap(), "--username", "ops"];
        push(&w, &layout, &reference, &more, Some(PASSWORD))
    };
    by("stranger.pem").fails(1, &["failed to reach `https://127.0.0.1:", "certificate", "hint: "]);
    by("key.pem").fails(2, &["key.pem` holds no certificate in PEM"]);
    assert!(!w.dir.path().join("registry/docker").exists(), "nothing was stored");
    push(&w, &layout, &reference, &ops, None).fails(2, &["a user name needs a password"]);
    push(&w, &layout, &reference, &ops, Some("wrong")).fails(1, &["status 401"]);
    push(&w, &layout, &reference, &ops, Some(PASSWORD)).ok();
}

/// An authority, and a certificate for 127.0.0.1 with its key, all PEM.
fn certificates() -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&parameters, &authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

#[test]
fn a_changed_layout_is_not_pushed() {
    let w = workspace();
    let (layout, _) = built(&w);
    let registry = Registry::start(w.dir.path(), "", "");
    for blob in fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten() {
        let bytes = fs::read(blob.path()).unwrap();
        let mut bad = bytes.clone();
        bad[10] ^= 1;
        fs::write(blob.path(), bad).unwrap();
        let run = push(&w, &layout, &registry.reference(), &["--plain-http"], None);
        run.fails(1, &["of the layout has been changed"]);
        fs::write(blob.path(), bytes).unwrap();
    }
    push(&w, &layout, &registry.reference(), &["--plain-http"], None).ok();
}

#[test]
fn what_is_no_layout_and_no_reference_is_told() {
    let w = workspace();
    let (layout, _) = built(&w);
    push(&w, w.dir.path(), "127.0.0.1:1/app", &["--plain-http"], None).fails(1, &["is no image layout"]);
    push(&w, &layout, "nginx", &["--plain-http"], None).fails(2, &["`nginx` is no reference: HOST"]);
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    push(&w, &layout, &format!("127.0.0.1:{port}/app"), &["--plain-http"], None)
        .fails(1, &["failed to reach"]);
}
