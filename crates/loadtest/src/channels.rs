//! The channels of a run, and who subscribes to which.

/// Names and places of the channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Channels {
    prefix: String,
    count: u32,
    /// Subscriptions of each connection.
    each: u32,
}

impl Channels {
    /// `count` channels, of which every connection subscribes to `each`.
    pub(crate) fn new(prefix: &str, count: u32, each: u32) -> Self {
        Self { prefix: prefix.to_owned(), count, each: each.min(count) }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The name of a channel: the prefix alone if there is only one.
    pub(crate) fn name(&self, channel: u32) -> String {
        if self.count == 1 { self.prefix.clone() } else { format!("{}-{channel}", self.prefix) }
    }

    /// The number of a channel by its name.
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        if self.count == 1 {
            return (name == self.prefix).then_some(0);
        }
        let number = name.strip_prefix(self.prefix.as_str())?.strip_prefix('-')?;
        number.parse().ok().filter(|number| *number < self.count)
    }

    /// The channels of a connection: neighbours, so that all channels get as many subscribers.
    pub(crate) fn of(&self, connection: usize) -> impl Iterator<Item = u32> + '_ {
        let first = (connection as u64 * u64::from(self.each)) % u64::from(self.count.max(1));
        (0..self.each).map(move |step| ((first + u64::from(step)) % u64::from(self.count)) as u32)
    }

    /// Which of a connection's subscriptions is to this channel.
    pub(crate) fn place(&self, connection: usize, channel: u32) -> Option<usize> {
        let first = (connection as u64 * u64::from(self.each)) % u64::from(self.count.max(1));
        let step = (u64::from(channel) + u64::from(self.count) - first) % u64::from(self.count.max(1));
        (channel < self.count && step < u64::from(self.each)).then_some(step as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_as_many_subscribers_and_places_are_found_again() {
        let channels = Channels::new("bench", 10, 3);
        let mut subscribers = [0; 10];
        for connection in 0..20 {
            for (place, channel) in channels.of(connection).enumerate() {
                subscribers[channel as usize] += 1;
                assert_eq!(channels.place(connection, channel), Some(place));
            }
        }
        assert_eq!(subscribers, [6; 10]);
        assert_eq!(channels.place(0, 3), None);
        assert_eq!(channels.place(0, 10), None);
    }

    #[test]
    fn names_are_read_back() {
        let many = Channels::new("bench", 10, 1);
        assert_eq!(many.number(&many.name(7)), Some(7));
        assert_eq!(many.number("bench-10"), None);
        let one = Channels::new("bench", 1, 1);
        assert_eq!((one.name(0).as_str(), one.number("bench")), ("bench", Some(0)));
    }
}
