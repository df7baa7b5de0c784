//! A part of the node breaks: a panic while a session is served, a shard that stands still.

use std::time::Duration;

use fanfare_gateway::Options;
use fanfare_testkit::bad_input::case;
use fanfare_testkit::patience::eventually;
use fanfare_testkit::{BLOCKS, Bare, Client, Moods, PANICS, json, on_1_and_3_shards};

on_1_and_3_shards!(a_panic_ends_one_session, a_shard_that_stands_still_is_found_and_the_others_go_on);

async fn bare(test: &str, shards: usize) -> Bare {
    let options = Options { shards, allow_anonymous: true, ..Options::default() };
    Bare::start(test, options, Moods { delay_max: Duration::ZERO, failures_percent: 0 }).await
}

async fn listener(bare: &Bare) -> Client {
    let mut client = bare.client().connect().await;
    client.subscribe("news").await;
    client
}

async fn hears(bare: &Bare, client: &mut Client) {
    bare.publisher("news").publish().await;
    client.expect_publication("news").await;
}

async fn a_panic_ends_one_session(shards: usize) {
    let bare = bare("a_panic_ends_one_session", shards).await;
    let mut canary = listener(&bare).await;
    for count in 1..=3 {
        let mut victim = bare.client().connect().await;
        assert_eq!(victim.closed_by("subscribe", json!({"channel": PANICS})).await.0, case(117, "session").close());
        assert_eq!(bare.metric(case(117, "session").counter().0), f64::from(count));
        hears(&bare, &mut canary).await;
    }
    let one_is_left = || async { (bare.metric("fanfare_gateway_sessions") == 1.0).then_some(()) };
    eventually("the victims to be gone", one_is_left).await;
    assert_eq!(bare.metric("fanfare_gateway_subscriptions"), 1.0);
    assert!(bare.is_alive());
}

/// `/healthz` is what `is_alive` says.
async fn a_shard_that_stands_still_is_found_and_the_others_go_on(shards: usize) {
    let bare = bare("a_shard_that_stands_still", shards).await;
    let mut blocker = bare.client().connect().await;
    let mut canary = listener(&bare).await;
    blocker.subscribe(BLOCKS).await;
    assert!(bare.is_alive());
    let id = blocker.command(json!({"unsubscribe": {"channel": BLOCKS}})).await;
    let found = || async { (!bare.is_alive()).then_some(()) };
    if shards == 1 {
        eventually("the shard to be missed", found).await;
    } else {
        // The canary is on another shard.
        hears(&bare, &mut canary).await;
        eventually("the shard to be missed", found).await;
        hears(&bare, &mut canary).await;
        assert!(!bare.is_alive());
    }
    case(116, "shard").is_fine();
    let (age, _) = case(116, "shard").counter();
    assert!(bare.metric(age) >= 5.0);
    blocker.expect_reply(id).await;
    eventually("the shard to be back", || async { bare.is_alive().then_some(()) }).await;
    hears(&bare, &mut canary).await;
    assert!(bare.metric(age) < 5.0);
    canary.close().await;
}
