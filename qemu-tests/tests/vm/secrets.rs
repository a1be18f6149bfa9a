//! Secrets are where they belong and nowhere else.

use crate::common::{CHANGE, apply, lab, out, probe, resumed, settings, settled, text, wait_until};
use qemu_tests::Machine;

const GIVEN: &str = "given-Quoo5iegh7ohW9";
const PASSWORD: &str = "password-aeR1Zae6woop";

/// An instance that gets one secret of its owner's and one that is made, each as a file and in the
/// environment, and a step whose output is one of them.
const RECIPE: &str = r#"
secrets = ["given", "made"]
env = { GIVEN = "{{ params.given }}", MADE = "{{ params.made }}" }
files = { "/etc/key" = { content = "key = {{ params.given }}\n" } }
[recipe.params.given]
type = "secret"
default = "given-Quoo5iegh7ohW9"
[recipe.params.made]
type = "secret"
generate = "hex:32"
[recipe.steps.tell]
run = ["/bin/cat", "/run/secrets/made"]
in = "sh"
require = ["containers.sh"]
"#;

/// Where on the box a text can be found by someone who is not its owner: names of places.
struct Search<'a> {
    machine: &'a mut Machine,
    document: &'a str,
}

impl Search<'_> {
    fn places(&mut self, secret: &str) -> Vec<String> {
        let mut found = Vec::new();
        for command in [
            &["plan"][..],
            &["status"],
            &["ps"],
            &["events"],
            &["logs"],
            &["logs", "probe.sh"],
            &["images"],
            &["volumes"],
            &["version"],
        ] {
            for json in [&[][..], &["--json"]] {
                let said = out(&self.machine.cli(&[command, json].concat()).unwrap());
                if said.contains(secret) {
                    found.push(command.join(" "));
                }
            }
        }
        for json in [&["--no-wait"][..], &["--json"]] {
            if out(&apply(self.machine, self.document, json)).contains(secret) {
                found.push("apply".into());
            }
        }
        // From a file, so that the search does not find itself.
        self.shell(&format!("umask 077; mkdir -p /run/search; echo '{secret}' >/run/search/pattern"));
        let grep = "grep -F -f /run/search/pattern";
        for (place, line) in [
            ("journal", format!("journalctl --all --no-pager --output=export | {grep} | head -n 3")),
            ("kernel log", format!("dmesg | {grep} | head -n 3")),
            ("command lines", format!("cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | {grep}")),
            ("agent's environment", format!("tr '\\0' '\\n' </proc/$(pidof holdfastd)/environ | {grep}")),
            (
                "readable files",
                // What lies below a folder that others cannot enter is not readable.
                "find /var /run /tmp -type d ! -perm -001 -prune -o -type f -perm -004 \
                 -exec grep -l -F -f /run/search/pattern {} +"
                    .to_owned(),
            ),
        ] {
            let said = self.shell(&format!("{line} || true"));
            if !said.is_empty() {
                found.push(format!("{place}: {}", said.replace(secret, "***")));
            }
        }
        found
    }

    fn shell(&mut self, line: &str) -> String {
        self.machine.shell(line).unwrap()
    }
}

fn inside(machine: &Machine, line: &str) -> String {
    text(machine, &["exec", "probe.sh", "--", "/bin/sh", "-c", line])
}

#[test]
fn secrets_are_in_their_container_and_in_the_state_and_nowhere_else() {
    let (lab, registry) = lab();
    let other = format!(
        "[[box.registry]]\nhost = \"registry.example.org\"\nusername = \"hub\"\npassword = \"{PASSWORD}\"\n"
    );
    let document = settings(&registry) + &other + &probe(&registry, RECIPE);
    let mut machine = resumed(&lab, &document, &[]);
    wait_until("the step", CHANGE, || {
        let status = machine.json(&["status"], &[0, 3]).unwrap();
        match &status["instances"][0]["steps"][0]["state"] {
            state if state == "succeeded" => Ok(()),
            _ => Err(status.to_string()),
        }
    });
    settled(&machine);

    // In the container: as files of its user, and in the environment of its first process.
    let made = inside(&machine, "cat /run/secrets/made");
    assert_eq!(made.len(), 64, "{made}");
    assert_eq!(inside(&machine, "cat /run/secrets/given"), GIVEN);
    assert_eq!(inside(&machine, "stat -c '%a %u' /run/secrets/made"), "400 0");
    let environment = inside(&machine, "tr '\\0' '\\n' </proc/1/environ");
    assert!(environment.contains(&format!("GIVEN={GIVEN}")), "{environment}");
    assert!(environment.contains(&format!("MADE={made}")), "{environment}");

    // In the state: only in files that root alone can read.
    for secret in [GIVEN, &made, PASSWORD] {
        machine
            .shell(&format!("umask 077; mkdir -p /run/search; echo '{secret}' >/run/search/pattern"))
            .unwrap();
        let kept = machine
            .shell("find /var/lib/holdfast -type f -exec grep -l -F -f /run/search/pattern {} + | xargs stat -c '%a %n'")
            .unwrap();
        assert!(!kept.is_empty(), "it must be kept somewhere");
        assert!(kept.lines().all(|line| line.starts_with("600 ")), "{kept}");
    }

    let mut search = Search { machine: &mut machine, document: &document };
    for secret in [GIVEN, &made, PASSWORD] {
        assert_eq!(search.places(secret), Vec::<String>::new());
    }

    // The search finds what a container says itself, and what lies about.
    let planted = "planted-Ohj4eiy3Aeph";
    inside(search.machine, "echo planted-Ohj4eiy3Aeph >/proc/1/fd/1");
    search.shell(
        "umask 022; echo planted-Ohj4eiy3Aeph >/run/planted; sh -c 'sleep 600; : planted-Ohj4eiy3Aeph' &",
    );
    std::thread::sleep(std::time::Duration::from_secs(2));
    let found = search.places(planted).join("; ");
    for place in ["logs probe.sh", "journal", "command lines", "readable files: /run/planted"] {
        assert!(found.contains(place), "{place} is not among {found}");
    }
    machine.kill().unwrap();
}
