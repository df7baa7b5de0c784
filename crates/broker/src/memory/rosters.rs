//! Who is in which channel, for a part of the channels behind one lock of its own, so that a long list of
//! members does not hold up publishers.
//!
//! There is no budget here: entries are made for subscriptions only, whose number is bounded where they are
//! accepted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use fanfare_protocol::{Channel, ClientInfo};

use super::deadlines::Deadlines;
use crate::PresenceStats;

/// The rosters of a part of the channels.
#[derive(Debug, Default)]
pub(super) struct Rosters {
    rosters: HashMap<Channel, Roster>,
    /// One entry for each member, at its `wake_at`.
    deadlines: Deadlines<(Channel, Arc<str>)>,
}

/// One channel's members, and how many of them each user is.
#[derive(Debug, Default)]
struct Roster {
    members: HashMap<Arc<str>, Member>,
    users: HashMap<Box<str>, usize>,
}

#[derive(Debug)]
struct Member {
    info: Arc<ClientInfo>,
    expires_at: Instant,
    /// Never later than `expires_at`; a refresh moves that one only.
    wake_at: Instant,
}

impl Rosters {
    /// Adds or refreshes a client.
    pub(super) fn add(&mut self, channel: &Channel, info: Arc<ClientInfo>, expires_at: Instant) {
        let roster = self.rosters.entry(channel.clone()).or_default();
        let Some((client, member)) = roster.refreshed(&info, expires_at) else {
            let client: Arc<str> = info.client.as_str().into();
            roster.insert(client.clone(), Member { info, expires_at, wake_at: expires_at });
            return self.deadlines.schedule(expires_at, (channel.clone(), client));
        };
        if expires_at < member.wake_at {
            self.deadlines.cancel(member.wake_at, (channel.clone(), client.clone()));
            self.deadlines.schedule(expires_at, (channel.clone(), client));
            member.wake_at = expires_at;
        }
    }

    /// Removes a client, if it is there.
    pub(super) fn remove(&mut self, channel: &Channel, client: &str) {
        let Some(roster) = self.rosters.get_mut(channel) else {
            return;
        };
        let Some((client, member)) = roster.remove(client) else {
            return;
        };
        if roster.members.is_empty() {
            self.rosters.remove(channel);
        }
        self.deadlines.cancel(member.wake_at, (channel.clone(), client));
    }

    /// Everyone in the channel.
    pub(super) fn members(&mut self, channel: &Channel, now: Instant) -> Vec<Arc<ClientInfo>> {
        self.expire(now, usize::MAX);
        let members = self.rosters.get(channel).map(|roster| roster.members.values());
        members.into_iter().flatten().map(|member| member.info.clone()).collect()
    }

    /// Counts, in constant time.
    pub(super) fn stats(&mut self, channel: &Channel, now: Instant) -> PresenceStats {
        self.expire(now, usize::MAX);
        let counts = |roster: &Roster| PresenceStats { clients: roster.members.len(), users: roster.users.len() };
        self.rosters.get(channel).map(counts).unwrap_or_default()
    }

    /// Looks at most at `max` members that are due, and removes those whose time is over. Says whether there
    /// is more to do. Each member is looked at once per ttl, however often it is refreshed.
    pub(super) fn expire(&mut self, now: Instant, max: usize) -> bool {
        let mut handled = 0;
        while handled < max {
            let Some((channel, client)) = self.deadlines.pop_due(now) else {
                return false;
            };
            self.wake(channel, client, now);
            handled += 1;
        }
        true
    }

    fn wake(&mut self, channel: Channel, client: Arc<str>, now: Instant) {
        let Some(member) = self.rosters.get_mut(&channel).and_then(|roster| roster.members.get_mut(&client)) else {
            return;
        };
        if member.expires_at <= now {
            return self.remove(&channel, &client);
        }
        member.wake_at = member.expires_at;
        self.deadlines.schedule(member.wake_at, (channel, client));
    }
}

impl Roster {
    fn insert(&mut self, client: Arc<str>, member: Member) {
        self.add_user(&member.info.user);
        self.members.insert(client, member);
    }

    fn remove(&mut self, client: &str) -> Option<(Arc<str>, Member)> {
        let (client, member) = self.members.remove_entry(client)?;
        self.remove_user(&member.info.user);
        Some((client, member))
    }

    /// Takes a known client's new info and time.
    fn refreshed(&mut self, info: &Arc<ClientInfo>, expires_at: Instant) -> Option<(Arc<str>, &mut Member)> {
        let (client, known) = self.members.get_key_value(info.client.as_str())?;
        let client = client.clone();
        if known.info.user != info.user {
            let former = known.info.clone();
            self.remove_user(&former.user);
            self.add_user(&info.user);
        }
        let member = self.members.get_mut(&client)?;
        member.info = info.clone();
        member.expires_at = expires_at;
        Some((client, member))
    }

    fn add_user(&mut self, user: &str) {
        if let Some(count) = self.users.get_mut(user) {
            *count += 1;
            return;
        }
        self.users.insert(user.into(), 1);
    }

    fn remove_user(&mut self, user: &str) {
        let Some(count) = self.users.get_mut(user) else { return };
        *count -= 1;
        if *count == 0 {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn info(client: &str, user: &str) -> Arc<ClientInfo> {
        Arc::new(ClientInfo { client: client.to_owned(), user: user.to_owned(), ..ClientInfo::default() })
    }

    fn channel() -> Channel {
        Channel::parse("room").unwrap()
    }

    fn stats(clients: usize, users: usize) -> PresenceStats {
        PresenceStats { clients, users }
    }

    #[test]
    fn users_are_counted_once_whatever_their_clients_do() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let mut rosters = Rosters::default();
        for (client, user) in [("c1", "ann"), ("c2", "ann"), ("c3", "bob"), ("c3", "bob")] {
            rosters.add(&channel(), info(client, user), later);
        }
        assert_eq!(rosters.stats(&channel(), now), stats(3, 2));
        rosters.add(&channel(), info("c3", "ann"), later);
        assert_eq!(rosters.stats(&channel(), now), stats(3, 1));
        rosters.remove(&channel(), "c1");
        rosters.remove(&channel(), "c1");
        rosters.remove(&channel(), "nobody");
        assert_eq!(rosters.stats(&channel(), now), stats(2, 1));
    }

    #[test]
    fn a_client_that_comes_and_goes_leaves_nothing_behind() {
        let now = Instant::now();
        let mut rosters = Rosters::default();
        for seconds in 1..1000 {
            rosters.add(&channel(), info("c1", "ann"), now + Duration::from_secs(seconds));
            rosters.add(&channel(), info("c1", "ann"), now + Duration::from_secs(1000 - seconds));
            assert_eq!(rosters.deadlines.len(), 1);
            rosters.remove(&channel(), "c1");
        }
        assert_eq!(rosters.deadlines.len(), 0);
        assert!(rosters.rosters.is_empty());
    }

    #[test]
    fn refreshing_prolongs_and_a_shorter_time_counts_too() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut rosters = Rosters::default();
        rosters.add(&channel(), info("long", "ann"), at(10));
        rosters.add(&channel(), info("long", "ann"), at(30));
        rosters.add(&channel(), info("short", "bob"), at(30));
        rosters.add(&channel(), info("short", "bob"), at(5));
        assert_eq!(rosters.stats(&channel(), at(4)), stats(2, 2));
        assert_eq!(rosters.stats(&channel(), at(5)), stats(1, 1));
        assert_eq!(rosters.stats(&channel(), at(29)), stats(1, 1));
        assert_eq!(rosters.members(&channel(), at(29)).len(), 1);
        assert_eq!(rosters.members(&channel(), at(30)).len(), 0);
        assert!(rosters.rosters.is_empty());
    }

    #[test]
    fn expiry_stops_at_its_bound_and_says_that_there_is_more() {
        let now = Instant::now();
        let mut rosters = Rosters::default();
        for number in 0..10 {
            rosters.add(&channel(), info(&format!("c{number}"), "ann"), now);
        }
        assert!(rosters.expire(now, 4));
        assert_eq!(rosters.deadlines.len(), 6);
        assert!(!rosters.expire(now, 100));
        assert!(rosters.rosters.is_empty());
    }
}
