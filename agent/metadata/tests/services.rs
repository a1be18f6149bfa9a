//! Metadata services, played by a server whose answers are those of the providers' own documents, and that
//! goes wrong in each way that has been seen.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use agent_metadata::service::{Platform, ServiceError, ask};
use agent_metadata::{Channel, DecodeError, Offer, OpenError};

/// What the server does at a request.
#[derive(Clone, Debug)]
enum Reply {
    Body(Vec<u8>),
    /// The same once the test has come there, too.
    Late(Arc<Barrier>, Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Fewer bytes than were promised.
    Cut(Vec<u8>),
    /// The connection closes before anything was said.
    Hangup,
    /// Nothing for a while longer than any patience.
    Silence,
    /// Bytes without end.
    Endless,
}

type Paths = HashMap<String, Vec<Reply>>;

/// Replies of each path one after another, the last one for ever; 404 elsewhere.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(paths: impl IntoIterator<Item = (&'static str, Vec<Reply>)>) -> Server {
        let paths: Paths = paths.into_iter().map(|(path, replies)| (path.to_owned(), replies)).collect();
        let (listener, paths) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(Mutex::new(paths)));
        let (address, asked) = (listener.local_addr().unwrap(), Arc::default());
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (paths, log) = (Arc::clone(&paths), Arc::clone(&log));
                std::thread::spawn(move || serve(stream, &paths, &log));
            }
        });
        Server { address, asked }
    }

    fn ask(&self, platform: Platform) -> Result<Option<Offer>, ServiceError> {
        run(platform, &[self.address])
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn run(platform: Platform, addresses: &[SocketAddr]) -> Result<Option<Offer>, ServiceError> {
    runtime().block_on(ask(platform, addresses))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Makes time pass, which nobody waits for here.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

fn serve(mut stream: TcpStream, paths: &Mutex<Paths>, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    assert!(head.iter().any(|line| line.to_ascii_lowercase().starts_with("host: 127.0.0.1:")), "{head:?}");
    log.lock().unwrap().push(path.clone());
    let reply = {
        let mut paths = paths.lock().unwrap();
        match paths.get_mut(&path) {
            None => Reply::Status(404),
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies[0].clone(),
        }
    };
    let head = |status: &str, length: usize| format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
    let whole = |body: Vec<u8>| [head("200 OK", body.len()).into_bytes(), body].concat();
    let said = match reply {
        Reply::Body(body) => whole(body),
        Reply::Late(go, body) => {
            go.wait();
            whole(body)
        }
        Reply::Cut(body) => [head("200 OK", body.len() + 100).into_bytes(), body].concat(),
        // What people would read, which is no document.
        Reply::Status(status) => {
            [head(&format!("{status} No"), 9).into_bytes(), b"not found".to_vec()].concat()
        }
        Reply::Redirect(to) => {
            format!("HTTP/1.1 301 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        }
        Reply::Hangup => return,
        Reply::Silence => return std::thread::sleep(Duration::from_secs(60)),
        Reply::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[b' '; 65_536]).is_ok() {}
            return;
        }
    };
    let _ = stream.write_all(&said);
}

fn document(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/document").join(name)).unwrap()
}

const DROPLET: &str = "/metadata/v1.json";
const METADATA: &str = "/openstack/latest/meta_data.json";
const USER_DATA: &str = "/openstack/latest/user_data";
const NETWORK: &str = "/openstack/latest/network_data.json";
const VENDOR: &str = "/openstack/latest/vendor_data.json";
const VENDOR_2: &str = "/openstack/latest/vendor_data2.json";

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk0LlHVvXMDgW2VPZhoMRqsX4fL0vQ7QK2UQkSpZ1aA ops";

fn instance() -> Vec<u8> {
    format!(r#"{{"uuid": "83679162", "hostname": "hub1.novalocal", "public_keys": {{"ops": "{KEY}\n"}}}}"#)
        .into_bytes()
}

fn body(text: &str) -> Vec<Reply> {
    vec![Reply::Body(text.as_bytes().to_vec())]
}

#[test]
fn a_droplet_is_told_who_it_is() {
    let server = Server::start([(DROPLET, vec![Reply::Body(document("digitalocean.json"))])]);
    let answer = server.ask(Platform::DigitalOcean).unwrap().unwrap();
    assert_eq!(
        (answer.instance_id.as_deref(), answer.hostname.as_deref()),
        (Some("2756294"), Some("sample-droplet"))
    );
    assert_eq!(answer.public_keys.len(), 1);
    assert_eq!(answer.user_data.unwrap().document.unwrap().len(), 26);
    let network = answer.network.unwrap();
    assert_eq!(
        network.links.iter().map(|link| link.id.as_str()).collect::<Vec<_>>(),
        ["public0", "private0"]
    );
    assert_eq!(answer.notes, ["`vendor_data` is the provider's and is ignored"]);
    assert_eq!((answer.channel, server.asked()), (Channel::Service, vec![DROPLET.to_owned()]));
}

#[test]
fn an_instance_is_told_who_it_is() {
    let server = Server::start([
        (METADATA, vec![Reply::Body(instance())]),
        (USER_DATA, body("format = 1\n")),
        (NETWORK, vec![Reply::Body(document("network_data.json"))]),
        (VENDOR, body(r#"{"cloud-init": "x"}"#)),
        (VENDOR_2, body(r#"{"static": {"cloud-init": "x"}}"#)),
    ]);
    let answer = server.ask(Platform::OpenStack).unwrap().unwrap();
    assert_eq!(
        (answer.instance_id.as_deref(), answer.hostname.as_deref()),
        (Some("83679162"), Some("hub1.novalocal"))
    );
    assert_eq!(answer.public_keys, [KEY]);
    assert_eq!(answer.user_data.unwrap().document.unwrap(), b"format = 1\n");
    assert!(!answer.network.unwrap().links.is_empty());
    assert_eq!(
        answer.notes,
        [
            "`of_a_later_release` is not used",
            "`vendor_data.json` is the provider's and is ignored",
            "`vendor_data2.json` is the provider's and is ignored"
        ]
    );
}

/// A page that says that there is nothing is no user-data, and no network is none.
#[test]
fn what_is_not_there_is_not_offered() {
    let server = Server::start([]);
    assert!(server.ask(Platform::DigitalOcean).unwrap().is_none());
    assert!(server.ask(Platform::OpenStack).unwrap().is_none());
    assert_eq!(server.asked(), [DROPLET, METADATA]);

    let server = Server::start([
        (METADATA, vec![Reply::Body(instance())]),
        (NETWORK, body("{}")),
        (VENDOR, body("{}")),
        (VENDOR_2, body(r#"{"static": {}}"#)),
    ]);
    let answer = server.ask(Platform::OpenStack).unwrap().unwrap();
    assert!(answer.user_data.is_none() && answer.network.is_none() && answer.notes.is_empty());

    let server = Server::start([(METADATA, vec![Reply::Body(instance())]), (USER_DATA, body(""))]);
    assert!(server.ask(Platform::OpenStack).unwrap().unwrap().user_data.is_none());
}

/// Each says what is wrong, and is well when it is asked once more.
#[test]
fn what_is_not_well_yet_is_asked_again() {
    let good = || Reply::Body(document("digitalocean.json"));
    for (bad, says) in [
        (Reply::Hangup, "broke off"),
        (Reply::Cut(document("digitalocean.json")), "broke off"),
        (Reply::Status(500), "status 500"),
        (Reply::Status(503), "status 503"),
        (Reply::Body(vec![]), "is not JSON"),
        (Reply::Body(b"<html>log in here</html>".to_vec()), "is not JSON"),
        (Reply::Body(b"{}".to_vec()), "has no `droplet_id` yet"),
        (Reply::Body(br#"{"droplet_id": null, "hostname": "x"}"#.to_vec()), "has no `droplet_id` yet"),
        (
            Reply::Body(br#"{"droplet_id": 7, "hostname": {}}"#.to_vec()),
            "`/metadata/v1.json` of the metadata service: hostname:",
        ),
        (
            Reply::Redirect("http://portal.example.org/login".into()),
            "redirects `/metadata/v1.json` to `http://portal.example.org/login`",
        ),
        (Reply::Redirect("https://127.0.0.1/metadata/v1.json".into()), "which is not its own"),
        (Reply::Redirect("//127.0.0.1:1/metadata/v1.json".into()), "which is not its own"),
        (Reply::Redirect(DROPLET.into()), "which is not its own"),
        (Reply::Endless, "larger than 1048576 bytes"),
    ] {
        // A redirect to itself is one until patience ends.
        let times = if matches!(&bad, Reply::Redirect(to) if to == DROPLET) { 4 } else { 1 };
        let server = Server::start([(DROPLET, [vec![bad.clone(); times], vec![good()]].concat())]);
        let error = server.ask(Platform::DigitalOcean).unwrap_err();
        assert!(error.to_string().contains(says), "{bad:?}: {error}");
        assert!(server.ask(Platform::DigitalOcean).unwrap().is_some(), "{bad:?}");
    }
}

#[test]
fn a_redirect_to_the_service_itself_is_followed() {
    let server = Server::start([
        (DROPLET, vec![Reply::Redirect("/metadata/v1.json/".into())]),
        ("/metadata/v1.json/", vec![Reply::Body(document("digitalocean.json"))]),
    ]);
    assert!(server.ask(Platform::DigitalOcean).unwrap().is_some());
    assert_eq!(server.asked(), [DROPLET, "/metadata/v1.json/"]);
}

/// What the box can do without keeps nothing from it; user-data it cannot do without.
#[test]
fn the_rest_counts_when_the_network_is_wrong() {
    for (bad, says) in [
        (Reply::Body(b"{".to_vec()), "is not JSON"),
        (Reply::Status(500), "status 500"),
        (Reply::Silence, "does not answer"),
        (
            Reply::Body(br#"{"links": [{"id": 1}], "networks": []}"#.to_vec()),
            "network_data.json` of the metadata service: links[0]",
        ),
    ] {
        let server = Server::start([
            (METADATA, vec![Reply::Body(instance())]),
            (USER_DATA, body("format = 1\n")),
            (NETWORK, vec![bad]),
            (VENDOR, vec![Reply::Status(500)]),
        ]);
        let answer = server.ask(Platform::OpenStack).unwrap().unwrap();
        assert!(answer.network.is_none());
        let said = &answer.notes[0];
        assert!(said.starts_with("the provider's network is not used: ") && said.contains(says), "{said}");
        assert_eq!(answer.user_data.unwrap().document.unwrap(), b"format = 1\n");
    }
    let server = Server::start([
        (METADATA, vec![Reply::Body(instance())]),
        (USER_DATA, vec![Reply::Status(500), Reply::Body(b"format = 1\n".to_vec())]),
    ]);
    assert!(matches!(server.ask(Platform::OpenStack), Err(ServiceError::Status(_, 500))));
    assert!(server.ask(Platform::OpenStack).unwrap().unwrap().user_data.is_some());
    let server =
        Server::start([(METADATA, vec![Reply::Body(instance())]), (USER_DATA, vec![Reply::Endless])]);
    let user_data = server.ask(Platform::OpenStack).unwrap().unwrap().user_data;
    assert!(matches!(user_data.unwrap().document, Err(OpenError::Decode(DecodeError::Delivered))));
}

#[test]
fn a_silent_service_gives_way_to_the_next_address() {
    let free = SocketAddr::from(([127, 0, 0, 1], 1));
    let good = Server::start([(METADATA, vec![Reply::Body(instance())])]);
    assert!(run(Platform::OpenStack, &[free, good.address]).unwrap().is_some());
    let empty = Server::start([]);
    assert!(run(Platform::OpenStack, &[empty.address, good.address]).unwrap().is_some());
    assert!(run(Platform::OpenStack, &[free, empty.address]).unwrap().is_none());
    assert!(matches!(run(Platform::OpenStack, &[free]), Err(ServiceError::Unreachable(at, _)) if at == free));
    assert!(matches!(run(Platform::OpenStack, &[]), Err(ServiceError::Nowhere)));

    let silent = Server::start([(METADATA, vec![Reply::Silence])]);
    let asked = runtime().block_on(async {
        let asking = tokio::spawn({
            let addresses = [silent.address, good.address];
            async move { ask(Platform::OpenStack, &addresses).await }
        });
        while silent.asked().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pass(Duration::from_secs(21)).await;
        asking.await.unwrap()
    });
    assert!(asked.unwrap().is_some());
}

/// Each answer takes longer than one is waited for that the box can do without.
#[test]
fn a_slow_service_is_read_but_for_what_the_box_can_do_without() {
    let go = Arc::new(Barrier::new(2));
    let late = |body: &[u8]| vec![Reply::Late(Arc::clone(&go), body.to_vec())];
    let server = Server::start([
        (METADATA, late(&instance())),
        (USER_DATA, late(b"format = 1\n")),
        (NETWORK, vec![Reply::Silence]),
        (VENDOR, vec![Reply::Silence]),
        (VENDOR_2, vec![Reply::Silence]),
    ]);
    let asked = runtime().block_on(async {
        let address = server.address;
        let asking = tokio::spawn(async move { ask(Platform::OpenStack, &[address]).await });
        for path in [METADATA, USER_DATA, NETWORK, VENDOR, VENDOR_2] {
            while !server.asked().iter().any(|asked| asked == path) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // In steps, so that what is due first ends first.
            for _ in 0..9 {
                pass(Duration::from_millis(500)).await;
            }
            if [METADATA, USER_DATA].contains(&path) {
                go.wait();
            }
        }
        asking.await.unwrap()
    });
    let answer = asked.unwrap().unwrap();
    assert_eq!(answer.instance_id.as_deref(), Some("83679162"));
    assert_eq!(answer.public_keys, [KEY]);
    assert_eq!(answer.user_data.unwrap().document.unwrap(), b"format = 1\n");
    assert!(answer.network.is_none());
    assert!(answer.notes[0].contains("does not answer"), "{:?}", answer.notes);
}

#[test]
fn the_firmware_names_the_provider() {
    let check = |files: &[(&str, &str)], expect: Option<Platform>| {
        let dmi = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(dmi.path().join(name), text).unwrap());
        assert_eq!(Platform::detect(dmi.path()), expect, "{files:?}");
    };
    check(&[("sys_vendor", "DigitalOcean\n"), ("product_name", "Droplet\n")], Some(Platform::DigitalOcean));
    check(
        &[("sys_vendor", "OpenStack Foundation\n"), ("product_name", "OpenStack Nova\n")],
        Some(Platform::OpenStack),
    );
    check(&[("sys_vendor", "RDO\n"), ("product_name", "OpenStack Compute\n")], Some(Platform::OpenStack));
    check(
        &[("product_name", "KVM\n"), ("chassis_asset_tag", "OpenTelekomCloud\n")],
        Some(Platform::OpenStack),
    );
    check(&[("sys_vendor", "QEMU\n"), ("product_name", "Standard PC (Q35 + ICH9, 2009)\n")], None);
    check(&[], None);
}

#[test]
fn only_openstack_answers_over_ipv6() {
    let shown = |platform: Platform| -> Vec<String> {
        platform.addresses(&[2, 3]).iter().map(SocketAddr::to_string).collect()
    };
    assert_eq!(shown(Platform::DigitalOcean), ["169.254.169.254:80"]);
    assert_eq!(
        shown(Platform::OpenStack),
        ["169.254.169.254:80", "[fe80::a9fe:a9fe%2]:80", "[fe80::a9fe:a9fe%3]:80"]
    );
}
