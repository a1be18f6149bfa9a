//! A file server on loopback that misbehaves as told and counts the bytes of bodies that it sends.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does with one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// What was asked for.
    #[default]
    Honest,
    /// The whole file, whatever was asked for.
    NoRanges,
    /// So many bytes of the body, of the length that was promised, and the end of the connection.
    Cut(u64),
    /// As `Cut`, of the whole file.
    CutNoRanges(u64),
    /// At most so many bytes of a range, told honestly.
    Short(u64),
    /// Another part of the file than was asked for.
    OtherRange,
    /// Nothing but this status.
    Status(u16),
    /// Sends elsewhere.
    Redirect(&'static str),
    /// The right length, and another byte at this place of the file.
    Flip(u64),
    /// The file has only so many bytes.
    Truncated(u64),
    /// As `Truncated`, of a server that gives no ranges and no length.
    TruncatedNoRanges(u64),
    /// Ever more bytes.
    Endless,
    /// Little by little.
    Slow,
    /// The end of the connection, instead of an answer.
    Nothing,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub range: Option<(u64, u64)>,
    /// How many came for this path before.
    pub before: usize,
    /// Bytes of bodies of this path's kind of file that were sent before.
    pub served: u64,
}

type Behaviour = dyn Fn(&Request) -> Answer + Send + Sync;

#[derive(Default)]
struct Log {
    requests: Vec<Request>,
    served: HashMap<String, u64>,
}

impl Log {
    fn served(&self, ends: &[&str]) -> u64 {
        let of = |path: &str| ends.iter().any(|end| path.ends_with(end));
        self.served.iter().filter(|(path, _)| of(path)).map(|(_, bytes)| bytes).sum()
    }
}

/// Serves until the test ends.
pub struct Server {
    pub url: String,
    log: Arc<Mutex<Log>>,
}

/// What a staging counts.
pub const COUNTED: [&str; 2] = [".map", ".blocks"];

impl Server {
    pub fn honest(folder: PathBuf) -> Server {
        Server::start(folder, |_| Answer::Honest)
    }

    /// Misbehaves with files whose path ends so.
    pub fn with(folder: PathBuf, end: &'static str, answer: Answer) -> Server {
        Server::start(
            folder,
            move |request| {
                if request.path.ends_with(end) { answer } else { Answer::Honest }
            },
        )
    }

    pub fn start(folder: PathBuf, behaviour: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log: Arc<Mutex<Log>> = Arc::default();
        let (logged, behaviour): (_, Arc<Behaviour>) = (log.clone(), Arc::new(behaviour));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, log, behaviour) = (folder.clone(), logged.clone(), behaviour.clone());
                // The client may be gone: that is its own matter.
                std::thread::spawn(move || serve(&stream, &folder, &log, &*behaviour).ok());
            }
        });
        Server { url, log }
    }

    /// Bytes of bodies of files that a staging counts.
    pub fn served(&self) -> u64 {
        self.log.lock().unwrap().served(&COUNTED)
    }

    /// Requests for paths that end so.
    pub fn requests(&self, end: &str) -> Vec<Request> {
        let log = self.log.lock().unwrap();
        log.requests.iter().filter(|request| request.path.ends_with(end)).cloned().collect()
    }
}

fn serve(
    mut stream: &TcpStream,
    folder: &Path,
    log: &Mutex<Log>,
    behaviour: &Behaviour,
) -> std::io::Result<()> {
    let mut path = String::new();
    let mut range = None;
    for (at, line) in BufReader::new(stream).lines().enumerate() {
        let line = line?.to_lowercase();
        if at == 0 {
            path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        }
        if let Some((from, to)) = line.strip_prefix("range: bytes=").and_then(|range| range.split_once('-')) {
            range = Some((from.parse().unwrap(), to.parse::<u64>().unwrap() + 1));
        }
        if line.is_empty() {
            break;
        }
    }
    let request = {
        let mut log = log.lock().unwrap();
        let before = log.requests.iter().filter(|other| other.path == path).count();
        let served = log.served(&COUNTED);
        log.requests.push(Request { path, range, before, served });
        log.requests.last().unwrap().clone()
    };
    let answer = behaviour(&request);
    let file = fs::read(folder.join(request.path.trim_start_matches('/'))).ok();
    let reply = reply(answer, file, request.range);
    if answer == Answer::Nothing {
        return Ok(());
    }
    let head = format!("HTTP/1.1 {}\r\nConnection: close\r\n{}\r\n", reply.status, reply.headers);
    stream.write_all(head.as_bytes())?;
    let mut send = |bytes: &[u8]| {
        *log.lock().unwrap().served.entry(request.path.clone()).or_default() += bytes.len() as u64;
        stream.write_all(bytes)
    };
    match answer {
        Answer::Endless => loop {
            send(&[b' '; 1 << 16])?;
        },
        Answer::Slow => {
            for some in reply.body.chunks(reply.body.len() / 20 + 1) {
                send(some)?;
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(())
        }
        _ => reply.body.chunks(1 << 16).try_for_each(send),
    }
}

struct Reply {
    status: String,
    headers: String,
    body: Vec<u8>,
}

fn reply(answer: Answer, file: Option<Vec<u8>>, range: Option<(u64, u64)>) -> Reply {
    let plain = |status: &str| Reply {
        status: status.to_owned(),
        headers: "Content-Length: 0\r\n".to_owned(),
        body: Vec::new(),
    };
    match answer {
        Answer::Status(status) => return plain(&format!("{status} Status")),
        Answer::Endless => return Reply { headers: String::new(), ..plain("200 OK") },
        _ => {}
    }
    let Some(mut file) = file else { return plain("404 Not Found") };
    let mut range = range;
    match answer {
        Answer::Redirect(to) => {
            let headers = format!("Content-Length: 0\r\nLocation: {to}\r\n");
            return Reply { headers, ..plain("302 Found") };
        }
        Answer::NoRanges | Answer::CutNoRanges(_) => range = None,
        Answer::Truncated(length) => file.truncate(length as usize),
        Answer::TruncatedNoRanges(length) => {
            file.truncate(length as usize);
            return Reply { status: "200 OK".to_owned(), headers: String::new(), body: file };
        }
        Answer::Flip(at) => file[at as usize] ^= 1,
        Answer::Short(most) => range = range.map(|(from, to)| (from, to.min(from + most))),
        Answer::OtherRange => range = range.map(|(from, to)| (from + 1, to + 1)),
        _ => {}
    }
    let total = file.len() as u64;
    let (status, range_header) = match range {
        Some((from, _)) if from >= total => {
            let headers = format!("Content-Length: 0\r\nContent-Range: bytes */{total}\r\n");
            return Reply { headers, ..plain("416 Range Not Satisfiable") };
        }
        Some((from, to)) => {
            let to = to.min(total);
            file = file[from as usize..to as usize].to_vec();
            ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{total}\r\n", to - 1))
        }
        None => ("200 OK", String::new()),
    };
    let headers = format!("Content-Length: {}\r\n{range_header}", file.len());
    if let Answer::Cut(bytes) | Answer::CutNoRanges(bytes) = answer {
        file.truncate(bytes as usize);
    }
    Reply { status: status.to_owned(), headers, body: file }
}
