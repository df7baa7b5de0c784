//! Which publications a subscription is sent, by their tags.

use super::message;

message! {
    /// A condition on tags: a comparison, or other conditions joined.
    pub struct FilterNode {
        /// `and`, `or` or `not` to join `nodes`; empty to compare.
        #[prost(string, tag = "1")]
        pub op: String,
        /// The tag to compare.
        #[prost(string, tag = "2")]
        pub key: String,
        /// The comparison.
        #[prost(string, tag = "3")]
        pub cmp: String,
        /// What to compare with.
        #[prost(string, tag = "4")]
        pub val: String,
        /// What to compare with, where it is a set.
        #[prost(string, repeated, tag = "5")]
        pub vals: Vec<String>,
        /// The conditions joined.
        #[prost(message, repeated, tag = "6")]
        pub nodes: Vec<FilterNode>,
    }
}
