//! Tests of the shard, with time passed in.
