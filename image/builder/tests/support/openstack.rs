//! Keystone, Glance and Nova as their project releases them, on loopback, with databases and a store of their own.
//! Nova's boxes run nowhere: its own fake hypervisor has them, and its tests' fixture of a network.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Body;
use ureq::http::Response;

/// Serves a program's interface to web servers; the program would take the arguments for its own.
const SERVE: &str = "
import importlib, sys, waitress
name, port = sys.argv[1:]
del sys.argv[1:]
application = importlib.import_module(name + '.wsgi.api').application
waitress.serve(application, listen='127.0.0.1:' + port)
";
/// Nova with all that it needs.
const NOVA: &str = include_str!("../../../../scripts/peers/openstack-nova.py");
/// Signs a text with a key.
const SIGN: &str =
    "import hmac, sys; print(hmac.new(sys.argv[1].encode(), sys.argv[2].encode(), 'sha256').hexdigest())";
pub(crate) const PASSWORD: &str = "open sesame";
/// How Keystone's tokens begin: Fernet's version and the upper bytes of a time.
pub(crate) const TOKENS: &str = "gAAAAA";
/// What Neutron's proxy shows Nova's metadata service that it is one.
const PROXY: &str = "proxy";
/// Most boxes or flavors that Nova gives at once.
pub(crate) const PAGE: usize = 2;
/// Most processors of a project's boxes.
pub(crate) const CORES: u32 = 8;

/// A running cloud with an administrator, `admin`, and a project of that name.
pub(crate) struct Cloud {
    programs: PathBuf,
    folder: PathBuf,
    services: Vec<Child>,
    pub(crate) auth_url: String,
    image: u16,
    compute: u16,
    metadata: u16,
    token: String,
    project: String,
}

impl Cloud {
    /// Starts one that keeps everything in `folder`. `programs`: where Python's programs are.
    pub(crate) fn start(programs: &Path, folder: &Path) -> Cloud {
        let [identity, image] = [port(), port()];
        let auth_url = format!("http://127.0.0.1:{identity}/v3");
        keystone(programs, folder, &auth_url);
        let mut cloud = Cloud {
            programs: programs.to_owned(),
            folder: folder.to_owned(),
            services: Vec::new(),
            auth_url,
            image,
            compute: 0,
            metadata: 0,
            token: String::new(),
            project: String::new(),
        };
        cloud.serve("keystone", identity, cloud.application("keystone", identity));
        (cloud.token, cloud.project) = cloud.authenticate();
        assert!(cloud.token.starts_with(TOKENS));
        cloud.ask("/regions", &json!({ "region": { "id": "elsewhere" } }));
        cloud.offer("image", image, "");
        glance(programs, folder, &cloud.auth_url);
        cloud.serve("glance", image, cloud.application("glance", image));
        cloud
    }

    /// Adds what makes boxes.
    pub(crate) fn add_compute(&mut self) {
        let [compute, metadata] = [port(), port()];
        (self.compute, self.metadata) = (compute, metadata);
        let configuration = nova(&self.programs, &self.folder, &self.auth_url, self.image);
        let mut command = self.python();
        command.args(["-c", NOVA]).arg(configuration).args([compute, metadata].map(|port| port.to_string()));
        // What ends by a signal leaves its temporary files.
        command.env("TMPDIR", self.folder.join("nova"));
        self.serve("nova", compute, command);
        self.offer("compute", compute, "/v2.1");
    }

    /// What Nova's metadata service says to a box that asks for `path`, whose question Neutron's proxy passes on.
    pub(crate) fn metadata(&self, id: &str, path: &str) -> String {
        let signature = run(self.python().args(["-c", SIGN, PROXY, id]));
        let request = ureq::get(format!("http://127.0.0.1:{}{path}", self.metadata))
            .header("x-instance-id", id)
            .header("x-instance-id-signature", signature.trim())
            .header("x-tenant-id", &self.project)
            .header("x-forwarded-for", "192.0.2.7");
        request.call().unwrap().body_mut().read_to_string().unwrap()
    }

    /// Asks the identity service as its administrator.
    fn ask(&self, path: &str, body: &Value) -> Value {
        let request = ureq::post(format!("{}{path}", self.auth_url)).header("x-auth-token", &self.token);
        said(request.content_type("application/json").send(body.to_string()).unwrap())
    }

    /// The administrator's token and project.
    fn authenticate(&self) -> (String, String) {
        let domain = json!({ "id": "default" });
        let user = json!({ "name": "admin", "domain": domain, "password": PASSWORD });
        let auth = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } },
            "scope": { "project": { "name": "admin", "domain": domain } },
        }});
        let request = ureq::post(format!("{}/auth/tokens", self.auth_url)).content_type("application/json");
        let answer = request.send(auth.to_string()).unwrap();
        let token = answer.headers()["x-subject-token"].to_str().unwrap().to_owned();
        (token, said(answer)["token"]["project"]["id"].as_str().unwrap().to_owned())
    }

    /// Puts a service into the catalog, in two regions.
    fn offer(&self, kind: &str, port: u16, path: &str) {
        let service = self.ask("/services", &json!({ "service": { "type": kind, "name": kind } }));
        for (region, port) in [("RegionOne", port), ("elsewhere", 9)] {
            let endpoint = json!({
                "service_id": service["service"]["id"], "interface": "public", "region": region,
                "url": format!("http://127.0.0.1:{port}{path}"),
            });
            self.ask("/endpoints", &json!({ "endpoint": endpoint }));
        }
    }

    /// An application credential of the administrator's: its id and secret.
    pub(crate) fn application_credential(&self) -> (String, String) {
        let users = self.get(&format!("{}/users?name=admin", self.auth_url));
        let user = users["users"][0]["id"].as_str().unwrap().to_owned();
        let body = json!({ "application_credential": { "name": "robot" } });
        let made = self.ask(&format!("/users/{user}/application_credentials"), &body);
        let text = |key: &str| made["application_credential"][key].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    /// What Glance says of an image.
    pub(crate) fn image_document(&self, id: &str) -> Value {
        self.get(&self.image_url(id))
    }

    /// An image as Glance gives it to what makes boxes of it.
    pub(crate) fn image_content(&self, id: &str) -> Vec<u8> {
        let request = ureq::get(format!("{}/file", self.image_url(id))).header("x-auth-token", &self.token);
        request.call().unwrap().body_mut().with_config().limit(1 << 30).read_to_vec().unwrap()
    }

    /// What Nova says of a box.
    pub(crate) fn server_document(&self, id: &str) -> Value {
        self.get(&self.compute_url(&format!("/servers/{id}")))["server"].clone()
    }

    /// The identity of the box that was made last, once it runs.
    pub(crate) fn running(&self) -> Option<String> {
        let found = self.get(&self.compute_url("/servers?status=ACTIVE"));
        found["servers"][0]["id"].as_str().map(str::to_owned)
    }

    /// Has Nova make a snapshot of a box; gives its identity. The hypervisor only pretends and sends nothing:
    /// `content` is sent in its stead.
    pub(crate) fn snapshot(&self, id: &str, name: &str, content: &[u8]) -> String {
        let request = ureq::post(self.compute_url(&format!("/servers/{id}/action")));
        // As of this version, Nova says which image it will be.
        let request = request.header("openstack-api-version", "compute 2.45");
        let request = request.header("x-auth-token", &self.token).content_type("application/json");
        let body = json!({ "createImage": { "name": name } });
        let image = said(request.send(body.to_string()).unwrap())["image_id"].as_str().unwrap().to_owned();
        let end = Instant::now() + Duration::from_secs(60);
        while !self.server_document(id)["OS-EXT-STS:task_state"].is_null() {
            assert!(Instant::now() < end, "Nova makes no snapshot");
            std::thread::sleep(Duration::from_millis(100));
        }
        let form = json!([
            { "op": "replace", "path": "/disk_format", "value": "raw" },
            { "op": "replace", "path": "/container_format", "value": "bare" },
        ]);
        let request = ureq::patch(self.image_url(&image)).header("x-auth-token", &self.token);
        let request = request.content_type("application/openstack-images-v2.1-json-patch");
        request.send(form.to_string()).unwrap();
        let request = ureq::put(format!("{}/file", self.image_url(&image)));
        let request = request.header("x-auth-token", &self.token);
        request.content_type("application/octet-stream").send(content).unwrap();
        image
    }

    fn image_url(&self, id: &str) -> String {
        format!("http://127.0.0.1:{}/v2/images/{id}", self.image)
    }

    fn compute_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/v2.1{path}", self.compute)
    }

    fn get(&self, url: &str) -> Value {
        said(ureq::get(url).header("x-auth-token", &self.token).call().unwrap())
    }

    fn python(&self) -> Command {
        Command::new(self.programs.join("python3"))
    }

    /// What serves the interface of a program that is configured.
    fn application(&self, name: &str, port: u16) -> Command {
        let mut command = self.python();
        command.args(["-c", SERVE, name, &port.to_string()]);
        command.env(format!("OS_{}_CONFIG_DIR", name.to_uppercase()), self.folder.join(name));
        command
    }

    fn serve(&mut self, name: &str, port: u16, mut command: Command) {
        let log = self.folder.join(format!("{name}.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap());
        self.services.push(command.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(120);
        // Glance answers with 300, which leads nowhere.
        let url = format!("http://127.0.0.1:{port}/");
        let request = || ureq::get(&url).config().http_status_as_error(false).max_redirects(0);
        let answers = || request().max_redirects_will_error(false).build().call().is_ok();
        while TcpStream::connect(("127.0.0.1", port)).is_err() || !answers() {
            let told = || fs::read_to_string(&log).unwrap();
            assert!(Instant::now() < end, "{name} does not run: {}", told());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        for service in &mut self.services {
            let _ = service.kill();
            let _ = service.wait();
        }
    }
}

fn port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// What a program says that must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The document of an answer.
fn said(mut answer: Response<Body>) -> Value {
    serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
}

fn keystone(programs: &Path, folder: &Path, auth_url: &str) {
    let own = folder.join("keystone");
    fs::create_dir_all(&own).unwrap();
    let config = own.join("keystone.conf");
    let at = own.display();
    let text = format!(
        "[database]\nconnection = sqlite:///{at}/keystone.db\n[fernet_tokens]\nkey_repository = {at}/fernet\n\
         [fernet_receipts]\nkey_repository = {at}/receipts\n[credential]\nkey_repository = {at}/credential\n"
    );
    fs::write(&config, text).unwrap();
    let manage = |arguments: &[&str]| {
        let mut command = Command::new(programs.join("keystone-manage"));
        run(command.arg("--config-file").arg(&config).args(arguments));
    };
    let us = own.metadata().unwrap();
    let (user, group) = (us.uid().to_string(), us.gid().to_string());
    let owner = ["--keystone-user", &user, "--keystone-group", &group];
    manage(&["db_sync"]);
    manage(&[&["fernet_setup"], &owner[..]].concat());
    manage(&[&["credential_setup"], &owner[..]].concat());
    manage(&[
        "bootstrap",
        "--bootstrap-password",
        PASSWORD,
        "--bootstrap-region-id",
        "RegionOne",
        "--bootstrap-public-url",
        auth_url,
        "--bootstrap-admin-url",
        auth_url,
        "--bootstrap-internal-url",
        auth_url,
    ]);
}

fn glance(programs: &Path, folder: &Path, auth_url: &str) {
    let own = folder.join("glance");
    fs::create_dir_all(own.join("images")).unwrap();
    let at = own.display();
    let text = format!(
        "[DEFAULT]\nenabled_backends = disk:file\n[glance_store]\ndefault_backend = disk\n\
         [disk]\nfilesystem_store_datadir = {at}/images\n\
         [os_glance_staging_store]\nfilesystem_store_datadir = {at}/staging\n\
         [os_glance_tasks_store]\nfilesystem_store_datadir = {at}/tasks\n\
         [database]\nconnection = sqlite:///{at}/glance.db\n[paste_deploy]\nflavor = keystone\n"
    );
    fs::write(own.join("glance-api.conf"), text + &who_asks(auth_url)).unwrap();
    let paste: PathBuf = programs.parent().unwrap().join("etc/glance/glance-api-paste.ini");
    fs::copy(paste, own.join("glance-api-paste.ini")).unwrap();
    run(Command::new(programs.join("glance-manage"))
        .arg("--config-file")
        .arg(own.join("glance-api.conf"))
        .arg("db_sync"));
}

/// Writes Nova's configuration; says where.
fn nova(programs: &Path, folder: &Path, auth_url: &str, image: u16) -> PathBuf {
    let own = folder.join("nova");
    fs::create_dir_all(&own).unwrap();
    let paste = programs.parent().unwrap().join("etc/nova/api-paste.ini");
    let text = format!(
        "[wsgi]\napi_paste_config = {}\n[api]\nmax_limit = {PAGE}\n[quota]\ncores = {CORES}\n\
         [glance]\nendpoint_override = http://127.0.0.1:{image}\n\
         [neutron]\nservice_metadata_proxy = true\nmetadata_proxy_shared_secret = {PROXY}\n",
        paste.display()
    );
    let configuration = own.join("nova.conf");
    fs::write(&configuration, text + &who_asks(auth_url)).unwrap();
    configuration
}

/// How a service has Keystone say who asks it.
fn who_asks(auth_url: &str) -> String {
    format!(
        "[keystone_authtoken]\nauth_url = {auth_url}\nwww_authenticate_uri = {auth_url}\nauth_type = password\n\
         username = admin\npassword = {PASSWORD}\nproject_name = admin\nuser_domain_id = default\n\
         project_domain_id = default\n"
    )
}
