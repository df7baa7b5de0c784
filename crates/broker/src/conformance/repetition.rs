//! Cases on publishes that come twice, or late: idempotency keys and versions.

use tokio::task::JoinSet;

use super::Harness;
use super::stage::{Stage, all, kept, live};
use crate::{Outcome, Publish, Version};

fn keyed(publish: Publish, key: &str) -> Publish {
    Publish { idempotency_key: Some(key.to_owned()), ..publish }
}

fn versioned(text: &str, number: u64, epoch: &str) -> Publish {
    Publish { version: Some(Version { number, epoch: epoch.to_owned() }), ..kept(text) }
}

/// A repeated key gets the first result; another key, or none, publishes.
pub async fn a_repeated_key_publishes_once(harness: &dyn Harness) {
    let stage = Stage::new(harness, "keys").await;
    let first = stage.publish(keyed(kept("a"), "k")).await;
    stage.publish_texts(&["b"]).await;
    let repeated = stage.publish(keyed(kept("c"), "k")).await;
    assert_eq!(repeated.outcome, Outcome::Repeated);
    assert_eq!(repeated.position, first.position);
    assert_eq!(stage.publish(keyed(kept("d"), "other")).await.outcome, Outcome::Accepted);
    stage.publish_texts(&["e", "e"]).await;
    assert_eq!(stage.seen(5).await, ["1:a", "2:b", "3:d", "4:e", "5:e"]);
}

/// Keys hold for live publications too.
pub async fn a_repeated_key_publishes_once_without_history(harness: &dyn Harness) {
    let stage = Stage::new(harness, "live-keys").await;
    assert_eq!(stage.publish(keyed(live("a"), "k")).await.outcome, Outcome::Accepted);
    let repeated = stage.publish(keyed(live("b"), "k")).await;
    assert_eq!((repeated.outcome, repeated.position), (Outcome::Repeated, None));
    stage.publish(live("c")).await;
    assert_eq!(stage.seen(2).await, ["-:a", "-:c"]);
}

/// The same key in two channels is two keys.
pub async fn keys_belong_to_their_channel(harness: &dyn Harness) {
    let stage = Stage::new(harness, "here").await;
    let there = harness.channel("there");
    stage.publish(keyed(kept("a"), "k")).await;
    let published = stage.broker.publish(&there, keyed(kept("b"), "k")).await.expect("the publish is accepted");
    assert_eq!(published.outcome, Outcome::Accepted);
}

/// Publishes with the same key at the same time make one publication. Run it on several threads too.
pub async fn concurrent_publishes_with_one_key_publish_once(harness: &dyn Harness) {
    let stage = Stage::new(harness, "same-key").await;
    let mut publishers = JoinSet::new();
    for _ in 0..16 {
        let (broker, channel) = (stage.broker.clone(), stage.channel.clone());
        publishers.spawn(async move { broker.publish(&channel, keyed(kept("a"), "k")).await });
    }
    let results = publishers.join_all().await;
    let published: Vec<_> = results.into_iter().map(|result| result.expect("the publish is answered")).collect();
    assert_eq!(published.iter().filter(|published| published.outcome == Outcome::Accepted).count(), 1);
    assert!(published.iter().all(|other| other.position == published[0].position));
    stage.publish_texts(&["b"]).await;
    assert_eq!(stage.seen(2).await, ["1:a", "2:b"]);
}

/// After five minutes a key publishes again, not before.
pub async fn keys_are_forgotten_after_five_minutes(harness: &dyn Harness) {
    let stage = Stage::new(harness, "forgotten").await;
    stage.publish(keyed(kept("a"), "k")).await;
    if !stage.advance(295).await {
        return;
    }
    assert_eq!(stage.publish(keyed(kept("b"), "k")).await.outcome, Outcome::Repeated);
    if !stage.advance(6).await {
        return;
    }
    assert_eq!(stage.publish(keyed(kept("c"), "k")).await.outcome, Outcome::Accepted);
    assert_eq!(stage.seen(2).await, ["1:a", "2:c"]);
}

/// What is not above the highest version is ignored and answered with the top; what is above is published.
pub async fn lower_versions_are_ignored(harness: &dyn Harness) {
    let stage = Stage::new(harness, "versions").await;
    assert_eq!(stage.publish(versioned("a", 5, "e")).await.outcome, Outcome::Accepted);
    for number in [5, 4, 1] {
        let ignored = stage.publish(versioned("late", number, "e")).await;
        assert_eq!(ignored.outcome, Outcome::Outdated);
        assert_eq!(ignored.position, Some(stage.top().await));
    }
    assert_eq!(stage.publish(versioned("b", 6, "e")).await.outcome, Outcome::Accepted);
    assert_eq!(stage.seen(2).await, ["1:a", "2:b"]);
    let versions: Vec<u64> = stage.history(all()).await.publications.iter().map(|kept| kept.version).collect();
    assert_eq!(versions, [5, 6]);
}

/// A publication without a version does not reset the guard, nor does one that was ignored, nor a removal.
pub async fn versions_are_compared_with_the_highest(harness: &dyn Harness) {
    let stage = Stage::new(harness, "highest").await;
    stage.publish(versioned("a", 5, "")).await;
    stage.publish(versioned("late", 2, "")).await;
    stage.publish_texts(&["b"]).await;
    assert_eq!(stage.publish(versioned("late", 3, "")).await.outcome, Outcome::Outdated);
    stage.broker.history_remove(&stage.channel).await.expect("history is removed");
    assert_eq!(stage.publish(versioned("late", 4, "")).await.outcome, Outcome::Outdated);
    assert_eq!(stage.publish(versioned("c", 6, "")).await.outcome, Outcome::Accepted);
    assert_eq!(stage.seen(3).await, ["1:a", "2:b", "3:c"]);
}

/// Each version epoch has a highest version of its own, the empty one too.
pub async fn versions_of_another_epoch_are_not_compared(harness: &dyn Harness) {
    let stage = Stage::new(harness, "version-epochs").await;
    for (text, number, epoch) in [("a", 5, "x"), ("b", 1, "y"), ("c", 1, "")] {
        assert_eq!(stage.publish(versioned(text, number, epoch)).await.outcome, Outcome::Accepted);
    }
    for (number, epoch) in [(5, "x"), (1, "y"), (1, "")] {
        assert_eq!(stage.publish(versioned("late", number, epoch)).await.outcome, Outcome::Outdated);
    }
    assert_eq!(stage.publish(versioned("d", 6, "x")).await.outcome, Outcome::Accepted);
    assert_eq!(stage.seen(4).await, ["1:a", "2:b", "3:c", "4:d"]);
}

/// Without history there is nothing to compare with: every version is published.
pub async fn versions_without_history_are_not_compared(harness: &dyn Harness) {
    let stage = Stage::new(harness, "live-versions").await;
    for number in [5, 4] {
        let publish = Publish { retention: None, ..versioned("a", number, "e") };
        assert_eq!(stage.publish(publish).await.outcome, Outcome::Accepted);
        let publish = Publish { skip_history: true, ..versioned("b", number, "e") };
        assert_eq!(stage.publish(publish).await.outcome, Outcome::Accepted);
    }
    assert_eq!(stage.publish(versioned("c", 1, "e")).await.outcome, Outcome::Accepted);
    assert_eq!(stage.seen(5).await, ["-:a", "-:b", "-:a", "-:b", "1:c"]);
}

/// What was ignored may be sent again with the same key and a higher version.
pub async fn an_outdated_publish_does_not_use_its_key_up(harness: &dyn Harness) {
    let stage = Stage::new(harness, "outdated-key").await;
    stage.publish(versioned("a", 5, "")).await;
    assert_eq!(stage.publish(keyed(versioned("late", 4, ""), "k")).await.outcome, Outcome::Outdated);
    assert_eq!(stage.publish(keyed(versioned("b", 6, ""), "k")).await.outcome, Outcome::Accepted);
    assert_eq!(stage.seen(2).await, ["1:a", "2:b"]);
}
