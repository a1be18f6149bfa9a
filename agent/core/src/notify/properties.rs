//! Whatever the order of sends, failures and restarts: what began is told once, and so is its end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A look at so many topics, each standing, unclear or gone.
    Look([u8; 3]),
    /// The same, and the record cannot be written.
    Unkept([u8; 3]),
    /// Time passes.
    Pass(u64),
    /// What is due is sent, with this answer.
    Send(u8),
    /// It is sent and taken, and the agent dies before it can note that.
    Cut,
    /// The agent starts anew, from what is on data.
    Restart,
    /// There is another address.
    Redirect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::array::uniform3(0u8..3).prop_map(Step::Look),
        1 => prop::array::uniform3(0u8..3).prop_map(Step::Unkept),
        4 => (1u64..400).prop_map(Step::Pass),
        4 => (0u8..3).prop_map(Step::Send),
        1 => Just(Step::Cut),
        1 => Just(Step::Restart),
        1 => Just(Step::Redirect),
    ]
}

struct Bench {
    record: NotifyRecord,
    watch: Watch,
    second: u64,
    /// What the server has taken, by id.
    taken: BTreeMap<String, Message>,
    /// The ids, in the order in which they were first taken.
    order: Vec<String>,
}

impl Bench {
    fn now(&self) -> Now {
        Now { uptime: self.second * 1000, epoch: self.second }
    }

    fn look(&mut self, topics: [u8; 3]) {
        let kinds = [Kind::Degraded, Kind::UpdateBlocked, Kind::DataFilling];
        let all = kinds.into_iter().zip(topics).filter(|(_, look)| *look > 0);
        let sight = |look| if look == 1 { Sight::Stands("x".into()) } else { Sight::Unclear };
        let sights: Sights = all.map(|(kind, look)| (Topic::of(kind), sight(look))).collect();
        let now = self.now();
        self.record.note(&mut self.watch, &sights, now);
        let next = self.record.next_look(&self.watch, now);
        assert!(next.is_none_or(|next| next > now.uptime), "a look that changes nothing is asked for again");
    }

    fn restart(&mut self) {
        self.record = crate::state::decode(&crate::state::encode(&self.record)).unwrap();
        self.watch = Watch::default();
    }

    /// Sends what is due; says whether anything was.
    fn send(&mut self, answer: u8, noted: bool) -> bool {
        let Due::Send(message) = self.record.due(&self.watch, self.now()) else { return false };
        if answer == 0 && self.taken.insert(message.id.clone(), message.clone()).is_none() {
            self.order.push(message.id.clone());
        }
        let text = String::from("said");
        let answer = match answer {
            0 => Answer::Delivered(text),
            1 => Answer::Refused(text),
            _ => Answer::Failed(text),
        };
        self.watch.sending(&message.id);
        let (now, dropped) = (self.now(), self.record.dropped);
        if noted {
            self.record.answered(&mut self.watch, &message.id, dropped, &answer, now, 7);
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_beginning_and_every_end_is_told_once(steps in prop::collection::vec(step(), 0..80)) {
        let mut of = Bench {
            record: NotifyRecord::begin("s", 0),
            watch: Watch::default(),
            second: 0,
            taken: BTreeMap::new(),
            order: Vec::new(),
        };
        for step in steps {
            match step {
                Step::Look(topics) => of.look(topics),
                Step::Unkept(topics) => {
                    let before = of.record.clone();
                    of.look(topics);
                    of.record = before;
                }
                Step::Pass(seconds) => of.second += seconds,
                Step::Send(answer) => drop(of.send(answer, true)),
                Step::Cut => {
                    of.send(0, false);
                    of.restart();
                }
                Step::Restart => of.restart(),
                Step::Redirect => of.record.redirect(&mut of.watch),
            }
        }
        // All is well in the end, and the server takes everything.
        of.look([0; 3]);
        of.second += GONE / 1000;
        of.look([0; 3]);
        for _ in 0..2 * MOST_WAITING {
            of.second += SLOW / 1000;
            of.send(0, true);
        }
        prop_assert_eq!(&of.record.waiting, &[]);
        prop_assert_eq!(of.record.dropped, 0);
        prop_assert_eq!(of.taken.len() as u64, of.record.next - 1, "every message arrives");
        for kind in [Kind::Degraded, Kind::UpdateBlocked, Kind::DataFilling] {
            let told: Vec<&Message> =
                of.order.iter().map(|id| &of.taken[id]).filter(|m| m.topic.kind == kind).collect();
            for (n, message) in told.iter().enumerate() {
                let expect = if n % 2 == 0 { State::Raised } else { State::Resolved };
                prop_assert_eq!(message.state, expect, "{:?}: in turn, the first one first", kind);
            }
            prop_assert_eq!(told.len() % 2, 0, "what was raised is resolved");
            for two in told.chunks(2).map(|two| two[0].at).collect::<Vec<_>>().windows(2) {
                prop_assert!(two[1] - two[0] >= FLAPPING, "raised again too soon");
            }
        }
    }
}
