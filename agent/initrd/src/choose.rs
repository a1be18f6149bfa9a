//! Which disk booted, and what its slot state becomes: decided from what GRUB handed on and what the
//! disks say. Pure.
//!
//! Invariant: a clone or snapshot attached beside the disk is not mistaken for it, since GRUB counted down
//! on the disk that it booted from before it handed the counts on.

use agent_system::slots::{COPIES, Copies};
use image_layout::Slot;
use image_layout::kernel::{self, Verity};
use image_layout::slots::{SlotState, TRIES_NEW};

/// What GRUB handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BootArguments {
    /// The slot that runs.
    pub(crate) slot: Slot,
    /// The copy of the slot state that was read, by index; `None` when none was whole.
    pub(crate) copy: Option<usize>,
    /// Tries left for slot a and slot b.
    pub(crate) tries: [u8; 2],
    /// The random text of the state.
    pub(crate) boot: String,
    /// How the root is opened.
    pub(crate) verity: Verity,
}

/// What is missing on the kernel's command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel argument `{0}` is missing or not understood")]
pub(crate) struct ArgumentError(&'static str);

impl BootArguments {
    /// Reads the kernel's command line.
    pub(crate) fn parse(cmdline: &str) -> Result<BootArguments, ArgumentError> {
        let value = |name| kernel::argument(cmdline, name);
        let read = |name: &'static str| value(name).ok_or(ArgumentError(name));
        let copy = match value(kernel::ENV).unwrap_or_default() {
            "" => None,
            name => Some(COPIES.iter().position(|c| *c == name).ok_or(ArgumentError(kernel::ENV))?),
        };
        let tries = |name: &'static str| match copy {
            Some(_) => read(name)?.parse().map_err(|_| ArgumentError(name)),
            None => Ok(0),
        };
        Ok(BootArguments {
            slot: Slot::parse(read(kernel::SLOT)?).ok_or(ArgumentError(kernel::SLOT))?,
            copy,
            tries: [tries(kernel::TRIES_A)?, tries(kernel::TRIES_B)?],
            boot: value(kernel::BOOT).unwrap_or_default().to_owned(),
            verity: Verity::parse(read(kernel::VERITY)?).ok_or(ArgumentError(kernel::VERITY))?,
        })
    }

    fn is_said_by(&self, state: &SlotState) -> bool {
        state.boot == self.boot && [state.tries_a, state.tries_b] == self.tries
    }
}

/// What is known of a disk.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Whether it has all partitions of the layout.
    pub(crate) complete: bool,
    /// Its slot state.
    pub(crate) copies: Copies,
}

/// The disk to go by, as an index, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Its state says what GRUB handed on.
    Booted(usize),
    /// So does another disk's; this is the first of them.
    Twin(usize),
    /// No disk says it, and there is only this one.
    Only(usize),
    /// GRUB found no state; this is the first complete disk.
    Stateless(usize),
}

impl Choice {
    /// The disk's index.
    pub(crate) fn index(self) -> usize {
        match self {
            Choice::Booted(i) | Choice::Twin(i) | Choice::Only(i) | Choice::Stateless(i) => i,
        }
    }

    /// What is to be said about it, as kind and message; nothing when it is sure.
    pub(crate) fn event(self) -> Option<(&'static str, &'static str)> {
        match self {
            Choice::Booted(_) => None,
            Choice::Twin(_) => Some((
                "disk-ambiguous",
                "two disks have the same slot state: the first one was taken; detach the copy",
            )),
            Choice::Only(_) => Some((
                "slot-state-mismatch",
                "the slot state is not what the boot loader saw; the only disk was taken",
            )),
            Choice::Stateless(_) => Some((
                "slot-state-lost",
                "both copies of the slot state were lost: the first complete disk was taken and both were \
                 written anew",
            )),
        }
    }
}

/// How long disks have been waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Patience {
    /// More may appear any moment.
    Fresh,
    /// None has appeared for a while.
    Settled,
    /// The time is up.
    Over,
}

/// Chooses among disks in bus order; `None`: wait on, or with [`Patience::Over`]: there is none.
pub(crate) fn choose(arguments: &BootArguments, disks: &[Candidate], patience: Patience) -> Option<Choice> {
    let complete: Vec<usize> = (0..disks.len()).filter(|&i| disks[i].complete).collect();
    let Some(copy) = arguments.copy else {
        let first = complete.first()?;
        return (patience >= Patience::Settled).then_some(Choice::Stateless(*first));
    };
    let says = |&&i: &&usize| disks[i].copies[copy].as_ref().is_ok_and(|s| arguments.is_said_by(s));
    match complete.iter().filter(says).collect::<Vec<_>>()[..] {
        [one] => return Some(Choice::Booted(*one)),
        [first, ..] => return Some(Choice::Twin(*first)),
        [] => {}
    }
    match complete[..] {
        [only] if patience == Patience::Over => Some(Choice::Only(only)),
        _ => None,
    }
}

/// The slot state to write before the root is opened: what GRUB saw, under a new random text. With none
/// left, the slot that does not run is tried next and once each, so that one that panics is not tried for
/// ever.
pub(crate) fn next_state(
    arguments: &BootArguments,
    choice: Choice,
    disk: &Candidate,
    boot: String,
) -> SlotState {
    let seen = arguments.copy.and_then(|copy| disk.copies[copy].clone().ok());
    match (choice, seen) {
        (Choice::Booted(_) | Choice::Twin(_) | Choice::Only(_), Some(state)) => SlotState { boot, ..state },
        _ => SlotState {
            slot: arguments.slot.other(),
            good: arguments.slot,
            tries_a: TRIES_NEW,
            tries_b: TRIES_NEW,
            boot,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_layout::slots::StateError;

    const VERITY: &str = "hf.verity=10:\
        00000000000000000000000000000000000000000000000000000000000000ff:\
        00000000000000000000000000000000000000000000000000000000000000ee";

    fn arguments(text: &str) -> BootArguments {
        BootArguments::parse(&format!("quiet {VERITY} {text}")).unwrap()
    }

    fn seen(env: &str) -> BootArguments {
        arguments(&format!("hf.slot=b hf.env={env} hf.tries_a=3 hf.tries_b=1 hf.boot=x"))
    }

    fn state(tries_a: u8, tries_b: u8, boot: &str) -> SlotState {
        SlotState { slot: Slot::B, good: Slot::A, tries_a, tries_b, boot: boot.into() }
    }

    /// A complete disk: `=` its copy says what GRUB saw, `2` more tries, `o` another boot, `-` none whole.
    fn disk(first: char, second: char) -> Candidate {
        let copy = |c| match c {
            '=' => Ok(state(3, 1, "x")),
            '2' => Ok(state(3, 2, "x")),
            'o' => Ok(state(3, 1, "other")),
            _ => Err(StateError::Torn),
        };
        Candidate { complete: true, copies: [copy(first), copy(second)] }
    }

    fn foreign() -> Candidate {
        Candidate { complete: false, copies: [Err(StateError::Header), Err(StateError::Header)] }
    }

    #[test]
    fn arguments_are_read_and_what_is_wrong_is_named() {
        assert_eq!(seen("grubenv2").copy, Some(1));
        assert_eq!(seen("grubenv").tries, [3, 1]);
        assert_eq!(arguments("hf.slot=a hf.env= hf.tries_a=3 hf.boot=").copy, None);
        for (text, name) in [
            ("hf.slot=c hf.env=", "hf.slot"),
            ("hf.env=", "hf.slot"),
            ("hf.slot=a hf.env=other", "hf.env"),
            ("hf.slot=a hf.env=grubenv hf.tries_a=3", "hf.tries_b"),
        ] {
            let error = BootArguments::parse(&format!("{VERITY} {text}")).unwrap_err();
            assert_eq!(error, ArgumentError(name), "{text}");
        }
        assert_eq!(BootArguments::parse("hf.slot=a hf.env="), Err(ArgumentError("hf.verity")));
    }

    #[test]
    fn the_disk_that_booted_is_told_from_others() {
        use Choice::*;
        use Patience::*;
        let cases: [(&str, Vec<Candidate>, Patience, Option<Choice>); 13] = [
            ("grubenv", vec![disk('=', '=')], Fresh, Some(Booted(0))),
            ("grubenv", vec![], Over, None),
            ("grubenv", vec![foreign(), disk('=', '-')], Fresh, Some(Booted(1))),
            // A clone that was attached beside it did not count down.
            ("grubenv", vec![disk('2', '2'), disk('=', '2')], Fresh, Some(Booted(1))),
            // One that was made long ago has another random text.
            ("grubenv", vec![disk('o', 'o'), disk('=', '=')], Fresh, Some(Booted(1))),
            // The copy that GRUB read counts, the other may be stale.
            ("grubenv2", vec![disk('=', '2'), disk('-', '=')], Fresh, Some(Booted(1))),
            ("grubenv2", vec![disk('-', '=')], Fresh, Some(Booted(0))),
            ("grubenv", vec![disk('=', '='), disk('=', '=')], Fresh, Some(Twin(0))),
            // The clone is seen before the disk: wait for it.
            ("grubenv", vec![disk('2', '2')], Settled, None),
            ("grubenv", vec![disk('2', '2')], Over, Some(Only(0))),
            ("grubenv", vec![disk('2', '2'), disk('o', 'o')], Over, None),
            ("", vec![foreign(), disk('-', '-'), disk('=', '=')], Settled, Some(Stateless(1))),
            ("", vec![disk('-', '-')], Fresh, None),
        ];
        for (env, disks, patience, expect) in cases {
            assert_eq!(choose(&seen(env), &disks, patience), expect, "{env:?} {patience:?} {disks:?}");
        }
    }

    #[test]
    fn the_next_state_is_the_seen_one_under_a_new_text() {
        let next = next_state(&seen("grubenv2"), Choice::Booted(0), &disk('-', '='), "new".into());
        assert_eq!(next, state(3, 1, "new"));
    }

    #[test]
    fn without_a_state_the_other_slot_is_next_and_both_have_one_try() {
        for (slot, other) in [(Slot::A, Slot::B), (Slot::B, Slot::A)] {
            let arguments = arguments(&format!("hf.slot={slot} hf.env="));
            let next = next_state(&arguments, Choice::Stateless(0), &disk('o', 'o'), "new".into());
            let expect = SlotState { slot: other, good: slot, tries_a: 1, tries_b: 1, boot: "new".into() };
            assert_eq!(next, expect);
        }
    }
}
