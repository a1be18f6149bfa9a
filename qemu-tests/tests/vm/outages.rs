//! Networks that are not there, lose frames or lie, and servers that are down: what runs goes on, its admin gets in
//! where there is a way in, and what did not work works when the fault goes.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::common::{
    BOOT, CHANGE, DISK, lab, out, page, probe, resumed, settings, settled, text, up, wait_until,
};
use qemu_tests::{Answer, Disk, Gate, Machine, Mode, NameServer, Registry, Setup};

/// An instance of what the image holds, so that no network is needed.
const EMBEDDED: &str = "[[recipe]]\nuse = \"hello\"\nparams = { word = \"anyhow\" }\n";

/// How long a pull may take that fails: five attempts of half a minute, and a minute's wait before.
const FAILS: Duration = Duration::from_secs(360);

/// Waits until the box is degraded and says one of these of why.
fn says(machine: &Machine, words: &[&str]) {
    wait_until(&words.join(" or "), FAILS, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        let said = status["problems"].to_string();
        let found = status["health"] == "degraded" && words.iter().any(|words| said.contains(words));
        if found { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn full_a_box_without_a_network_serves_says_so_and_is_there_when_it_comes() {
    let (lab, _registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let document = format!("format = 1\n[box]\nhostname = \"box\"\n{EMBEDDED}");
    let setup = Setup { shell: true, ..Setup::with(document) };
    let mut machine = Machine::boot_after(&lab, &disk, &setup, |machine| machine.plug(false)).unwrap();
    let dark = "error nobody reaches the box";
    let said = machine.console.wait(dark, BOOT).unwrap();
    assert!(said.contains("no carrier"), "{said}");
    let serves = "wget -T 5 -q -O - http://127.0.0.1/ || true";
    wait_until("the page, inside", BOOT, || {
        let page = machine.shell(serves).unwrap();
        if page.contains("anyhow") { Ok(()) } else { Err(page) }
    });
    // The carrier starts all timers of DHCP anew: what is right after three minutes is right after ten.
    std::thread::sleep(Duration::from_secs(180).saturating_sub(machine.age()));
    let plugged = Instant::now();
    machine.plug(true).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    println!("ssh answers {:?} after the cable", plugged.elapsed());
    machine.wait_served("anyhow", CHANGE).unwrap();
    settled(&machine);
    assert!(text(&machine, &["events"]).contains("dhcp-bound"), "{}", text(&machine, &["events"]));

    // The same under a box that runs.
    let mark = machine.console.mark();
    machine.plug(false).unwrap();
    machine.console.wait_after(mark, dark, CHANGE).unwrap();
    machine.plug(true).unwrap();
    machine.wait_ssh(CHANGE).unwrap();
    settled(&machine);
    machine.kill().unwrap();
}

#[test]
fn full_a_box_whose_network_carries_nothing_for_ten_minutes_is_there_when_it_does() {
    let (lab, _registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let document = format!("format = 1\n[box]\nhostname = \"box\"\n{EMBEDDED}");
    let setup = Setup { relayed: true, ..Setup::with(document) };
    // There is a carrier, and no server of DHCP behind it.
    let machine = Machine::boot_after(&lab, &disk, &setup, |machine| {
        machine.relay.as_ref().expect("it is relayed").lose(100);
        Ok(())
    })
    .unwrap();
    let said = machine.console.wait("error nobody reaches the box", BOOT).unwrap();
    assert!(said.contains("no address by DHCP"), "{said}");
    std::thread::sleep(Duration::from_secs(600).saturating_sub(machine.age()));
    let came = Instant::now();
    machine.relay.as_ref().unwrap().lose(0);
    machine.wait_ssh(CHANGE).unwrap();
    println!("ssh answers {:?} after the network", came.elapsed());
    machine.wait_served("anyhow", CHANGE).unwrap();
    settled(&machine);
    machine.kill().unwrap();
}

#[test]
fn full_names_that_are_not_told_fail_or_lead_astray_cost_pulls_and_nothing_else() {
    let (lab, registry) = lab();
    let mut machine = resumed(&lab, &settings(&registry), &[]);
    let names = NameServer::start(Answer::Silence).unwrap();
    names.redirect(&mut machine).unwrap();
    let host = format!("registry.test:{}", registry.port());
    let by_name = |text: &str| text.replace(&registry.host(), &host);
    let served = page(&registry, "by name").replace("[box]\n", "[box]\ndns = [\"10.0.2.2\"]\n");
    let wanted = by_name(&served);
    let quick = |machine: &Machine, what: &str| {
        let asked = Instant::now();
        text(machine, &["version"]);
        println!("{what}: ssh answers in {:?}", asked.elapsed());
        assert!(asked.elapsed() < Duration::from_secs(30), "{what}: {:?}", asked.elapsed());
    };
    let accepted = crate::common::apply(&machine, &wanted, &["--no-wait"]);
    assert!(accepted.status.success(), "{}", out(&accepted));
    // Its name servers are another network setting, which would go again.
    text(&machine, &["network", "confirm"]);
    for (answer, words) in [
        (Answer::Silence, &["timeout: resolve", "failed to lookup address"][..]),
        (Answer::Failure, &["failed to lookup address"]),
        // Somebody who is not there, and somebody who is: the box itself, where nothing listens on that port.
        (
            Answer::Address(Ipv4Addr::new(192, 0, 2, 1)),
            &["timeout: connect", "unreachable", "refused", "No route"],
        ),
        (Answer::Address(Ipv4Addr::LOCALHOST), &["Connection refused"]),
    ] {
        names.answer(answer);
        let before = names.asked();
        wait_until("questions", CHANGE, || if names.asked() > before { Ok(()) } else { Err(String::new()) });
        says(&machine, words);
        quick(&machine, &format!("{answer:?}"));
    }
    names.answer(Answer::Address(Ipv4Addr::new(10, 0, 2, 2)));
    machine.wait_served("by name", CHANGE + CHANGE).unwrap();
    settled(&machine);
    // What is there needs no names any more.
    names.answer(Answer::Silence);
    text(&machine, &["restart", "site"]);
    machine.wait_served("by name", CHANGE).unwrap();
    machine.kill().unwrap();
}

/// A document of the registry behind a gate.
fn behind(registry: &Registry, gate: &Gate, text: &str) -> String {
    text.replace(&registry.host(), &format!("10.0.2.2:{}", gate.port()))
}

#[test]
fn full_a_registry_that_hangs_fails_or_cuts_costs_what_comes_from_it_and_nothing_else() {
    let (lab, registry) = lab();
    let gate = Gate::to(registry.port(), Mode::Status(500)).unwrap();
    let base = page(&registry, "goes on");
    let machine = resumed(&lab, &base, &[]);
    machine.wait_served("goes on", BOOT).unwrap();
    settled(&machine);
    // Another name of the same image is fetched anew.
    let more = behind(&registry, &gate, &probe(&registry, ""));
    let access =
        format!("[[box.registry]]\nhost = \"10.0.2.2:{}\"\nplain_http = true\n[[recipe]]\n", gate.port());
    let wanted = (base + &more).replacen("[[recipe]]\n", &access, 1);
    let accepted = crate::common::apply(&machine, &wanted, &["--no-wait"]);
    assert!(accepted.status.success(), "{}", out(&accepted));
    for (mode, words) in [
        (Mode::Status(500), "answers 500"),
        (Mode::Status(503), "answers 503"),
        (Mode::Cuts(2000), "the download of sha256:"),
        (Mode::Hangs, "timeout"),
    ] {
        gate.set(mode);
        says(&machine, &[words]);
        assert!(machine.serves("goes on"), "{mode:?}");
        let status = machine.cli(&["status"]).unwrap();
        assert_eq!(status.status.code(), Some(3), "{mode:?}: {}", out(&status));
    }
    gate.set(Mode::Open);
    up(&machine, &["probe.sh"]);
    settled(&machine);
    machine.kill().unwrap();
}

/// Whether the box answers its admin within a minute: a connection may hang for as long as either end waits.
fn answers(machine: &Machine) -> bool {
    let mut child = machine.cli_start(&["version"], false).unwrap();
    for _ in 0..60 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}

#[test]
fn full_a_wire_that_loses_a_third_of_its_frames_makes_everything_slower_and_nothing_wrong() {
    let (lab, registry) = lab();
    let disk = Disk::new(&lab, "disk.raw", DISK).unwrap();
    let document = settings(&registry) + EMBEDDED + &probe(&registry, "");
    let setup = Setup { relayed: true, shell: true, ..Setup::with(document) };
    let mut machine = Machine::boot_after(&lab, &disk, &setup, |machine| {
        machine.relay.as_ref().expect("it is relayed").lose(30);
        Ok(())
    })
    .unwrap();
    // What the image holds is served as ever.
    machine.wait_served("anyhow", BOOT).unwrap();
    wait_until("ssh", BOOT, || if answers(&machine) { Ok(()) } else { Err("it is silent".to_owned()) });
    let answered = (0..10).filter(|_| answers(&machine)).count();
    println!("{answered} of 10 answers");
    assert!(answered >= 7, "{answered} of 10");
    // A pull goes on however slow it is: QEMU sends anew after a second at the earliest, and twice that each time.
    let pulled = |machine: &mut Machine| -> u64 {
        let files = "find /var/lib/holdfast/images -type f -exec stat -c %s {} +; echo 0";
        machine.shell(files).unwrap().lines().map(|size| size.parse::<u64>().unwrap()).sum()
    };
    let before = pulled(&mut machine);
    let after = wait_until("more of the image", BOOT, || {
        let now = pulled(&mut machine);
        if now >= before + (64 << 10) { Ok(now) } else { Err(format!("{before} and now {now}")) }
    });
    println!("{} bytes came until {:?}", after - before, machine.age());
    let (frames, lost) = machine.relay.as_ref().unwrap().frames();
    println!("{lost} of {frames} frames were lost");
    assert!(lost * 4 > frames, "{lost} of {frames}");
    machine.relay.as_ref().unwrap().lose(0);
    up(&machine, &["probe.sh"]);
    settled(&machine);
    machine.kill().unwrap();
}
