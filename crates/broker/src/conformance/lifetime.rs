//! Cases on time: what expires, and what outlives it. Lifetimes are a few seconds, so that a harness may let
//! them pass for real.

use std::time::Duration;

use super::Harness;
use super::stage::{Stage, above, all, kept};
use crate::{Error, HistoryQuery, Publish, Retention, Since};

const TTL_SECONDS: u64 = 2;
const META_TTL_SECONDS: u64 = 6;

fn brief(text: &str) -> Publish {
    let (ttl, meta_ttl) = (Duration::from_secs(TTL_SECONDS), Duration::from_secs(META_TTL_SECONDS));
    Publish { retention: Some(Retention { size: 10, ttl, meta_ttl }), ..kept(text) }
}

/// A publication is gone after its ttl, not before. A broker may drop them one by one or all at once.
pub async fn publications_expire(harness: &dyn Harness) {
    let stage = Stage::new(harness, "expire").await;
    stage.publish(brief("a")).await;
    if !stage.advance(TTL_SECONDS / 2).await {
        return;
    }
    assert_eq!(stage.offsets(all()).await, [1]);
    if !stage.advance(TTL_SECONDS).await {
        return;
    }
    assert_eq!(stage.offsets(all()).await, [0; 0]);
}

/// Offset and epoch outlive the publications, and the next publication continues them.
pub async fn the_position_outlives_the_publications(harness: &dyn Harness) {
    let stage = Stage::new(harness, "outlive").await;
    stage.publish(brief("a")).await;
    let before = stage.top().await;
    if !stage.advance(TTL_SECONDS + 1).await {
        return;
    }
    assert_eq!(stage.top().await, before);
    stage.publish(brief("b")).await;
    assert_eq!(stage.read(all()).await, [(2, "b".to_owned())]);
    assert_eq!(stage.top().await.epoch, before.epoch);
}

/// After the meta ttl the channel begins again: offset 1, under an epoch that no position of before has, and
/// that the position at offset 0 already showed.
pub async fn the_position_expires_into_a_new_epoch(harness: &dyn Harness) {
    let stage = Stage::new(harness, "anew").await;
    let silent = stage.top().await;
    stage.publish(brief("a")).await;
    let before = stage.top().await;
    assert_eq!(before.epoch, silent.epoch);
    if !stage.advance(META_TTL_SECONDS + 1).await {
        return;
    }
    let after = stage.top().await;
    assert_eq!(after.offset, 0);
    assert_ne!(after.epoch, before.epoch);
    stage.publish(brief("b")).await;
    assert_eq!(stage.read(all()).await, [(1, "b".to_owned())]);
    assert_eq!(stage.top().await.epoch, after.epoch);
    for offset in [silent.offset, before.offset] {
        let since = Since { offset, epoch: before.epoch.to_string() };
        let refused = stage.try_history(HistoryQuery { since: Some(since), ..all() }).await;
        assert_eq!(refused.expect_err("the old life is over"), Error::UnrecoverablePosition);
    }
    let since = Since { offset: 0, epoch: after.epoch.to_string() };
    assert_eq!(stage.offsets(HistoryQuery { since: Some(since), ..all() }).await, [1]);
}

/// The first publication after the meta ttl begins anew by itself, without anybody having looked.
pub async fn publishing_after_the_meta_ttl_begins_anew(harness: &dyn Harness) {
    let stage = Stage::new(harness, "anew-unread").await;
    let before = stage.publish(brief("a")).await.position.expect("it is kept");
    if !stage.advance(META_TTL_SECONDS + 1).await {
        return;
    }
    let after = stage.publish(brief("b")).await.position.expect("it is kept");
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
}

/// The meta ttl counts from the last publication.
pub async fn publishing_prolongs_the_position(harness: &dyn Harness) {
    let stage = Stage::new(harness, "prolong").await;
    stage.publish(brief("a")).await;
    let epoch = stage.top().await.epoch;
    for number in 2..=4 {
        if !stage.advance(META_TTL_SECONDS - 2).await {
            return;
        }
        stage.publish(brief("b")).await;
        assert_eq!(stage.offsets(above(0)).await, [number]);
    }
    assert_eq!(stage.top().await.epoch, epoch);
}
