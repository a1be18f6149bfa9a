//! The login program's side: what `sshd` asks for in place of a shell.
//!
//! A command comes as `holdfast -c LINE`, one line that is split into words as a shell does, quotes and
//! backslashes and nothing more: no variables, no globs, no pipes. A login without a command has no
//! arguments and a name that starts with a dash. Requests to copy files are told what to use instead.

use std::fmt;

/// A request that this program does not serve, or cannot read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A tool that copies files.
    Copying(String),
    /// A shell.
    Shell(String),
    /// A line that is not words.
    Words(&'static str),
}

impl Refusal {
    /// 127, as for a command that is not there, or 2 for a line that cannot be read.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Refusal::Copying(_) | Refusal::Shell(_) => 127,
            Refusal::Words(_) => 2,
        }
    }

    /// Whether whoever asked waits for an answer in the protocol SFTP.
    pub(crate) fn is_sftp(&self) -> bool {
        matches!(self, Refusal::Copying(program) if program == "sftp-server" || program == "internal-sftp")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Copying(program) => write!(
                f,
                "error: `{program}` is not on this box\n\
                 hint: for a volume, `ssh admin@BOX volumes export INSTANCE.VOLUME > FILE.tar`, and \
                 `volumes import INSTANCE.VOLUME < FILE.tar`\n\
                 hint: for settings, `ssh admin@BOX apply - < FILE.toml`"
            ),
            Refusal::Shell(program) => write!(
                f,
                "error: `{program}` is not on this box: it has no shell\n\
                 hint: `help` lists the commands; `exec NAME -- COMMAND` runs one in a container"
            ),
            Refusal::Words(what) => write!(f, "error: the command line has {what}"),
        }
    }
}

/// The arguments that are meant, program name first.
pub(crate) fn arguments(args: Vec<String>) -> Result<Vec<String>, Refusal> {
    let [name, option, line] = args.as_slice() else { return Ok(args) };
    if option != "-c" {
        return Ok(args);
    }
    let mut found = split(line)?;
    let program = found.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word));
    match program {
        "scp" | "sftp-server" | "internal-sftp" | "sftp" | "rsync" => {
            Err(Refusal::Copying(program.to_owned()))
        }
        "sh" | "bash" | "dash" | "zsh" | "ash" | "sudo" | "su" => Err(Refusal::Shell(program.to_owned())),
        "holdfast" => {
            found[0] = name.clone();
            Ok(found)
        }
        _ => {
            found.insert(0, name.clone());
            Ok(found)
        }
    }
}

/// Splits a line into words: blanks separate, single quotes keep everything, double quotes all but
/// backslashes before `"` and `\`, a backslash the next character.
fn split(line: &str) -> Result<Vec<String>, Refusal> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err(Refusal::Words("a single quote without its end")),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => match rest.next() {
                            Some(c @ ('"' | '\\')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err(Refusal::Words("a double quote without its end")),
                        },
                        Some(c) => word.push(c),
                        None => return Err(Refusal::Words("a double quote without its end")),
                    }
                }
            }
            '\\' => match rest.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(Refusal::Words("a backslash at its end")),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Result<&[&str], Refusal>) {
        let args = ["holdfast", "-c", line].map(str::to_owned).to_vec();
        let expect = expect.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(arguments(args), expect, "{line:?}");
    }

    #[test]
    fn lines_are_split_as_a_shell_does_without_expansion() {
        check("status --json", Ok(&["holdfast", "status", "--json"]));
        check("holdfast  ps ", Ok(&["holdfast", "ps"]));
        check("/usr/bin/holdfast ps", Ok(&["holdfast", "ps"]));
        check(
            "exec a.b -- sh -c 'echo \"$HOME\" *'",
            Ok(&["holdfast", "exec", "a.b", "--", "sh", "-c", "echo \"$HOME\" *"]),
        );
        check(r#"a "b \" \\ \n c" d\ e'' ''"#, Ok(&["holdfast", "a", r#"b " \ \n c"#, "d e", ""]));
        check("a;b|c>d&", Ok(&["holdfast", "a;b|c>d&"]));
        check("", Ok(&["holdfast"]));
    }

    #[test]
    fn unfinished_lines_are_refused() {
        check("a 'b", Err(Refusal::Words("a single quote without its end")));
        check("a \"b", Err(Refusal::Words("a double quote without its end")));
        check("a \"b\\", Err(Refusal::Words("a double quote without its end")));
        check("a \\", Err(Refusal::Words("a backslash at its end")));
    }

    #[test]
    fn copying_and_shells_are_told_what_to_use() {
        for (line, program) in [
            ("scp -t /tmp", "scp"),
            ("/usr/lib/openssh/sftp-server", "sftp-server"),
            ("internal-sftp", "internal-sftp"),
            ("rsync --server -e.LsfxCIvu . x", "rsync"),
        ] {
            check(line, Err(Refusal::Copying(program.to_owned())));
        }
        check("bash -i", Err(Refusal::Shell("bash".to_owned())));
        assert_eq!(Refusal::Copying("scp".into()).exit_code(), 127);
        insta::assert_snapshot!(Refusal::Copying("scp".into()), @r"
        error: `scp` is not on this box
        hint: for a volume, `ssh admin@BOX volumes export INSTANCE.VOLUME > FILE.tar`, and `volumes import INSTANCE.VOLUME < FILE.tar`
        hint: for settings, `ssh admin@BOX apply - < FILE.toml`
        ");
    }

    #[test]
    fn other_arguments_are_left_alone() {
        for args in
            [&["-holdfast"][..], &["holdfast", "ps"], &["holdfast", "logs", "-c"], &["holdfast", "-c"]]
        {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            assert_eq!(arguments(args.clone()), Ok(args));
        }
    }
}
