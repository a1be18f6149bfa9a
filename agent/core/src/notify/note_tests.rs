use super::*;

const DEGRADED: &str = "site.web is unhealthy: 500";

/// What `site` looks like at a time: `!` degraded, `?` neither, `.` well.
fn sights(kind: Kind, look: char) -> Sights {
    let topic = Topic::about(kind, "site");
    match look {
        '!' => Sights::from([(topic, Sight::Stands(DEGRADED.into()))]),
        '?' => Sights::from([(topic, Sight::Unclear)]),
        _ => Sights::new(),
    }
}

/// Looks at the seconds that are given, and expects the states of the messages with their seconds.
fn check(kind: Kind, looks: &[(u64, char)], expect: &[(u64, State)]) {
    let (mut record, mut watch) = (NotifyRecord::begin("s", 0), Watch::default());
    for &(second, look) in looks {
        let now = Now { uptime: second * 1000, epoch: second };
        record.note(&mut watch, &sights(kind, look), now);
        let next = record.next_look(&watch, now);
        assert!(next.is_none_or(|next| next > now.uptime), "{looks:?}: at {second} again at {next:?}");
    }
    let said: Vec<(u64, State)> = record.waiting.iter().map(|m| (m.at, m.state)).collect();
    assert_eq!(said, expect, "{looks:?}");
}

#[test]
fn a_degraded_state_has_to_last() {
    use State::{Raised, Resolved};
    let check = |looks: &[(u64, char)], expect: &[(u64, State)]| check(Kind::Degraded, looks, expect);
    check(&[(0, '!'), (29, '!')], &[]);
    check(&[(0, '!'), (30, '!')], &[(30, Raised)]);
    check(&[(0, '!'), (20, '.'), (40, '!'), (69, '!')], &[]);
    check(&[(0, '!'), (20, '.'), (40, '!'), (70, '!')], &[(70, Raised)]);
    // Killed and started again is neither.
    check(&[(0, '!'), (5, '?'), (40, '?'), (45, '!')], &[(45, Raised)]);
    check(&[(0, '!'), (5, '?'), (600, '?'), (700, '.')], &[]);
    check(&[(0, '!'), (30, '!'), (200, '.'), (319, '.')], &[(30, Raised)]);
    check(&[(0, '!'), (30, '!'), (200, '.'), (320, '.'), (500, '.')], &[(30, Raised), (320, Resolved)]);
}

#[test]
fn it_is_gone_after_two_minutes_without_a_break() {
    use State::{Raised, Resolved};
    let check = |looks: &[(u64, char)], expect: &[(u64, State)]| check(Kind::UpdateBlocked, looks, expect);
    check(&[(0, '!'), (1, '.'), (120, '.')], &[(0, Raised)]);
    check(&[(0, '!'), (1, '.'), (121, '.')], &[(0, Raised), (121, Resolved)]);
    check(&[(0, '!'), (1, '.'), (90, '!'), (91, '.'), (121, '.'), (210, '.')], &[(0, Raised)]);
    check(&[(0, '!'), (1, '.'), (90, '?'), (91, '.'), (210, '.')], &[(0, Raised)]);
    check(&[(0, '!'), (1, '.'), (90, '?'), (91, '.'), (211, '.')], &[(0, Raised), (211, Resolved)]);
}

#[test]
fn what_comes_and_goes_is_raised_once_in_ten_minutes() {
    use State::{Raised, Resolved};
    let check = |looks: &[(u64, char)], expect: &[(u64, State)]| check(Kind::UpdateBlocked, looks, expect);
    let once = [(0, Raised), (130, Resolved)];
    check(&[(0, '!'), (10, '.'), (130, '.'), (200, '!'), (599, '!')], &once);
    check(&[(0, '!'), (10, '.'), (130, '.'), (200, '!'), (400, '.'), (700, '.')], &once);
    let again = [(0, Raised), (130, Resolved), (600, Raised)];
    check(&[(0, '!'), (10, '.'), (130, '.'), (200, '!'), (600, '!'), (900, '!')], &again);
}

#[test]
fn a_clock_that_is_set_back_keeps_no_message_back() {
    let (mut record, mut watch) = (NotifyRecord::begin("s", 0), Watch::default());
    let look = |record: &mut NotifyRecord, watch: &mut Watch, look: char, uptime: u64, epoch: u64| {
        record.note(watch, &sights(Kind::DataFilling, look), Now { uptime: uptime * 1000, epoch });
    };
    look(&mut record, &mut watch, '!', 0, 1_000_000);
    look(&mut record, &mut watch, '.', 1, 1_000_001);
    look(&mut record, &mut watch, '.', 121, 1_000_121);
    look(&mut record, &mut watch, '!', 122, 5);
    assert_eq!(record.waiting.len(), 3);
}

#[test]
fn another_agent_goes_on_with_what_was_told() {
    let (mut record, mut watch) = (NotifyRecord::begin("s", 0), Watch::default());
    let at = |second: u64| Now { uptime: second * 1000, epoch: second };
    record.note(&mut watch, &sights(Kind::UpdateBlocked, '!'), at(0));
    for (second, look) in [(60, '!'), (61, '.'), (120, '.')] {
        let text = crate::state::encode(&record);
        record = crate::state::decode(&text).unwrap();
        record.note(&mut Watch::default(), &sights(Kind::UpdateBlocked, look), at(second));
    }
    assert_eq!(record.waiting.len(), 1, "each agent waits anew until it is gone");
    let mut watch = Watch::default();
    record.note(&mut watch, &Sights::new(), at(200));
    record.note(&mut watch, &Sights::new(), at(320));
    let said: Vec<_> = record.waiting.iter().map(|m| (m.id.as_str(), m.state, m.text.as_str())).collect();
    let resolved = format!("no longer: {DEGRADED}");
    assert_eq!(said, [("s-1", State::Raised, DEGRADED), ("s-2", State::Resolved, resolved.as_str())]);
}

#[test]
fn a_way_back_is_said_once_and_an_old_one_never() {
    let (mut record, watch) = (NotifyRecord::begin("s", 7), Watch::default());
    record.went_back(&watch, "the box went back from 2: no network", 7);
    assert_eq!(record.waiting, []);
    for _ in 0..2 {
        record.went_back(&watch, "the box went back from 2: no network", 9);
    }
    assert_eq!(record.waiting.len(), 1);
    assert_eq!(record.waiting[0].state, State::Event);
}
