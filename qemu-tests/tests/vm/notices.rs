//! Who is told: each beginning and each end once, whatever the receiver answers and whatever dies meanwhile, and
//! the address to nobody.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::follower::Follower;
use crate::common::{
    BOOT, CHANGE, DISK, apply, lab, out, probe, resumed, settings, settled, text, wait_until,
};
use crate::hardening;
use qemu_tests::{Disk, Gate, Machine, Mode, Registry, SECOND, Setup};
use serde_json::{Value, json};

/// All that lets someone send.
const TOKEN: &str = "token-Ieth0oochahw";
/// How long a message may take that waits for something to last, or to be gone.
const TOLD: Duration = Duration::from_secs(600);
/// An instance that is sick while a file is there.
const SICK: &str = r#"volumes = { data = "/data" }
[recipe.containers.sh.health]
command = ["/bin/sh", "-c", "test ! -e /data/sick"]
interval = "2s"
timeout = "10s"
retries = 2
[recipe.volumes.data]
"#;

/// One POST and what it was answered; 0 is no answer.
#[derive(Clone, Debug)]
struct Post {
    path: String,
    body: Value,
    status: u16,
}

impl Post {
    fn is(&self, kind: &str, state: &str) -> bool {
        self.body["kind"] == kind && self.body["state"] == state
    }

    fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {}", self.body)).to_owned()
    }
}

/// What a receiver answers, and what it was sent.
#[derive(Debug)]
struct State {
    /// 0: it answers nothing, and hangs up when this changes.
    answer: u16,
    posts: Vec<Post>,
}

/// A receiver on loopback.
struct Receiver {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    fn start(answer: u16) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { answer, posts: Vec::new() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Receiver { port, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn answer(&self, status: u16) {
        self.lock().answer = status;
    }

    fn posts(&self) -> Vec<Post> {
        self.lock().posts.clone()
    }

    /// Waits for one with this answer, and gives it.
    fn wait(&self, kind: &str, state: &str, status: u16) -> Post {
        wait_until(&format!("{kind} {state} answered {status}"), TOLD, || {
            let posts = self.posts();
            let found = posts.iter().find(|post| post.is(kind, state) && post.status == status);
            found.cloned().ok_or_else(|| format!("{posts:#?}"))
        })
    }

    /// The ids of a kind and state that it has taken.
    fn taken(&self, kind: &str, state: &str) -> BTreeSet<String> {
        let taken = |post: &&Post| post.is(kind, state) && post.status == 204;
        self.posts().iter().filter(taken).map(Post::id).collect()
    }

    /// `[box.notify]`.
    fn table(&self) -> String {
        let port = self.port;
        format!("[box.notify]\nurl = \"http://hub:{TOKEN}@10.0.2.2:{port}/hooks/{TOKEN}?key={TOKEN}\"\n")
    }

    /// The same, and a source of updates that is not there: to look for one is blocked at once.
    fn settings(&self) -> String {
        self.table() + "[box.update]\nurl = \"http://10.0.2.2:1\"\npolicy = \"manual\"\n"
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let Some((path, body)) = question(stream) else { return };
    let answer = state.lock().unwrap().answer;
    state.lock().unwrap().posts.push(Post { path, body, status: answer });
    while answer == 0 && state.lock().unwrap().answer == 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    if answer != 0 {
        let _ = write!(&*stream, "HTTP/1.1 {answer} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    }
}

fn question(stream: &TcpStream) -> Option<(String, Value)> {
    let mut from = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let path = head.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("content-type: application/json"), "{head}");
    assert!(lower.contains("authorization: basic "), "{head}");
    let length = lower.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some((path, serde_json::from_slice(&body).unwrap()))
}

fn document(registry: &Registry, receiver: &Receiver) -> String {
    settings(registry) + &receiver.settings() + &probe(registry, SICK)
}

fn notify(machine: &Machine) -> Value {
    machine.json(&["notify"], &[0, 3]).unwrap()
}

/// Has an update blocked, which is told at once.
fn block(machine: &Machine) {
    let blocked = machine.cli(&["update", "check"]).unwrap();
    assert_eq!(blocked.status.code(), Some(1), "{}", out(&blocked));
}

#[test]
fn full_each_beginning_and_each_end_is_told_once_and_the_address_to_nobody() {
    let (lab, registry) = lab();
    let receiver = Receiver::start(503);
    let mut machine = resumed(&lab, &document(&registry, &receiver), &[]);
    settled(&machine);
    assert_eq!(notify(&machine)["enabled"], true);
    tests(&machine, &receiver);
    sick(&mut machine, &receiver);
    full(&mut machine, &receiver);
    killed(&mut machine, &receiver);
    hidden(&mut machine, &receiver);
    silent(&mut machine, &registry);
    machine.kill().unwrap();
}

/// A test says what the receiver answers.
fn tests(machine: &Machine, receiver: &Receiver) {
    for (answer, said, hint) in [
        (410, "error: the server answers 410 Gone", "compare `url` in [box.notify]"),
        (503, "error: the server answers 503 Service Unavailable", "its log may say more"),
    ] {
        receiver.answer(answer);
        let done = machine.cli(&["notify", "test"]).unwrap();
        assert_eq!(done.status.code(), Some(1), "{}", out(&done));
        assert!(out(&done).contains(said) && out(&done).contains(hint), "{}", out(&done));
    }
    receiver.answer(204);
    assert_eq!(text(machine, &["notify", "test"]), "delivered: the server answers 204 No Content");
    let tested = machine.json(&["notify", "test"], &[0]).unwrap();
    assert_eq!(tested["answer"], "the server answers 204 No Content");
    assert_eq!(receiver.taken("test", "test").len(), 2);
    let status = notify(machine);
    assert_eq!((&status["waiting"], &status["standing"]), (&json!([]), &json!([])), "{status}");
}

/// A container that becomes unhealthy and is mended.
fn sick(machine: &mut Machine, receiver: &Receiver) {
    receiver.answer(503);
    text(machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", "echo >/data/sick"]);
    let refused = receiver.wait("degraded", "raised", 503);
    let status = notify(machine);
    let standing = &status["standing"][0];
    assert_eq!((&standing["kind"], &standing["subject"]), (&"degraded".into(), &"probe".into()), "{status}");
    assert_eq!(status["waiting"][0]["id"], json!(refused.id()), "{status}");
    wait_until("the answer in the status", CHANGE, || {
        let last = notify(machine)["last"].clone();
        let is = last["delivered"] == false && last["answer"] == "the server answers 503 Service Unavailable";
        if is { Ok(()) } else { Err(last.to_string()) }
    });
    receiver.answer(204);
    let raised = receiver.wait("degraded", "raised", 204);
    assert_eq!(raised.id(), refused.id(), "the id stays");
    assert_eq!(raised.path, format!("/hooks/{TOKEN}?key={TOKEN}"));
    let body = &raised.body;
    assert_eq!(
        (&body["format"], &body["dropped"], &body["subject"]),
        (&json!(1), &json!(0), &json!("probe"))
    );
    assert_eq!(body["box"]["hostname"], "box");
    assert!(body["box"]["version"].as_str().is_some_and(|version| !version.is_empty()), "{body}");
    assert!(body["message"].as_str().is_some_and(|said| said.contains("probe.sh")), "{body}");
    assert!(body["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{body}");

    // It is killed and started again all the time, so not by a command in it.
    machine.shell("rm $(find /var/lib/holdfast/volumes -name sick)").unwrap();
    receiver.wait("degraded", "resolved", 204);
    settled(machine);
    assert_eq!(receiver.taken("degraded", "raised").len(), 1, "{:#?}", receiver.posts());
    assert_eq!(receiver.taken("degraded", "resolved").len(), 1, "{:#?}", receiver.posts());
    let status = notify(machine);
    assert_eq!((&status["waiting"], &status["standing"]), (&json!([]), &json!([])), "{status}");
}

/// Data fills up and is emptied.
fn full(machine: &mut Machine, receiver: &Receiver) {
    receiver.answer(204);
    machine.shell("set -- $(df -Pk /var | tail -n 1); fallocate -l $(($4 * 92 / 100))k /var/fill").unwrap();
    let raised = receiver.wait("data-filling", "raised", 204);
    let message = raised.body["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("the data file system is 9") && message.contains(" % full; "), "{message}");
    machine.shell("rm /var/fill").unwrap();
    receiver.wait("data-filling", "resolved", 204);
}

/// The agent is killed while a message waits, and while it is being sent.
fn killed(machine: &mut Machine, receiver: &Receiver) {
    receiver.answer(503);
    block(machine);
    let first = receiver.wait("update-blocked", "raised", 503);
    kill_agent(machine);
    receiver.answer(0);
    // Another agent tries at once; its attempt is not answered.
    receiver.wait("update-blocked", "raised", 0);
    kill_agent(machine);
    receiver.answer(204);
    let taken = receiver.wait("update-blocked", "raised", 204);
    assert_eq!(taken.id(), first.id());
    wait_until("nothing that waits", CHANGE, || {
        let status = notify(machine);
        if status["waiting"] == json!([]) { Ok(()) } else { Err(status.to_string()) }
    });
    let ids: BTreeSet<String> =
        receiver.posts().iter().filter(|post| post.body["kind"] == "update-blocked").map(Post::id).collect();
    assert_eq!(ids.len(), 1, "{:#?}", receiver.posts());
}

fn kill_agent(machine: &mut Machine) {
    machine.shell("pidof holdfastd | tee /run/killed | xargs kill -9").unwrap();
    let agent = machine.shell("cat /run/killed").unwrap();
    wait_until("another agent", CHANGE, || {
        let now = machine.shell("pidof holdfastd || true").unwrap();
        let answers = machine.cli(&["status"]).unwrap().status.success();
        if now != agent && answers { Ok(()) } else { Err(machine.console.tail(40)) }
    });
}

/// The token is in files that root alone, or the sender, can read, and nowhere else; also while it sends.
fn hidden(machine: &mut Machine, receiver: &Receiver) {
    // The search does not find itself.
    machine.shell(&format!("umask 077; mkdir -p /run/search; echo '{TOKEN}' >/run/search/pattern")).unwrap();
    receiver.answer(0);
    let sent = receiver.posts().len();
    let asked = machine.cli_start(&["notify", "test"], false).unwrap();
    wait_until("a test that is being sent", CHANGE, || {
        if receiver.posts().len() > sent { Ok(()) } else { Err(machine.console.tail(20)) }
    });
    let grep = "grep -F -f /run/search/pattern";
    let running = machine.shell("tr '\\0' ' ' </proc/$(pidof holdfast-update)/cmdline").unwrap();
    assert!(running.contains("holdfast-update notify /var/lib/holdfast/notify"), "{running}");
    let mut places = vec![
        ("command lines", format!("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | {grep}")),
        ("environment", format!("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | {grep}")),
        ("unit", format!("systemctl show holdfast-notify.service | {grep}")),
    ];
    let kept = machine
        .shell(&format!("find /var /run /tmp -type f -exec {grep} -l {{}} + | grep -v /run/search/ | xargs stat -c '%a %n'"))
        .unwrap();
    assert!(kept.contains("600 /var/lib/holdfast/notify/request.json"), "{kept}");
    assert!(kept.lines().all(|line| line.starts_with("600 ")), "{kept}");
    found_nowhere(machine, &places);
    receiver.answer(410);
    let done = asked.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", out(&done));
    assert!(!out(&done).contains(TOKEN), "{}", out(&done));
    receiver.answer(204);

    places.push(("journal", format!("journalctl --all --no-pager --output=export | {grep} | head -n 3")));
    places.push(("kernel log", format!("dmesg | {grep} | head -n 3")));
    places.push(("request", "ls /var/lib/holdfast/notify | grep request".to_owned()));
    places.push(("record", format!("{grep} /var/lib/holdfast/notify.json")));
    found_nowhere(machine, &places);
    for command in [&["status"][..], &["plan"], &["events"], &["logs"], &["notify"], &["update"]] {
        for json in [&[][..], &["--json"]] {
            let said = out(&machine.cli(&[command, json].concat()).unwrap());
            assert!(!said.contains(TOKEN), "{command:?}: {said}");
        }
    }
}

fn found_nowhere(machine: &mut Machine, places: &[(&str, String)]) {
    for (place, line) in places {
        let said = machine.shell(&format!("{line} || true")).unwrap();
        assert!(said.is_empty(), "{place}: {}", said.replace(TOKEN, "***"));
    }
}

/// Without an address nothing is kept, and a test says why it is not sent.
fn silent(machine: &mut Machine, registry: &Registry) {
    let document = settings(registry) + &probe(registry, SICK);
    let accepted = apply(machine, &document, &[]);
    assert!(accepted.status.success(), "{}", out(&accepted));
    wait_until("no record", CHANGE, || {
        let left = machine.shell("ls /var/lib/holdfast | grep notify || true").unwrap();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    let done = machine.cli(&["notify", "test"]).unwrap();
    assert_eq!(done.status.code(), Some(1), "{}", out(&done));
    assert!(
        out(&done).contains("[box.notify] has no `url`") && out(&done).contains("hint: "),
        "{}",
        out(&done)
    );
    assert_eq!(text(machine, &["notify"]), "messages   off: [box.notify] has no url");
}

#[test]
fn full_a_message_that_waits_outlives_a_power_cut() {
    let (lab, registry) = lab();
    let receiver = Receiver::start(503);
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let setup = Setup::with(document(&registry, &receiver));
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    machine.wait_ssh(BOOT).unwrap();
    settled(&machine);
    block(&machine);
    let tried = receiver.wait("update-blocked", "raised", 503);
    machine.kill().unwrap();
    receiver.answer(204);
    let machine = Machine::boot(&lab, &disk, &setup).unwrap();
    let taken = receiver.wait("update-blocked", "raised", 204);
    assert_eq!((taken.id(), &taken.body["time"]), (tried.id(), &tried.body["time"]));
    machine.wait_ssh(BOOT).unwrap();
    let status = wait_until("nothing that waits", CHANGE, || {
        let status = notify(&machine);
        if status["waiting"] == json!([]) { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!(status["standing"][0]["kind"], "update-blocked", "{status}");
    assert_eq!(receiver.taken("update-blocked", "raised").len(), 1);
    machine.kill().unwrap();
}

#[test]
fn full_a_box_that_goes_back_and_metadata_that_expires_are_told() {
    let receiver = Receiver::start(503);
    // Its window is half a day away: it looks when it is told to.
    let hour = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600;
    let window = format!("{:02}:00-{:02}:00", (hour + 12) % 24, (hour + 13) % 24);
    let settings = format!("policy = \"stage\"\nwindow = \"{window}\"\n\n{}", receiver.table());
    let mut follower = Follower::new(Setup::default(), &settings);

    let (bad, reason) = follower.publish_another_root();
    let mark = follower.apply(&bad);
    follower.is_back(mark, &bad, |said| said == reason, BOOT);
    let refused = receiver.wait("rolled-back", "event", 503);
    let message = refused.body["message"].as_str().unwrap_or_default();
    assert!(message.contains(&bad) && message.ends_with(&reason), "{message}");
    receiver.answer(204);
    assert_eq!(receiver.wait("rolled-back", "event", 204).id(), refused.id());

    follower.publish(&follower.publisher.image(SECOND));
    for (valid, state) in [("2d", "raised"), ("14d", "resolved")] {
        let keys = follower.publisher.keys();
        follower.publisher.release(&["refresh", "--expires", valid, "--keys"], &[&keys]).unwrap();
        let found = follower.machine.json(&["update", "check"], &[0, 3]).unwrap();
        assert_eq!(found["available"], SECOND, "{found}");
        let told = receiver.wait("metadata-expiring", state, 204);
        let message = told.body["message"].as_str().unwrap_or_default();
        assert!(state == "resolved" || message.contains("metadata expires at"), "{message}");
    }
    for (kind, state) in
        [("rolled-back", "event"), ("metadata-expiring", "raised"), ("metadata-expiring", "resolved")]
    {
        assert_eq!(receiver.taken(kind, state).len(), 1, "{:#?}", receiver.posts());
    }
    assert!(receiver.taken("update-blocked", "raised").is_empty(), "{:#?}", receiver.posts());
    let status = notify(&follower.machine);
    assert_eq!((&status["waiting"], &status["standing"]), (&json!([]), &json!([])), "{status}");
    follower.machine.kill().unwrap();
}

/// A look for releases that came to nothing for this reason.
fn blocked(follower: &Follower, done: &Output, reason: &str) {
    assert_eq!(done.status.code(), Some(1), "{}", out(done));
    assert!(out(done).contains(reason) && out(done).contains("hint: see that `url`"), "{}", out(done));
    let status = follower.status();
    let problem = status["problem"].as_str().unwrap_or_default();
    assert!(status["state"] == "blocked" && problem.contains(reason), "{status}");
}

#[test]
fn full_a_source_of_updates_that_hangs_or_is_down_is_told_of_and_asked_again() {
    let receiver = Receiver::start(204);
    let mut follower = Follower::new(Setup::default(), "policy = \"manual\"");
    follower.publish(&follower.publisher.image(SECOND));
    follower.clock();
    let port = follower.publisher.url().rsplit(':').next().unwrap().parse().unwrap();
    let gate = Gate::to(port, Mode::Hangs).unwrap();
    // Nobody answers there either.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = format!("10.0.2.2:{}", silent.local_addr().unwrap().port());
    let document = format!(
        "format = 1\n[box]\nhostname = \"box\"\nntp = [\"127.0.0.1\"]\n\
         [[box.registry]]\nhost = \"{registry}\"\nplain_http = true\n\
         [box.update]\nurl = \"http://10.0.2.2:{}\"\npolicy = \"manual\"\n{}\
         [[recipe]]\nname = \"probe\"\n[recipe.containers.sh]\nimage = \"{registry}/probe:1\"\n",
        gate.port(),
        receiver.table()
    );
    let accepted = apply(&follower.machine, &document, &["--remove", "--no-wait"]);
    assert!(accepted.status.success(), "{}", out(&accepted));

    receiver.answer(0);
    let check = follower.machine.cli_start(&["update", "check"], false).unwrap();
    let test = follower.machine.cli_start(&["notify", "test"], false).unwrap();
    hardening::all_are_closed_as_a_fetch_is(&mut follower.machine);
    receiver.answer(204);
    test.wait_with_output().unwrap();
    blocked(&follower, &check.wait_with_output().unwrap(), "no answer in time");
    let raised = receiver.wait("update-blocked", "raised", 204);
    let message = raised.body["message"].as_str().unwrap_or_default();
    assert!(message.contains("no answer in time"), "{message}");

    let look = |follower: &Follower| follower.machine.cli(&["update", "check"]).unwrap();
    gate.set(Mode::Status(503));
    blocked(&follower, &look(&follower), "the server answers 503");
    gate.set(Mode::Open);
    follower.publisher.down().unwrap();
    blocked(&follower, &look(&follower), "failed to reach");
    follower.publisher.up(&follower.lab).unwrap();
    wait_until("a source that answers", CHANGE, || {
        let done = look(&follower);
        if done.status.success() { Ok(()) } else { Err(out(&done)) }
    });
    let status = follower.status();
    assert_eq!((&status["available"], &status["problem"]), (&json!(SECOND), &Value::Null), "{status}");
    receiver.wait("update-blocked", "resolved", 204);
    assert_eq!(receiver.taken("update-blocked", "raised").len(), 1, "{:#?}", receiver.posts());
    follower.machine.kill().unwrap();
}
