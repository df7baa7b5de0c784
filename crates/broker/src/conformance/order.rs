//! Cases on order, room, and what reaches the sink.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_protocol::{Disconnect, Unsubscribe};
use tokio::task::JoinSet;

use super::stage::{Stage, all, client, kept, label, live};
use super::{Harness, Node};
use crate::control::Target;
use crate::{Control, Error, Event, Outcome, Publish};

/// Publications reach the sink in the order in which they were acknowledged, with rising offsets.
pub async fn publications_arrive_in_order(harness: &dyn Harness) {
    let stage = Stage::new(harness, "order").await;
    stage.publish_texts(&["a", "b", "c"]).await;
    assert_eq!(stage.seen(3).await, ["1:a", "2:b", "3:c"]);
    assert_eq!(stage.top().await.offset, 3);
}

/// Everything that was published arrives and is kept, not only the payload.
pub async fn publications_arrive_whole(harness: &dyn Harness) {
    let stage = Stage::new(harness, "whole").await;
    let tags = BTreeMap::from([("kind".to_owned(), "alert".to_owned())]);
    let publish = Publish { json: true, tags: tags.clone(), info: Some(client("c1", "ann")), ..kept("{}") };
    let published = stage.publish(publish).await;
    let events = stage.recorder.events(1).await;
    let Some(Event::Publication(delivered)) = events.first() else { panic!("a publication arrives") };
    let history = stage.history(all()).await;
    for publication in [delivered, &history.publications[0]] {
        assert_eq!(publication.channel, stage.channel);
        assert_eq!(&publication.data[..], b"{}");
        assert!(publication.json);
        assert_eq!(publication.tags, tags);
        assert_eq!(publication.info.as_ref().map(|info| info.user.as_str()), Some("ann"));
        assert_eq!(publication.position, published.position);
    }
}

/// Joins and leaves take their place among the publications.
pub async fn joins_and_leaves_keep_their_place(harness: &dyn Harness) {
    let stage = Stage::new(harness, "joins").await;
    stage.broker.publish_join(&stage.channel, client("c1", "ann")).await.expect("a join is accepted");
    stage.publish_texts(&["a"]).await;
    stage.broker.publish_leave(&stage.channel, client("c1", "ann")).await.expect("a leave is accepted");
    stage.publish_texts(&["b"]).await;
    assert_eq!(stage.seen(4).await, ["+c1", "1:a", "-c1", "2:b"]);
}

/// With eight publishers at once no offset is missing, doubled, or out of order at the sink. Run it on several
/// threads too.
pub async fn offsets_are_contiguous_under_concurrent_publishers(harness: &dyn Harness) {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 50;
    let stage = Stage::new(harness, "concurrent").await;
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (broker, channel) = (stage.broker.clone(), stage.channel.clone());
        publishers.spawn(async move {
            for number in 0..EACH {
                let text = format!("{publisher}.{number}");
                broker.publish(&channel, kept(&text)).await.expect("the publish is accepted");
                tokio::task::yield_now().await;
            }
        });
    }
    publishers.join_all().await;
    let seen = stage.seen(PUBLISHERS * EACH).await;
    let offsets: Vec<u64> = seen.iter().filter_map(|label| label.split(':').next()?.parse().ok()).collect();
    assert_eq!(offsets, (1..=400).collect::<Vec<u64>>());
    for publisher in 0..PUBLISHERS {
        let own = format!(":{publisher}.");
        assert_eq!(seen.iter().filter(|label| label.contains(&own)).count(), EACH);
    }
    assert_eq!(stage.offsets(all()).await, (301..=400).collect::<Vec<u64>>());
}

/// A publish that finds no room in time is refused as overloaded and has changed nothing: no offset, no
/// history, no idempotency key, no event.
pub async fn without_room_a_publish_changes_nothing(harness: &dyn Harness) {
    if !harness.waits_for_room() {
        return;
    }
    let stage = Stage::new(harness, "full").await;
    stage.publish_texts(&["a"]).await;
    let before = stage.top().await;
    stage.recorder.fill();
    let keyed = || Publish { idempotency_key: Some("k".to_owned()), ..kept("b") };
    assert!(matches!(stage.try_publish(keyed()).await, Err(Error::Overloaded(_))));
    assert!(matches!(stage.try_publish(live("c")).await, Err(Error::Overloaded(_))));
    let joined = stage.broker.publish_join(&stage.channel, client("c1", "ann")).await;
    assert!(matches!(joined, Err(Error::Overloaded(_))));
    assert_eq!(stage.top().await, before);
    stage.recorder.drain();
    assert_eq!(stage.publish(keyed()).await.outcome, Outcome::Accepted);
    assert_eq!(stage.seen(2).await, ["1:a", "2:b"]);
    assert!(stage.recorder.is_free());
}

/// A publish that finds no room at first succeeds when there is some in time.
pub async fn a_publish_waits_for_room(harness: &dyn Harness) {
    if !harness.waits_for_room() {
        return;
    }
    let stage = Stage::new(harness, "waits").await;
    stage.recorder.fill();
    let free = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(stage.recorder.events_so_far().is_empty());
        stage.recorder.drain();
    };
    let (published, ()) = tokio::join!(stage.publish(kept("a")), free);
    assert_eq!(published.outcome, Outcome::Accepted);
    assert_eq!(stage.seen(1).await, ["1:a"]);
    assert_eq!(stage.recorder.without_room(), 0);
}

/// A repeated or outdated publish gives its room back.
pub async fn room_is_given_back_by_what_delivers_nothing(harness: &dyn Harness) {
    let stage = Stage::new(harness, "gives-back").await;
    let versioned = |number| {
        let version = crate::Version { number, epoch: String::new() };
        Publish { idempotency_key: Some("k".to_owned()), version: Some(version), ..kept("a") }
    };
    stage.publish(versioned(2)).await;
    assert_eq!(stage.publish(versioned(3)).await.outcome, Outcome::Repeated);
    let outdated = Publish { idempotency_key: None, ..versioned(1) };
    assert_eq!(stage.publish(outdated).await.outcome, Outcome::Outdated);
    assert_eq!(stage.seen(1).await, ["1:a"]);
    assert!(stage.recorder.is_free());
}

/// Offsets belong to their channel.
pub async fn channels_have_offsets_of_their_own(harness: &dyn Harness) {
    let stage = Stage::new(harness, "one").await;
    let other = harness.channel("other");
    stage.listen(&other).await;
    stage.publish_texts(&["a", "b"]).await;
    stage.broker.publish(&other, kept("c")).await.expect("the publish is accepted");
    stage.publish_texts(&["d"]).await;
    let events = stage.recorder.events(4).await;
    let of = |channel| events.iter().filter(|event| event.channel() == channel).map(label).collect::<Vec<_>>();
    assert_eq!(of(&stage.channel), ["1:a", "2:b", "3:d"]);
    assert_eq!(of(&other), ["1:c"]);
}

/// Commands reach the node, and its report and channels are in the answers.
pub async fn commands_and_reports_go_to_the_node(harness: &dyn Harness) {
    let stage = Stage::new(harness, "node").await;
    let target = Target { user: Some("ann".to_owned()), ..Target::default() };
    let disconnect = Control::Disconnect(target.clone(), Disconnect::FORCE_DISCONNECT, Vec::new());
    stage.broker.control(disconnect).await.expect("the command is carried out");
    let unsubscribe = Control::Unsubscribe(target, stage.channel.clone(), Unsubscribe::SERVER);
    stage.broker.control(unsubscribe).await.expect("the command is carried out");
    assert_eq!(stage.node.commands(), 2);
    let nodes = stage.broker.nodes().await.expect("the nodes report");
    assert!(nodes.iter().any(|report| report.uid == Node::UID));
    let channels = stage.broker.channels(None).await.expect("the nodes list their channels");
    assert_eq!(channels.get(Node::CHANNEL.0), Some(&Node::CHANNEL.1));
}
