//! Mirrors over HTTP: what is asked for, what is asked again, and what is given up.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::support::archive::package;
use crate::support::terminal;
use crate::support::workspace::{Run, Workspace, output};

/// What happens to requests before they are answered properly.
#[derive(Clone, Copy)]
enum Trouble {
    /// Answered with this status.
    Status(u16),
    /// Cut off in the middle of the body.
    CutOff,
}

type Requests = Arc<Mutex<Vec<String>>>;
type Troubles = Arc<Mutex<BTreeMap<String, (usize, Trouble)>>>;

/// A server of a folder's files.
struct Server {
    port: u16,
    requests: Requests,
    troubles: Troubles,
}

impl Server {
    fn start(folder: PathBuf) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, troubles) = (Requests::default(), Troubles::default());
        let shared = (requests.clone(), troubles.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, (requests, troubles)) = (folder.clone(), shared.clone());
                std::thread::spawn(move || answer(stream, &folder, &requests, &troubles));
            }
        });
        Server { port, requests, troubles }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes the next requests for what ends so go wrong.
    fn trouble(&self, end: &str, times: usize, trouble: Trouble) {
        self.troubles.lock().unwrap().insert(end.to_owned(), (times, trouble));
    }

    fn asked(&self, end: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|path| path.ends_with(end)).count()
    }
}

/// Answers one request and closes. A connection that breaks is the client's affair.
fn answer(mut stream: TcpStream, folder: &Path, requests: &Requests, troubles: &Troubles) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    let _ = lines.find(String::is_empty);
    requests.lock().unwrap().push(path.clone());
    let trouble =
        troubles.lock().unwrap().iter_mut().find(|(end, (times, _))| path.ends_with(*end) && *times > 0).map(
            |(_, (times, trouble))| {
                *times -= 1;
                *trouble
            },
        );
    let content = fs::read(folder.join(&path[1..]));
    let (status, body, length) = match (trouble, content) {
        (Some(Trouble::Status(status)), _) => (status, vec![], 0),
        (Some(Trouble::CutOff), Ok(content)) => (200, content[..content.len() / 2].to_vec(), content.len()),
        (_, Ok(content)) => (200, content.clone(), content.len()),
        (_, Err(_)) => (404, vec![], 0),
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

fn served() -> (Workspace, Server) {
    let w = Workspace::new(&[], &[package("app", "1").file("usr/bin/app", &[7; 50_000])]);
    w.app("app", &["app"], "");
    let server = Server::start(w.dir.path().join("mirror"));
    (w, server)
}

/// Runs against the server, which the environment names.
fn run(w: &Workspace, server: &Server, arguments: &[&str]) -> Run {
    let inner = w.command(&[]);
    let options: Vec<_> = inner.get_args().take(4).map(|argument| argument.to_owned()).collect();
    let mut command = std::process::Command::new(inner.get_program());
    command.args(options).args(arguments).env("HOLDFAST_MIRROR", server.url());
    command.env_remove("HOLDFAST_RELOCK").env_remove("HOLDFAST_CACHE");
    output(&mut command)
}

fn build(w: &Workspace, server: &Server) -> Run {
    let layout = w.dir.path().join("layout");
    run(w, server, &["app", "build", "app", "--output", layout.to_str().unwrap()])
}

#[test]
fn what_is_cached_is_not_asked_for_again() {
    let (w, server) = served();
    run(&w, &server, &["lock"]).ok();
    run(&w, &server, &["lock"]).ok();
    assert_eq!(server.asked("InRelease"), 2, "a release is asked for each time");
    assert_eq!(server.asked("Packages.xz"), 1);
    assert!(server.requests.lock().unwrap().iter().any(|path| path.contains("/by-hash/SHA256/")));
    build(&w, &server).ok();
    build(&w, &server).ok();
    assert_eq!(server.asked(".deb"), 1);
}

#[test]
fn a_mirror_in_trouble_is_asked_again() {
    let (w, server) = served();
    server.trouble("InRelease", 1, Trouble::Status(503));
    run(&w, &server, &["lock"]).ok();
    assert_eq!(server.asked("InRelease"), 2);
    server.trouble(".deb", 1, Trouble::CutOff);
    build(&w, &server).ok();
    assert_eq!(server.asked(".deb"), 2);
}

#[test]
fn a_mirror_that_stays_in_trouble_is_given_up() {
    let (w, server) = served();
    run(&w, &server, &["lock"]).ok();
    let before = w.cached();
    server.trouble(".deb", 100, Trouble::CutOff);
    build(&w, &server).fails(1, &["failed to read `http://127.0.0.1:", "app_1_amd64.deb`"]);
    assert_eq!(server.asked(".deb"), 3);
    server.trouble(".deb", 100, Trouble::Status(500));
    build(&w, &server).fails(1, &["was answered with status 500"]);
    assert_eq!(w.cached(), before, "half a file is never kept");
    server.trouble(".deb", 0, Trouble::CutOff);
    fs::remove_file(w.archive.deb(&package("app", "1"))).unwrap();
    let asked = server.asked(".deb");
    build(&w, &server)
        .fails(1, &["app 1 is gone from the mirror (`http://", "hint: run `holdfast-image lock --update`"]);
    assert_eq!(server.asked(".deb"), asked + 1, "what is gone is not asked for again");
}

#[test]
fn a_mirror_that_is_not_there_is_named() {
    let (w, mut server) = served();
    server.port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    run(&w, &server, &["lock"])
        .fails(1, &["failed to fetch `http://127.0.0.1:", "InRelease`", "hint: check the network"]);
}

#[test]
fn each_step_is_timed_when_asked() {
    let (w, server) = served();
    let told = run(&w, &server, &["--verbose", "lock"]).ok();
    for step in ["fetch release test: ", "read index test: "] {
        let line = told.stderr.lines().find(|line| line.starts_with(step));
        assert!(line.is_some_and(|line| line.ends_with(" s")), "{}", told.stderr);
    }
    let told = run(&w, &server, &["lock"]).ok();
    assert!(told.stderr.lines().any(|line| line == "fetch release test"), "{}", told.stderr);
}

#[test]
fn a_terminal_is_shown_bars_and_all_else_plain_lines() {
    let (w, server) = served();
    run(&w, &server, &["lock"]).ok();
    let layout = w.dir.path().join("layout");
    let shown = terminal::shown(&w.command(&["app", "build", "app", "--output", layout.to_str().unwrap()]));
    for part in ["verify 1 packages", "fetch 1 packages [", "] 0 B/", "build test.local/app:1", "\r\u{1b}["] {
        assert!(shown.contains(part), "no {part:?} in {shown:?}");
    }
    assert!(!shown.contains("0/0"), "a step has no length: {shown:?}");
    let _ = fs::remove_dir_all(w.cache());
    let plain = build(&w, &server).ok();
    let line = plain.stderr.lines().find(|line| line.starts_with("fetch 1 packages"));
    assert!(line.is_some_and(|line| line.starts_with("fetch 1 packages, ")), "{}", plain.stderr);
    assert!(!plain.stderr.contains(['\u{1b}', '\r', '[']), "{:?}", plain.stderr);
}
