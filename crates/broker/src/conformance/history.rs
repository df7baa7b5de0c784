//! Cases on what is kept, and how it is read.

use super::Harness;
use super::stage::{RETENTION, Stage, above, all, below, kept, live};
use crate::{Error, HistoryQuery, Publish, Retention, Since, StreamPosition};

/// Before anything was published the position is offset 0 under an epoch that the first publication continues.
pub async fn the_epoch_is_there_before_the_first_publication(harness: &dyn Harness) {
    let stage = Stage::new(harness, "silent").await;
    let before = stage.top().await;
    assert_eq!(before.offset, 0);
    assert!(!before.epoch.is_empty());
    assert_eq!(stage.top().await, before);
    let since = Since { offset: 0, epoch: before.epoch.to_string() };
    let history = stage.history(HistoryQuery { since: Some(since.clone()), ..all() }).await;
    assert!(history.publications.is_empty());
    let published = stage.publish(kept("a")).await;
    assert_eq!(published.position, Some(StreamPosition { offset: 1, epoch: before.epoch }));
    assert_eq!(stage.offsets(HistoryQuery { since: Some(since), ..all() }).await, [1]);
}

/// Without retention a publication arrives without a position and is not kept.
pub async fn live_publications_have_no_position(harness: &dyn Harness) {
    let stage = Stage::new(harness, "live").await;
    assert_eq!(stage.publish(live("a")).await.position, None);
    assert_eq!(stage.seen(1).await, ["-:a"]);
    let history = stage.history(all()).await;
    assert_eq!((history.publications.len(), history.top.offset), (0, 0));
}

/// History keeps as many publications as it is told, the newest, and follows when it is told another number.
pub async fn history_keeps_the_newest(harness: &dyn Harness) {
    let stage = Stage::new(harness, "newest").await;
    let sized = |size| Publish { retention: Some(Retention { size, ..RETENTION }), ..kept("x") };
    for _ in 0..5 {
        stage.publish(sized(3)).await;
    }
    assert_eq!(stage.offsets(all()).await, [3, 4, 5]);
    stage.publish(sized(2)).await;
    assert_eq!(stage.offsets(all()).await, [5, 6]);
    stage.publish(sized(4)).await;
    stage.publish(sized(4)).await;
    assert_eq!(stage.offsets(all()).await, [5, 6, 7, 8]);
}

/// Forward pages follow one another by `since`.
pub async fn history_pages_forward(harness: &dyn Harness) {
    let stage = Stage::new(harness, "forward").await;
    stage.publish_texts(&["a", "b", "c", "d", "e"]).await;
    let page = |since: Option<u64>| {
        let since = since.map(|offset| Since { offset, epoch: String::new() });
        HistoryQuery { limit: 2, since, reverse: false }
    };
    assert_eq!(stage.read(page(None)).await, [(1, "a".to_owned()), (2, "b".to_owned())]);
    assert_eq!(stage.offsets(page(Some(2))).await, [3, 4]);
    assert_eq!(stage.offsets(page(Some(4))).await, [5]);
    assert_eq!(stage.offsets(page(Some(5))).await, [0; 0]);
    assert_eq!(stage.history(page(None)).await.top.offset, 5);
}

/// Reverse pages begin with the newest and follow one another by `since`.
pub async fn history_pages_in_reverse(harness: &dyn Harness) {
    let stage = Stage::new(harness, "reverse").await;
    stage.publish_texts(&["a", "b", "c", "d", "e"]).await;
    let page = |since: Option<u64>| {
        let since = since.map(|offset| Since { offset, epoch: String::new() });
        HistoryQuery { limit: 2, since, reverse: true }
    };
    assert_eq!(stage.read(page(None)).await, [(5, "e".to_owned()), (4, "d".to_owned())]);
    assert_eq!(stage.offsets(page(Some(4))).await, [3, 2]);
    assert_eq!(stage.offsets(page(Some(2))).await, [1]);
    assert_eq!(stage.offsets(page(Some(1))).await, [0; 0]);
    assert_eq!(stage.history(page(None)).await.top.offset, 5);
}

/// The offset of `since` is not part of the answer, in either direction.
pub async fn history_since_leaves_out_its_offset(harness: &dyn Harness) {
    let stage = Stage::new(harness, "since").await;
    stage.publish_texts(&["a", "b", "c"]).await;
    assert_eq!(stage.offsets(above(0)).await, [1, 2, 3]);
    assert_eq!(stage.offsets(above(1)).await, [2, 3]);
    assert_eq!(stage.offsets(above(3)).await, [0; 0]);
    assert_eq!(stage.offsets(above(u64::MAX)).await, [0; 0]);
    assert_eq!(stage.offsets(below(3)).await, [2, 1]);
    assert_eq!(stage.offsets(below(1)).await, [0; 0]);
}

/// Limit 0 reads the position and no publication.
pub async fn history_with_limit_zero_is_the_position(harness: &dyn Harness) {
    let stage = Stage::new(harness, "limit-zero").await;
    stage.publish_texts(&["a", "b"]).await;
    for query in [above(0), below(2), all()] {
        let history = stage.history(HistoryQuery { limit: 0, ..query }).await;
        assert_eq!((history.publications.len(), history.top.offset), (0, 2));
    }
}

/// A position of another epoch is refused, with limit 0 too; the right one and none are accepted.
pub async fn history_of_another_epoch_is_refused(harness: &dyn Harness) {
    let stage = Stage::new(harness, "epochs").await;
    let query = |limit, epoch: &str| {
        let since = Since { offset: 1, epoch: epoch.to_owned() };
        HistoryQuery { limit, since: Some(since), reverse: false }
    };
    for published in [false, true] {
        if published {
            stage.publish_texts(&["a", "b"]).await;
        }
        for limit in [0, 10] {
            let refused = stage.try_history(query(limit, "of another life")).await;
            assert_eq!(refused.expect_err("another epoch is refused"), Error::UnrecoverablePosition);
        }
        assert!(stage.try_history(query(10, "")).await.is_ok());
    }
    let epoch = stage.top().await.epoch;
    assert_eq!(stage.offsets(query(10, &epoch)).await, [2]);
}

/// A forward read from below what is kept is no error: it begins with what is left.
pub async fn history_since_a_trimmed_offset_begins_with_what_is_left(harness: &dyn Harness) {
    let stage = Stage::new(harness, "trimmed").await;
    let two = || Publish { retention: Some(Retention { size: 2, ..RETENTION }), ..kept("x") };
    for _ in 0..5 {
        stage.publish(two()).await;
    }
    assert_eq!(stage.offsets(above(1)).await, [4, 5]);
    assert_eq!(stage.offsets(below(2)).await, [0; 0]);
    assert_eq!(stage.offsets(below(5)).await, [4]);
}

/// Nothing is below offset 0, so nobody can mean it.
pub async fn reverse_since_zero_is_refused(harness: &dyn Harness) {
    let stage = Stage::new(harness, "reverse-zero").await;
    for limit in [0, 10] {
        let refused = stage.try_history(HistoryQuery { limit, ..below(0) }).await;
        assert!(matches!(refused, Err(Error::BadRequest(_))));
    }
    stage.publish_texts(&["a"]).await;
    assert!(matches!(stage.try_history(below(0)).await, Err(Error::BadRequest(_))));
}

/// A reverse read may begin just above the top, not further up.
pub async fn reverse_from_beyond_the_top_is_empty(harness: &dyn Harness) {
    let stage = Stage::new(harness, "beyond").await;
    stage.publish_texts(&["a", "b"]).await;
    assert_eq!(stage.offsets(below(3)).await, [2, 1]);
    assert_eq!(stage.offsets(below(4)).await, [0; 0]);
    assert_eq!(stage.offsets(below(u64::MAX)).await, [0; 0]);
}

/// With `skip_history` a publication takes no offset although its neighbours do.
pub async fn skip_history_publishes_live_only(harness: &dyn Harness) {
    let stage = Stage::new(harness, "skip").await;
    stage.publish_texts(&["a"]).await;
    let skipped = stage.publish(Publish { skip_history: true, ..kept("b") }).await;
    assert_eq!(skipped.position, None);
    stage.publish_texts(&["c"]).await;
    assert_eq!(stage.seen(3).await, ["1:a", "-:b", "2:c"]);
    assert_eq!(stage.offsets(all()).await, [1, 2]);
}

/// Removing history drops publications and nothing else.
pub async fn history_remove_keeps_the_position(harness: &dyn Harness) {
    let stage = Stage::new(harness, "removed").await;
    stage.broker.history_remove(&stage.channel).await.expect("removing nothing succeeds");
    stage.publish_texts(&["a", "b"]).await;
    let before = stage.top().await;
    stage.broker.history_remove(&stage.channel).await.expect("history is removed");
    assert_eq!(stage.offsets(all()).await, [0; 0]);
    assert_eq!(stage.top().await, before);
    stage.publish_texts(&["c"]).await;
    assert_eq!(stage.read(all()).await, [(3, "c".to_owned())]);
    assert_eq!(stage.top().await.epoch, before.epoch);
}
