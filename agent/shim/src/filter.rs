//! The filter of system calls, compiled once for all containers that have the same one.
//!
//! libseccomp takes longer to compile a profile of hundreds of calls than everything else that a start
//! or an `exec` does, so the result is kept beside the state of containers, which no container can reach
//! and which is gone with the next boot.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::libc;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompOperator as Operator, LinuxSyscall, Spec,
};
use rustix::fs::MemfdFlags;

use crate::exit;

/// A program of the kernel's filter machine, as seccomp(2) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter(Vec<u8>);

/// Bytes of an instruction.
const SIZE: usize = size_of::<libc::sock_filter>();

impl Filter {
    /// The filter of a bundle, from `state` when it was compiled before. `None` when the bundle has none.
    pub(crate) fn of(spec: &Spec, state: &Path) -> anyhow::Result<Option<Filter>> {
        let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else {
            return Ok(None);
        };
        let text = serde_json::to_vec(profile).context("failed to write the seccomp profile")?;
        let file = place(state, &text);
        if let Some(kept) = kept(&file, &text) {
            return Ok(Some(kept));
        }
        let filter = compile(profile).context("the seccomp profile cannot be used")?;
        // A start costs more without it, and nothing else.
        if let Err(error) = filter.keep(&file, &text) {
            exit::say(&format!("failed to keep the compiled filter `{}`: {error}", file.display()));
        }
        Ok(Some(filter))
    }

    /// Puts this thread, and what comes of it, under the filter. It must have refused new privileges or
    /// be able to do without that.
    pub(crate) fn load(&self) -> std::io::Result<()> {
        let len = (self.0.len() / SIZE).try_into().map_err(std::io::Error::other)?;
        let program = libc::sock_fprog { len, filter: self.0.as_ptr().cast_mut().cast() };
        // SAFETY: the program has that length and outlives the call, which only copies it, byte by byte.
        let done =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }

    /// Written beside and renamed: other shims read it meanwhile.
    fn keep(&self, file: &Path, profile: &[u8]) -> std::io::Result<()> {
        let beside = file.with_extension(std::process::id().to_string());
        let mut out = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        out.write_all(&[profile, b"\n", &self.0].concat())?;
        std::fs::rename(beside, file)
    }
}

/// Where the filter of a profile is kept. No container's id begins with a dot.
fn place(state: &Path, profile: &[u8]) -> PathBuf {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    profile.hash(&mut hasher);
    state.join(format!(".filter-{:016x}", hasher.finish()))
}

/// What was kept, if it is of exactly this profile.
fn kept(file: &Path, profile: &[u8]) -> Option<Filter> {
    let all = std::fs::read(file).ok()?;
    let program = all.strip_prefix(profile)?.strip_prefix(b"\n")?;
    (!program.is_empty() && program.len() % SIZE == 0).then(|| Filter(program.to_vec()))
}

fn compile(profile: &LinuxSeccomp) -> anyhow::Result<Filter> {
    if profile.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        bail!("`flags` are not supported");
    }
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut filter = ScmpFilterContext::new(default)?;
    for &name in profile.architectures().iter().flatten() {
        filter.add_arch(architecture(name)?)?;
    }
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        // libseccomp refuses a rule that says what holds anyway.
        if action != default {
            add(&mut filter, rule, action)?;
        }
    }
    let mut memory = File::from(rustix::fs::memfd_create("filter", MemfdFlags::CLOEXEC)?);
    filter.export_bpf(&memory)?;
    memory.rewind()?;
    let mut program = Vec::new();
    memory.read_to_end(&mut program)?;
    Ok(Filter(program))
}

fn add(filter: &mut ScmpFilterContext, rule: &LinuxSyscall, action: ScmpAction) -> anyhow::Result<()> {
    let compare: Vec<(u32, ScmpArgCompare)> = rule
        .args()
        .iter()
        .flatten()
        .map(|arg| {
            let index = arg.index() as u32;
            (index, ScmpArgCompare::new(index, operator(arg.op(), arg.value_two()), arg.value()))
        })
        .collect();
    let twice = compare
        .iter()
        .enumerate()
        .any(|(at, (index, _))| compare[..at].iter().any(|(before, _)| before == index));
    let compare: Vec<ScmpArgCompare> = compare.into_iter().map(|(_, compare)| compare).collect();
    for name in rule.names() {
        // A call that this version does not know is refused as every unknown one is.
        let Ok(call) = ScmpSyscall::from_name(name) else { continue };
        let added = if twice {
            // As runc does: an argument can be compared once in a rule.
            compare.iter().try_for_each(|one| {
                filter.add_rule_conditional(action, call, std::slice::from_ref(one)).map(drop)
            })
        } else {
            filter.add_rule_conditional(action, call, &compare).map(drop)
        };
        added.with_context(|| format!("failed to add a rule for `{name}`"))?;
    }
    Ok(())
}

fn action(action: Action, errno: Option<u32>) -> anyhow::Result<ScmpAction> {
    Ok(match action {
        Action::ScmpActAllow => ScmpAction::Allow,
        Action::ScmpActErrno => ScmpAction::Errno(errno.map_or(Ok(libc::EPERM), i32::try_from)?),
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrace | Action::ScmpActNotify => bail!("`{action:?}` is not supported"),
    })
}

fn architecture(name: Arch) -> anyhow::Result<ScmpArch> {
    Ok(match name {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchArm => ScmpArch::Arm,
        other => bail!("architecture `{other:?}` is not supported"),
    })
}

fn operator(operator: Operator, second: Option<u64>) -> ScmpCompareOp {
    match operator {
        Operator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        Operator::ScmpCmpLt => ScmpCompareOp::Less,
        Operator::ScmpCmpLe => ScmpCompareOp::LessOrEqual,
        Operator::ScmpCmpEq => ScmpCompareOp::Equal,
        Operator::ScmpCmpGe => ScmpCompareOp::GreaterEqual,
        Operator::ScmpCmpGt => ScmpCompareOp::Greater,
        Operator::ScmpCmpMaskedEq => ScmpCompareOp::MaskedEqual(second.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["getppid", "of_another_kernel"], "action": "SCMP_ACT_ERRNO", "errnoRet": 33},
            {"names": ["personality"], "action": "SCMP_ACT_ERRNO",
             "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 8}]},
            {"names": ["dup2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 34,
             "args": [{"index": 0, "op": "SCMP_CMP_GT", "value": 900}, {"index": 0, "op": "SCMP_CMP_LT", "value": 0}]}
        ]
    }"#;

    fn spec(profile: &str) -> Spec {
        let text = format!(r#"{{"ociVersion": "1.2.0", "linux": {{"seccomp": {profile}}}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    /// What the calls give under a filter, in a process of their own: an error's number, or 0.
    fn errors(filter: &Filter, calls: &[(i64, u64)]) -> Vec<u8> {
        let (read, write) = nix::unistd::pipe().unwrap();
        // SAFETY: the child makes system calls only, and ends.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                let ready = rustix::thread::set_no_new_privs(true).is_ok() && filter.load().is_ok();
                for &(number, argument) in calls {
                    // SAFETY: calls that take plain numbers.
                    let gave = unsafe { libc::syscall(number, argument, 901) };
                    let errno = if gave == -1 { nix::errno::Errno::last_raw() as u8 } else { 0 };
                    let _ = nix::unistd::write(&write, &[if ready { errno } else { 255 }]);
                }
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(0) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                drop(write);
                let mut said = Vec::new();
                File::from(read).read_to_end(&mut said).unwrap();
                nix::sys::wait::waitpid(child, None).unwrap();
                said
            }
        }
    }

    #[test]
    fn a_compiled_filter_filters_now_and_when_it_was_kept() {
        let state = tempfile::tempdir().unwrap();
        let calls = [
            (libc::SYS_getppid, 0),
            (libc::SYS_personality, 8),
            (libc::SYS_personality, 0xffff_ffff),
            (libc::SYS_dup2, 901),
            (libc::SYS_dup2, 899),
        ];
        let filter = Filter::of(&spec(PROFILE), state.path()).unwrap().unwrap();
        // 9 is EBADF: the call was made.
        assert_eq!(errors(&filter, &calls), [33, 1, 0, 34, 9]);
        let names =
            || std::fs::read_dir(state.path()).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
        let [file] = names().try_into().unwrap();
        // Taken from there: what is in the file is what is loaded.
        let other = Filter::of(&spec(&PROFILE.replace("33", "35")), state.path()).unwrap().unwrap();
        assert_eq!(names().len(), 2);
        let text = serde_json::to_vec(spec(PROFILE).linux().as_ref().unwrap().seccomp().as_ref().unwrap());
        other.keep(&file, &text.unwrap()).unwrap();
        let again = Filter::of(&spec(PROFILE), state.path()).unwrap().unwrap();
        assert_eq!(errors(&again, &calls), [35, 1, 0, 34, 9]);
    }

    #[test]
    fn what_was_kept_of_another_profile_or_half_is_not_used() {
        let state = tempfile::tempdir().unwrap();
        let filter = Filter::of(&spec(PROFILE), state.path()).unwrap().unwrap();
        let file = std::fs::read_dir(state.path()).unwrap().next().unwrap().unwrap().path();
        let whole = std::fs::read(&file).unwrap();
        let text = whole.len() - filter.0.len();
        for bad in [b"".as_slice(), b"{}\nfilter", &whole[..text - 1], &whole[..text], &whole[..text + 9]] {
            std::fs::write(&file, bad).unwrap();
            assert_eq!(Filter::of(&spec(PROFILE), state.path()).unwrap().unwrap(), filter);
            assert_eq!(std::fs::read(&file).unwrap(), whole);
        }
        // A state folder that cannot be written costs time, no container.
        assert_eq!(Filter::of(&spec(PROFILE), Path::new("/proc/none")).unwrap().unwrap(), filter);
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for (from, to, expect) in [
            ("\"SCMP_ACT_ALLOW\"", "\"SCMP_ACT_NOTIFY\"", "ScmpActNotify"),
            ("{\n", "{\"flags\": [\"SECCOMP_FILTER_FLAG_LOG\"],", "flags"),
            ("{\n", "{\"architectures\": [\"SCMP_ARCH_S390\"],", "ScmpArchS390"),
        ] {
            let error =
                Filter::of(&spec(&PROFILE.replacen(from, to, 1)), Path::new("/proc/none")).unwrap_err();
            assert!(format!("{error:#}").contains(expect), "{error:#}");
        }
        assert_eq!(Filter::of(&spec("null"), Path::new("/proc/none")).unwrap(), None);
    }
}
