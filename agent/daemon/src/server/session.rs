//! When the connection began by which a client came to the box.

use agent_core::healing::Millis;

/// Most processes between a client and PID 1.
const DEEPEST: usize = 32;

/// Ticks of a second in `/proc` (USER_HZ), which the kernel promises not to change.
const TICKS: u64 = 100;

/// A process as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    name: String,
    parent: u32,
    /// Uptime at which it began.
    began: Millis,
}

/// Uptime at which the connection began that the process belongs to: sshd has one process for each, below the
/// one that listens. Of a process that is below none, its own. `None` when it is gone.
pub(super) fn began(pid: i32) -> Option<Millis> {
    began_of(u32::try_from(pid).ok()?, read)
}

fn began_of(pid: u32, read: impl Fn(u32) -> Option<Process>) -> Option<Millis> {
    let own = read(pid)?;
    let above = std::iter::successors(Some(own.clone()), |process| read(process.parent)).take(DEEPEST);
    let connections: Vec<Process> = above.filter(|process| process.name.starts_with("sshd")).collect();
    // The outermost one listens, for all of them.
    let connection = match &connections[..] {
        [] => &own,
        [only] => only,
        [.., connection, _listener] => connection,
    };
    Some(connection.began)
}

fn read(pid: u32) -> Option<Process> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)): the name may have anything in it, so what follows counts from its
/// last parenthesis.
fn parse(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    // The third field is the first here.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Process { name, parent: u32::try_from(field(4)?).ok()?, began: field(22)? * 1000 / TICKS })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(processes: &[(u32, &str, u32, Millis)], expect: Option<Millis>) {
        let read = |pid| {
            let (_, name, parent, began) = processes.iter().find(|(own, ..)| *own == pid)?;
            Some(Process { name: (*name).to_owned(), parent: *parent, began: *began })
        };
        assert_eq!(began_of(9, read), expect, "{processes:?}");
    }

    #[test]
    fn a_session_is_as_old_as_its_connection() {
        let listener = (5, "sshd", 1, 100);
        let init = (1, "systemd", 0, 1);
        check(
            &[
                (9, "holdfast", 8, 900),
                (8, "sshd-session", 7, 500),
                (7, "sshd-session", 5, 490),
                listener,
                init,
            ],
            Some(490),
        );
        check(&[(9, "holdfast", 8, 900), (8, "sshd", 1, 500), init], Some(500));
        check(&[(9, "holdfast", 1, 900), init], Some(900));
        check(&[init], None);
        check(&[(9, "holdfast", 9, 900)], Some(900));
    }

    #[test]
    fn this_process_began_before_now() {
        let own = began(std::process::id() as i32).unwrap();
        assert!(own > 0 && own <= crate::clock::uptime());
        let name = parse("7 (a) b (c) S 5 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4200 0 0").unwrap();
        assert_eq!((name.name.as_str(), name.parent, name.began), ("a) b (c", 5, 42_000));
    }
}
