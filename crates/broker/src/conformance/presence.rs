//! Cases on who is in a channel.

use std::time::Duration;

use super::Harness;
use super::stage::{Stage, client};
use crate::PresenceStats;

const TTL: Duration = Duration::from_secs(60);
const SHORT_TTL_SECONDS: u64 = 4;

impl Stage<'_> {
    async fn enter(&self, id: &str, user: &str, ttl: Duration) {
        self.broker.presence_add(&self.channel, client(id, user), ttl).await.expect("a client is added");
    }

    async fn leave(&self, id: &str) {
        self.broker.presence_remove(&self.channel, id).await.expect("a client is removed");
    }

    /// Everyone present as `client=user`.
    async fn present(&self) -> Vec<String> {
        let members = self.broker.presence(&self.channel).await.expect("presence is read");
        assert!(members.iter().all(|(id, info)| *id == info.client));
        members.values().map(|info| format!("{}={}", info.client, info.user)).collect()
    }

    async fn counts(&self) -> PresenceStats {
        self.broker.presence_stats(&self.channel).await.expect("presence is counted")
    }
}

/// Clients that were added are there, those that were removed are not.
pub async fn members_come_and_go(harness: &dyn Harness) {
    let stage = Stage::new(harness, "members").await;
    assert!(stage.present().await.is_empty());
    stage.leave("c1").await;
    stage.enter("c1", "ann", TTL).await;
    stage.enter("c2", "bob", TTL).await;
    assert_eq!(stage.present().await, ["c1=ann", "c2=bob"]);
    stage.leave("c1").await;
    assert_eq!(stage.present().await, ["c2=bob"]);
    stage.leave("c2").await;
    assert!(stage.present().await.is_empty());
}

/// A user is one user with however many clients; the anonymous user is one too; a refresh adds nobody.
pub async fn members_are_counted_by_client_and_user(harness: &dyn Harness) {
    let stage = Stage::new(harness, "counted").await;
    assert_eq!(stage.counts().await, PresenceStats::default());
    for (id, user) in [("c1", "ann"), ("c2", "ann"), ("c3", ""), ("c4", ""), ("c1", "ann")] {
        stage.enter(id, user, TTL).await;
    }
    assert_eq!(stage.counts().await, PresenceStats { clients: 4, users: 2 });
    stage.leave("c1").await;
    assert_eq!(stage.counts().await, PresenceStats { clients: 3, users: 2 });
    stage.leave("c2").await;
    stage.leave("c2").await;
    assert_eq!(stage.counts().await, PresenceStats { clients: 2, users: 1 });
}

/// An entry is gone after its ttl, unless it was added again.
pub async fn members_expire_unless_refreshed(harness: &dyn Harness) {
    let stage = Stage::new(harness, "members-expire").await;
    let ttl = Duration::from_secs(SHORT_TTL_SECONDS);
    stage.enter("c1", "ann", ttl).await;
    stage.enter("c2", "bob", ttl).await;
    if !stage.advance(SHORT_TTL_SECONDS / 2).await {
        return;
    }
    assert_eq!(stage.counts().await, PresenceStats { clients: 2, users: 2 });
    stage.enter("c2", "bob", ttl).await;
    if !stage.advance(SHORT_TTL_SECONDS / 2 + 1).await {
        return;
    }
    assert_eq!(stage.present().await, ["c2=bob"]);
    assert_eq!(stage.counts().await, PresenceStats { clients: 1, users: 1 });
}

/// A client may be in several channels, each for itself.
pub async fn presence_is_kept_by_channel(harness: &dyn Harness) {
    let stage = Stage::new(harness, "here").await;
    let there = Stage { channel: harness.channel("there"), harness, ..stage };
    there.enter("c1", "ann", TTL).await;
    let here = Stage { channel: harness.channel("here"), harness, ..there };
    assert!(here.present().await.is_empty());
    here.enter("c1", "ann", TTL).await;
    here.leave("c1").await;
    let there = Stage { channel: harness.channel("there"), harness, ..here };
    assert_eq!(there.present().await, ["c1=ann"]);
}
