//! A random life of a shard against a simple model: a subscription stands in its channel and in its session, or in
//! neither (I5), and everyone live gets exactly what a plain list of sets says.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Connect,
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Publish(usize),
    Close(usize),
    Remove(usize),
}

const CHANNELS: [&str; 3] = ["a", "b", "c"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Connect),
        4 => (0..8_usize, 0..CHANNELS.len()).prop_map(|(session, channel)| Step::Subscribe(session, channel)),
        2 => (0..8_usize, 0..CHANNELS.len()).prop_map(|(session, channel)| Step::Unsubscribe(session, channel)),
        4 => (0..CHANNELS.len()).prop_map(Step::Publish),
        1 => (0..8_usize).prop_map(Step::Close),
        1 => (0..8_usize).prop_map(Step::Remove),
    ]
}

#[derive(Default)]
struct Model {
    sessions: Vec<(SlotId, BTreeSet<usize>)>,
    offsets: BTreeMap<usize, u64>,
}

fn run(bench: &mut Bench, model: &mut Model, step: &Step) {
    match *step {
        Step::Connect => {
            let id = bench.connected(&model.sessions.len().to_string());
            model.sessions.push((id, BTreeSet::new()));
        }
        Step::Subscribe(session, number) => {
            let top = model.offsets.get(&number).copied().unwrap_or(0);
            let Some((id, channels)) = model.sessions.get_mut(session) else {
                return;
            };
            let new = Bench::new_subscription(CHANNELS[number], Origin::Client);
            match bench.shard.begin(*id, &new) {
                Ok(begun) => {
                    assert!(channels.insert(number));
                    bench.shard.commit(begun, Backlog::Top(position(top))).unwrap().unwrap();
                    assert!(bench.shard.settle(begun));
                }
                Err(refused) => assert_eq!(refused, Refused::AlreadySubscribed),
            }
        }
        Step::Unsubscribe(session, number) => {
            let Some((id, channels)) = model.sessions.get_mut(session) else {
                return;
            };
            let departed = bench.shard.unsubscribe(*id, &channel(CHANNELS[number])).is_some();
            assert_eq!(departed, channels.remove(&number));
        }
        Step::Publish(number) => publish(bench, model, number),
        Step::Close(session) => {
            let Some((id, channels)) = model.sessions.get_mut(session) else {
                return;
            };
            bench.shard.close(*id, &fanfare_protocol::Disconnect::FORCE_DISCONNECT);
            channels.clear();
            let id = *id;
            bench.shard.remove(id);
            model.sessions.remove(session);
        }
        Step::Remove(session) => {
            if session < model.sessions.len() {
                bench.shard.remove(model.sessions.remove(session).0);
            }
        }
    }
}

fn publish(bench: &mut Bench, model: &mut Model, number: usize) {
    let offset = model.offsets.entry(number).or_default();
    *offset += 1;
    bench.shard.take_event(&event(CHANNELS[number], *offset));
    for (id, channels) in &model.sessions {
        let expected = channels.contains(&number).then(|| Sent::Pub(*offset, CHANNELS[number].to_owned()));
        assert_eq!(bench.sent(*id), Vec::from_iter(expected));
    }
}

/// I5, looked up from both sides.
fn check_places(shard: &Shard, model: &Model) {
    let total: usize = model.sessions.iter().map(|(_, channels)| channels.len()).sum();
    let live: usize = shard.channels.ids().filter_map(|id| shard.channels.get(id)).map(|c| c.listeners.len()).sum();
    assert_eq!(live, total);
    assert_eq!(shard.stats().subscriptions.get(), total as u64);
    for (id, channels) in &model.sessions {
        let session = shard.session(*id).unwrap();
        assert_eq!(session.subscriptions.len(), channels.len());
        for (index, subscription) in session.subscriptions.iter().enumerate() {
            let listener = shard.channels.get(subscription.channel).unwrap().listeners[subscription.listener as usize];
            assert_eq!((listener.slot, listener.subscription as usize), (id.index, index));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_random_life_keeps_subscriptions_in_both_places(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new();
        let mut model = Model::default();
        for step in &steps {
            run(&mut bench, &mut model, step);
            check_places(&bench.shard, &model);
        }
        while let Some((id, _)) = model.sessions.pop() {
            bench.shard.remove(id);
        }
        assert_eq!(bench.shard.channels.len(), 0);
        assert!(bench.shard.users.is_empty());
    }
}
