//! Against servers on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use super::*;

const TOKEN: &str = "token-Ahf0shiexo";
const BODY: &str = r#"{"format":1,"id":"s-1"}"#;

/// What a server was asked: its first line and headers in lower case, and the body.
struct Asked {
    head: String,
    body: String,
}

/// Answers one connection after another; an empty answer closes it. Gives its address.
fn server(answers: Vec<String>) -> (String, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            if let Some(question) = question(&stream) {
                let _ = tell.send(question);
            }
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    (address, asked)
}

fn question(stream: &TcpStream) -> Option<Asked> {
    let mut from = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some(Asked { head, body: String::from_utf8(body).ok()? })
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: {}\r\n\r\n{TOKEN}", TOKEN.len())
}

fn moved(line: &str, to: &str) -> String {
    format!("HTTP/1.1 {line}\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

/// Sends to `url` by way of a folder, and sees to it that nothing tells the token.
fn send(url: &str) -> Delivery {
    let folder = tempfile::tempdir().unwrap();
    let request = NotifyRequest::new(url, BODY.to_owned());
    assert!(!format!("{request:?}").contains(TOKEN));
    let text = serde_json::to_string(&request).unwrap();
    std::fs::write(folder.path().join(NotifyRequest::FILE), text).unwrap();
    let delivery = run(folder.path()).unwrap();
    let result = std::fs::read_to_string(folder.path().join(NotifyResult::FILE)).unwrap();
    assert!(!result.contains(TOKEN), "{result}");
    assert!(!format!("{delivery:?}").contains("127.0.0.1"), "{delivery:?}");
    let read: NotifyResult = serde_json::from_str(&result).unwrap();
    assert_eq!(read.delivery, delivery);
    delivery
}

#[test]
fn a_message_is_one_post_of_json() {
    let (address, asked) = server(vec![status("204 No Content")]);
    let delivery = send(&format!("http://hub%401:{TOKEN}@{address}/hooks/{TOKEN}?to=a%20b"));
    assert_eq!(delivery, Delivery::Delivered("the server answers 204 No Content".into()));
    let asked = asked.recv().unwrap();
    let path = format!("post /hooks/{}?to=a%20b http/1.1\r\n", TOKEN.to_lowercase());
    assert!(asked.head.starts_with(&path), "{}", asked.head);
    assert!(asked.head.contains("\r\ncontent-type: application/json\r\n"), "{}", asked.head);
    assert!(asked.head.contains("\r\nuser-agent: holdfast/"), "{}", asked.head);
    let basic = BASE64_STANDARD.encode(format!("hub@1:{TOKEN}")).to_lowercase();
    assert!(asked.head.contains(&format!("\r\nauthorization: basic {basic}\r\n")), "{}", asked.head);
    assert_eq!(asked.body, BODY);
}

#[test]
fn an_answer_is_a_delivery_a_refusal_or_trouble() {
    let delivered = |text: &str| Delivery::Delivered(text.into());
    let refused = |text: &str| Delivery::Refused(text.into());
    let failed = |text: &str| Delivery::Failed(text.into());
    for (line, expect) in [
        ("200 OK", delivered("the server answers 200 OK")),
        ("202 Fine", delivered("the server answers 202 Accepted")),
        ("400 X", refused("the server answers 400 Bad Request")),
        ("404 X", refused("the server answers 404 Not Found")),
        ("410 X", refused("the server answers 410 Gone")),
        ("499 X", refused("the server answers 499")),
        ("408 X", failed("the server answers 408 Request Timeout")),
        ("429 X", failed("the server answers 429 Too Many Requests")),
        ("500 X", failed("the server answers 500 Internal Server Error")),
        ("503 X", failed("the server answers 503 Service Unavailable")),
    ] {
        let (address, _asked) = server(vec![status(line)]);
        assert_eq!(send(&format!("http://{address}/{TOKEN}")), expect, "{line}");
    }
}

#[test]
fn redirects_of_a_post_are_followed_and_others_are_not() {
    let (other, asked_other) = server(vec![status("200 OK")]);
    let here = moved("307 Temporary Redirect", "/there?x");
    let away = moved("308 Permanent Redirect", &format!("http://{other}/elsewhere"));
    let (address, asked) = server(vec![here, away]);
    let delivery = send(&format!("http://hub:{TOKEN}@{address}/a"));
    assert_eq!(delivery, Delivery::Delivered("the server answers 200 OK".into()));
    assert!(asked.recv().unwrap().head.contains("authorization"));
    let second = asked.recv().unwrap();
    assert!(second.head.starts_with("post /there?x ") && second.head.contains("authorization"));
    let third = asked_other.recv().unwrap();
    assert!(third.head.starts_with("post /elsewhere ") && !third.head.contains("authorization"));
    assert_eq!(third.body, BODY);

    for (answers, expect) in [
        (vec![moved("301 X", "/b")], "which a message does not follow"),
        (vec![moved("307 X", "ftp://a/")], "to what is neither http nor https"),
        (vec![status("307 X")], "and not where to"),
        (vec![moved("307 X", "/a"); 6], "redirects more than 5 times"),
    ] {
        let (address, _asked) = server(answers);
        let delivery = send(&format!("http://{address}/{TOKEN}"));
        assert!(matches!(&delivery, Delivery::Refused(text) if text.contains(expect)), "{delivery:?}");
    }
}

#[test]
fn no_redirect_leads_from_https_to_http() {
    let from = Url::parse("https://a.example/x").unwrap();
    for (location, expect) in [
        ("http://a.example/x", Err("to plain http, which is not followed")),
        ("//b.example/y", Ok("https://b.example/y")),
        ("https://u:p@b.example/y#z", Ok("https://b.example/y")),
        ("y", Ok("https://a.example/y")),
        ("https://", Err("to what is no URL")),
    ] {
        let next = redirected(&from, location);
        assert_eq!(next.as_ref().map(Url::as_str).map_err(|reason| *reason), expect, "{location}");
    }
}

#[test]
fn trouble_is_told_without_the_address() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mute, _asked) = server(vec![String::new()]);
    let (babbler, _asked) = server(vec![format!("{TOKEN}\r\n\r\n")]);
    let (plain, _asked) = server(vec![status("200 OK")]);
    for (url, expect) in [
        (format!("http://{closed}/{TOKEN}"), "the server cannot be reached: "),
        (format!("http://{mute}/{TOKEN}"), "the server cannot be reached: "),
        (format!("http://{babbler}/{TOKEN}"), "the server does not speak HTTP: "),
        (format!("https://{plain}/{TOKEN}"), "the server does not speak TLS: "),
        (format!("http://{TOKEN}.invalid/"), "the server"),
    ] {
        let delivery = send(&url);
        assert!(matches!(&delivery, Delivery::Failed(text) if text.starts_with(expect)), "{delivery:?}");
    }
}

#[test]
fn a_request_that_cannot_be_read_is_told_without_its_content() {
    let folder = tempfile::tempdir().unwrap();
    for text in [format!("{{\"format\":1,\"url\":\"{TOKEN}"), format!("\"{TOKEN}\""), String::new()] {
        std::fs::write(folder.path().join(NotifyRequest::FILE), text).unwrap();
        assert_eq!(run(folder.path()).unwrap(), Delivery::Failed("the request cannot be read".into()));
    }
    let other = NotifyRequest { format: 2, ..NotifyRequest::new(TOKEN, String::new()) };
    std::fs::write(folder.path().join(NotifyRequest::FILE), serde_json::to_vec(&other).unwrap()).unwrap();
    let unknown = Delivery::Failed("requests of format 2 are not known".into());
    assert_eq!(run(folder.path()).unwrap(), unknown);
}
