//! A suite that every broker passes.
//!
//! A broker's crate writes a [`Harness`] and expands [`conformance!`](crate::conformance!) to one test per
//! case; each case builds a broker of its own. Not here: what only one kind of broker promises (budgets,
//! several nodes, lost connections); its own crate tests that.
//!
//! ```text
//! fanfare_broker::conformance!(MemoryHarness; #[tokio::test(start_paused = true)]);
//! ```

mod history;
mod lifetime;
mod order;
mod presence;
mod recorder;
mod repetition;
mod revocations;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fanfare_protocol::Channel;

pub use history::*;
pub use lifetime::*;
pub use order::*;
pub use presence::*;
pub use recorder::{Node, Recorder};
pub use repetition::*;
pub use revocations::*;

use crate::{Broker, NodeSink, PublicationSink};

/// What the suite needs to know of a kind of broker.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A broker that holds nothing and hands everything to these two.
    async fn broker(&self, sink: Arc<dyn PublicationSink>, node: Arc<dyn NodeSink>) -> Arc<dyn Broker>;

    /// Lets the broker's time pass. False if it cannot pass by so much; the case then ends early, passed.
    async fn advance(&self, by: Duration) -> bool;

    /// Whether a publish waits for room, and fails without: true for a broker that places publications itself.
    fn waits_for_room(&self) -> bool;

    /// A channel for one case. A harness whose brokers share a store makes the names unique.
    fn channel(&self, name: &str) -> Channel {
        Channel::parse(name).expect("the suite uses valid names")
    }
}

/// Expands to one test per case of the [suite](mod@crate::conformance). Takes an expression for the
/// [`Harness`](crate::conformance::Harness), then the attributes of the tests.
#[macro_export]
macro_rules! conformance {
    (@cases $attributes:tt $harness:tt) => {};
    (@cases {$($attributes:tt)*} {$harness:expr} $case:ident $($rest:ident)*) => {
        $($attributes)*
        async fn $case() {
            $crate::conformance::$case(&$harness).await;
        }
        $crate::conformance!(@cases {$($attributes)*} {$harness} $($rest)*);
    };
    ($harness:expr; $(#[$attribute:meta])*) => {
        $crate::conformance!(@cases {$(#[$attribute])*} {$harness}
            publications_arrive_in_order
            publications_arrive_whole
            joins_and_leaves_keep_their_place
            offsets_are_contiguous_under_concurrent_publishers
            without_room_a_publish_changes_nothing
            a_publish_waits_for_room
            room_is_given_back_by_what_delivers_nothing
            channels_have_offsets_of_their_own
            commands_and_reports_go_to_the_node
            the_epoch_is_there_before_the_first_publication
            live_publications_have_no_position
            history_keeps_the_newest
            history_pages_forward
            history_pages_in_reverse
            history_since_leaves_out_its_offset
            history_with_limit_zero_is_the_position
            history_of_another_epoch_is_refused
            history_since_a_trimmed_offset_begins_with_what_is_left
            reverse_since_zero_is_refused
            reverse_from_beyond_the_top_is_empty
            skip_history_publishes_live_only
            history_remove_keeps_the_position
            a_repeated_key_publishes_once
            a_repeated_key_publishes_once_without_history
            keys_belong_to_their_channel
            concurrent_publishes_with_one_key_publish_once
            keys_are_forgotten_after_five_minutes
            lower_versions_are_ignored
            versions_are_compared_with_the_highest
            versions_of_another_epoch_are_not_compared
            versions_without_history_are_not_compared
            an_outdated_publish_does_not_use_its_key_up
            publications_expire
            the_position_outlives_the_publications
            the_position_expires_into_a_new_epoch
            publishing_after_the_meta_ttl_begins_anew
            publishing_prolongs_the_position
            members_come_and_go
            members_are_counted_by_client_and_user
            members_expire_unless_refreshed
            presence_is_kept_by_channel
            revocations_come_and_go
            a_second_revocation_lets_no_older_token_in
            revoked_names_are_told_apart
        );
    };
}
