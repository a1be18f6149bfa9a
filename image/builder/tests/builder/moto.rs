//! Uploads into buckets of moto: what the rest is tested with speaks S3 as one library understands it, this as another.
//!
//! It is a program of Python's, which `scripts/test --full` puts into a place of its own; a test says where by
//! `HOLDFAST_MOTO`.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::digitalocean::{ControlPlane, TOKEN};
use crate::support::release::{built, noise};
use crate::support::workspace::{Run, output};

const BUCKET: &str = "releases";
/// Lets its user do everything with buckets.
const POLICY: &str = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C\
                      %22Action%22%3A%22s3%3A*%22%2C%22Resource%22%3A%22*%22%7D%5D%7D";

/// A running service with an empty [`BUCKET`]. It takes all signatures for right until there is a key.
struct Moto {
    child: Child,
    url: String,
}

impl Moto {
    fn start(folder: &Path) -> Moto {
        let programs = std::env::var_os("HOLDFAST_MOTO").expect("HOLDFAST_MOTO: the programs' folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let log = folder.join("moto.log");
        let mut command = Command::new(Path::new(&programs).join("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let moto = Moto { child, url: format!("http://127.0.0.1:{port}") };
        let end = Instant::now() + Duration::from_secs(120);
        while let Err(error) = ureq::put(format!("{}/{BUCKET}", moto.url)).send_empty() {
            let told = || fs::read_to_string(&log).unwrap();
            assert!(Instant::now() < end, "moto does not run: {error}: {}", told());
            std::thread::sleep(Duration::from_millis(100));
        }
        moto
    }

    /// Makes a key; requests by no key and with wrong signatures are refused from now on. Its identity and its secret.
    fn key(&self) -> [String; 2] {
        let iam = |action: &str| {
            let request = ureq::post(format!("{}/", self.url)).header("authorization", signed("iam"));
            let request = request.content_type("application/x-www-form-urlencoded");
            let mut answer =
                request.send(format!("Version=2010-05-08&UserName=ops&Action={action}")).unwrap();
            answer.body_mut().read_to_string().unwrap()
        };
        iam("CreateUser");
        iam(&format!("PutUserPolicy&PolicyName=all&PolicyDocument={POLICY}"));
        let made = iam("CreateAccessKey");
        self.take_unchecked(0);
        let value = |name: &str| {
            let (_, rest) = made.split_once(&format!("<{name}>")).unwrap();
            rest.split('<').next().unwrap().to_owned()
        };
        ["AccessKeyId", "SecretAccessKey"].map(value)
    }

    /// Lets it take so many requests with any signature.
    fn take_unchecked(&self, requests: u32) {
        let request = ureq::post(format!("{}/moto-api/reset-auth", self.url)).content_type("text/plain");
        request.send(requests.to_string()).unwrap();
    }

    /// What is at a path of the bucket, for its owner.
    fn get(&self, path: &str) -> Vec<u8> {
        let request = ureq::get(format!("{}/{BUCKET}{path}", self.url)).header("authorization", signed("s3"));
        request.call().unwrap().body_mut().read_to_vec().unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A signature that nobody checks; it says which service is meant.
fn signed(service: &str) -> String {
    let scope = format!("x/20261130/us-east-1/{service}/aws4_request");
    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=x")
}

/// A place with moto and a built image.
fn place() -> (tempfile::TempDir, Moto, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let moto = Moto::start(folder.path());
    let image = folder.path().join("image");
    built(&image, "holdfast.raw.gz", &noise(1, 300_000));
    (folder, moto, image)
}

/// The program, whose output shows no secret.
fn run(folder: &Path, set: [(&str, &str); 2], more: &[(&str, &str)], arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-image"));
    command.env_clear().env("HOME", folder).current_dir(folder).envs(set).envs(more.iter().copied());
    let run = output(command.args(arguments));
    let secret = set[1].1;
    assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "a secret was shown");
    run
}

#[test]
#[ignore = "needs moto, which scripts/test --full prepares"]
fn moto_has_an_object_as_it_was_sent_by_whom_it_knows() {
    let (folder, moto, image) = place();
    let [id, secret] = moto.key();
    let upload = |id: &str, secret: &str, to: &str| {
        let keys = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)];
        run(folder.path(), keys, &[], &["upload", "s3", "image", to, "--endpoint", &moto.url])
    };
    // What is signed has to be escaped as the service does it.
    let to = "s3://releases/images/a box+1.raw.gz";
    upload(&id, &secret, to).ok();
    upload(&id, "another secret", to).fails(1, &["SignatureDoesNotMatch"]);
    upload("nobody", &secret, to).fails(1, &["InvalidAccessKeyId"]);
    upload(&id, &secret, "s3://nobodys/box").fails(1, &["NoSuchBucket"]);
    let path = "/images/a%20box%2B1.raw.gz";
    moto.take_unchecked(1000);
    let anonymous = ureq::get(format!("{}/{BUCKET}{path}", moto.url)).call();
    assert!(matches!(anonymous, Err(ureq::Error::StatusCode(403))), "nobody else reads it: {anonymous:?}");
    assert!(moto.get(path) == fs::read(image.join("holdfast.raw.gz")).unwrap());
}

#[test]
#[ignore = "needs moto, which scripts/test --full prepares"]
fn moto_lends_an_image_to_the_provider_and_has_nothing_afterwards() {
    let (folder, moto, image) = place();
    let provider = ControlPlane::start();
    let keys = [("SPACES_ACCESS_KEY_ID", "id"), ("SPACES_SECRET_ACCESS_KEY", "a secret of moto's")];
    let more = [("DIGITALOCEAN_ACCESS_TOKEN", TOKEN), ("DIGITALOCEAN_API_URL", provider.url.as_str())];
    let upload = ["upload", "digitalocean", "image", "--region", "fra1", "--bucket", BUCKET];
    let endpoint = ["--timeout", "60s", "--endpoint", &moto.url];
    run(folder.path(), keys, &more, &[&upload[..], &endpoint].concat()).ok();
    let built = fs::read(image.join("holdfast.raw.gz")).unwrap();
    assert!(provider.state().contents == [built], "it was public while it was imported");
    let left = String::from_utf8(moto.get("?list-type=2")).unwrap();
    assert!(left.contains("<KeyCount>0</KeyCount>"), "{left}");
}
