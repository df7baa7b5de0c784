//! Changes of presence on their way to the broker: several at once, those of one client in one channel in order.
//!
//! With a broker on a network each change takes a round trip. One after another, 10,000 clients that leave together
//! would take 10,000 of them, so a few dozen workers of the shard share them ([`PRESENCE_CHANGES_AT_ONCE`]). A change
//! waits while another of the same client in the same channel is under way, and no later one overtakes it: a removal
//! never hits the entry that was added after it, and a refresh never brings back what was removed.
//!
//! Changes are numbered in the order in which they were queued. A session that subscribes or unsubscribes waits until
//! its own earlier ones are through, by number: a number counts as through when all up to it are.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};

use fanfare_protocol::Channel;
use tokio::sync::Notify;

use crate::limits::PRESENCE_CHANGES_AT_ONCE;
use crate::shard::Effect;

/// The changes that wait or are under way, and who waits for them.
#[derive(Default)]
pub(crate) struct PresenceChanges {
    schedule: RefCell<Schedule>,
    queued: Notify,
    settled: Notify,
}

impl PresenceChanges {
    /// Appends a change. There is at most one leave for each subscription that was ended and one refresh for each
    /// that lives, and they are counted (`fanfare_gateway_presence_changes_waiting`).
    pub(crate) fn push(&self, effect: Effect) {
        self.schedule.borrow_mut().push(effect);
        self.queued.notify_one();
    }

    /// The next change that may be carried out. May be dropped: it stays in its place.
    pub(crate) async fn begin(&self) -> (Number, Effect) {
        loop {
            let begun = self.schedule.borrow_mut().begin();
            match begun {
                Some(begun) => return begun,
                None => self.queued.notified().await,
            }
        }
    }

    /// A change has been carried out; who did so begins the next, which may be one that waited for this. Gives the number up to which all are; whoever waits goes on at its next turn.
    pub(crate) fn finish(&self, number: Number) -> Number {
        let mut schedule = self.schedule.borrow_mut();
        schedule.finish(number);
        self.settled.notify_waiters();
        schedule.settled()
    }

    /// Waits until another change has been carried out.
    pub(crate) async fn progress(&self) {
        self.settled.notified().await;
    }
}

/// The place of a change in the order in which they were queued, from 1.
pub(crate) type Number = u64;

/// A client in a channel.
type Key = (Channel, String);

/// What may be carried out when.
#[derive(Default)]
struct Schedule {
    /// Not looked at yet, with rising numbers.
    waiting: VecDeque<Effect>,
    /// The number of the last one that was queued.
    queued: Number,
    /// Looked at and not through.
    open: BTreeSet<Number>,
    /// The client and channel of each change that is under way.
    under_way: HashMap<Number, Key>,
    /// For each of those, what waits for it.
    behind: HashMap<Key, VecDeque<(Number, Effect)>>,
    /// Whose predecessor is through.
    freed: VecDeque<(Number, Key, Effect)>,
}

impl Schedule {
    fn push(&mut self, effect: Effect) {
        self.queued += 1;
        self.waiting.push_back(effect);
    }

    fn begin(&mut self) -> Option<(Number, Effect)> {
        if self.under_way.len() >= PRESENCE_CHANGES_AT_ONCE {
            return None;
        }
        if let Some((number, key, effect)) = self.freed.pop_front() {
            self.under_way.insert(number, key);
            return Some((number, effect));
        }
        loop {
            let number = self.queued + 1 - self.waiting.len() as u64;
            let effect = self.waiting.pop_front()?;
            self.open.insert(number);
            let Some(key) = key_of(&effect) else { return Some((number, effect)) };
            match self.behind.get_mut(&key) {
                Some(behind) => behind.push_back((number, effect)),
                None => {
                    self.behind.insert(key.clone(), VecDeque::new());
                    self.under_way.insert(number, key);
                    return Some((number, effect));
                }
            }
        }
    }

    fn finish(&mut self, number: Number) {
        self.open.remove(&number);
        let Some(key) = self.under_way.remove(&number) else { return };
        match self.behind.get_mut(&key).and_then(VecDeque::pop_front) {
            Some((next, effect)) => self.freed.push_back((next, key, effect)),
            None => drop(self.behind.remove(&key)),
        }
    }

    /// The number up to which all are through.
    fn settled(&self) -> Number {
        let waiting = self.queued - self.waiting.len() as u64;
        self.open.first().map_or(waiting, |first| first - 1)
    }
}

fn key_of(effect: &Effect) -> Option<Key> {
    match effect {
        Effect::Leave(departure) => Some((departure.channel.clone(), departure.info.client.clone())),
        Effect::RefreshPresence(channel, info) => Some((channel.clone(), info.client.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fanfare_protocol::ClientInfo;
    use proptest::prelude::*;

    use super::*;
    use crate::shard::Departure;

    fn info(client: &str) -> Arc<ClientInfo> {
        Arc::new(ClientInfo { client: client.to_owned(), ..ClientInfo::default() })
    }

    fn refresh(channel: &str, client: &str) -> Effect {
        Effect::RefreshPresence(Channel::parse(channel).unwrap(), info(client))
    }

    fn leave(channel: &str, client: &str) -> Effect {
        let channel = Channel::parse(channel).unwrap();
        Effect::Leave(Departure { channel, info: info(client), presence: true, join_leave: true })
    }

    fn begun(schedule: &mut Schedule) -> Vec<Number> {
        std::iter::from_fn(|| schedule.begin().map(|(number, _)| number)).collect()
    }

    #[test]
    fn changes_of_others_do_not_wait_and_own_ones_do() {
        let mut schedule = Schedule::default();
        for change in
            [refresh("a", "ann"), leave("a", "ann"), leave("a", "bob"), leave("b", "ann"), refresh("a", "ann")]
        {
            schedule.push(change);
        }
        assert_eq!(begun(&mut schedule), [1, 3, 4]);
        schedule.finish(4);
        assert!(begun(&mut schedule).is_empty());
        schedule.finish(1);
        assert_eq!(begun(&mut schedule), [2], "the leave comes after the refresh, and the next refresh after it");
        schedule.push(leave("a", "ann"));
        schedule.finish(2);
        assert_eq!(begun(&mut schedule), [5], "what was queued first goes first");
        schedule.finish(5);
        assert_eq!(begun(&mut schedule), [6]);
        schedule.finish(6);
        schedule.finish(3);
        assert_eq!(schedule.settled(), 6);
        assert!(schedule.behind.is_empty() && schedule.under_way.is_empty() && schedule.open.is_empty());
    }

    #[test]
    fn a_number_is_through_when_all_up_to_it_are() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.settled(), 0);
        for client in ["a", "b", "c"] {
            schedule.push(leave("news", client));
        }
        assert_eq!(schedule.settled(), 0);
        assert_eq!(begun(&mut schedule), [1, 2, 3]);
        for (finished, settled) in [(2, 0), (1, 2), (3, 3)] {
            schedule.finish(finished);
            assert_eq!(schedule.settled(), settled);
        }
    }

    #[test]
    fn a_bounded_number_is_under_way() {
        let mut schedule = Schedule::default();
        for client in 0..1000 {
            schedule.push(leave("news", &client.to_string()));
        }
        assert_eq!(begun(&mut schedule).len(), PRESENCE_CHANGES_AT_ONCE);
        schedule.finish(1);
        assert_eq!(begun(&mut schedule), [PRESENCE_CHANGES_AT_ONCE as u64 + 1]);
    }

    proptest! {
        /// Any changes, carried out in any order that the schedule allows.
        #[test]
        fn the_changes_of_one_client_and_channel_keep_their_order(
            changes in proptest::collection::vec((0..3_u8, 0..3_u8), 0..60),
            choices in proptest::collection::vec(any::<prop::sample::Index>(), 200),
        ) {
            let mut schedule = Schedule::default();
            let mut choices = choices.iter().cycle();
            let mut pushed = changes.iter();
            let (mut under_way, mut done) = (Vec::<(Number, Key)>::new(), BTreeSet::new());
            let mut last: HashMap<Key, Number> = HashMap::new();
            loop {
                let next = pushed.next();
                if let Some((channel, client)) = next {
                    schedule.push(leave(&channel.to_string(), &client.to_string()));
                }
                while let Some((number, effect)) = schedule.begin() {
                    let key = key_of(&effect).unwrap();
                    prop_assert!(under_way.iter().all(|(_, other)| *other != key), "one at a time");
                    prop_assert!(last.insert(key.clone(), number).is_none_or(|before| before < number));
                    under_way.push((number, key));
                }
                if under_way.is_empty() && next.is_none() {
                    break;
                }
                if !under_way.is_empty() {
                    let (number, _) = under_way.swap_remove(choices.next().unwrap().index(under_way.len()));
                    schedule.finish(number);
                    done.insert(number);
                }
                let through = (1..).take_while(|number| done.contains(number)).count() as u64;
                prop_assert_eq!(schedule.settled(), through);
            }
            prop_assert_eq!(done.len(), changes.len());
            prop_assert!(schedule.behind.is_empty() && schedule.under_way.is_empty() && schedule.freed.is_empty());
        }
    }
}
