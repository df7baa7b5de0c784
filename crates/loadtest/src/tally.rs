//! What one subscription has received of what was published: each publication once, in order, or what is wrong with it.
//!
//! The publications of a channel are numbered from 0 as they were published, over one connection, so this is the order
//! in which a server that keeps order delivers them. In the good case a look at one number is all there is to do.

mod holes;

use std::ops::Range;

use holes::Holes;

/// How a publication arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next one, or the first after a hole.
    InOrder,
    /// It need not have come: it was published while nobody was subscribed.
    Optional {
        /// Or after a later one.
        in_order: bool,
    },
    /// It came after a later one.
    Reordered,
    /// It had come before.
    Doubled,
}

/// What a subscription has received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// The first number that is not accounted for: all before have arrived or lie in a hole.
    next: u32,
    /// Numbers before `next` that have not arrived.
    holes: Holes,
    /// Numbers before `next` that may come and need not: they were published while nobody was subscribed.
    optional: Range<u32>,
    /// Whether the subscription was ended on purpose, and what comes until it is live again is not expected.
    parted: bool,
}

impl Tally {
    /// Takes a publication in.
    pub(crate) fn take(&mut self, number: u32) -> Arrival {
        if number == self.next {
            self.next += 1;
            return Arrival::InOrder;
        }
        if number > self.next {
            self.holes.open(self.next..number);
            self.next = number + 1;
            return Arrival::InOrder;
        }
        if self.optional.contains(&number) {
            let in_order = self.next == self.optional.end;
            self.optional.start = number + 1;
            return Arrival::Optional { in_order };
        }
        if self.holes.fill(number) { Arrival::Reordered } else { Arrival::Doubled }
    }

    /// The subscription ends on purpose, without a position to come back to: what is published until it is live again is
    /// not expected. If it never is, it is.
    pub(crate) fn part(&mut self) {
        self.parted = true;
    }

    /// The subscription is live. If it was ended on purpose, it expects what is published from a number on; returns those that
    /// this leaves out.
    pub(crate) fn resume(&mut self, from: impl FnOnce() -> u32) -> Range<u32> {
        if !std::mem::take(&mut self.parted) {
            return 0..0;
        }
        let from = from().max(self.next);
        self.optional = self.next..from;
        self.next = from;
        self.optional.clone()
    }

    /// A publication is here. If the subscription was ended on purpose, and this is not the next one, it is live again, and does
    /// without those in between: they are returned.
    pub(crate) fn resume_before(&mut self, number: u32) -> Range<u32> {
        if self.parted && number > self.next { self.resume(|| number) } else { 0..0 }
    }

    /// The numbers that have not arrived, of `published` in all, in order.
    pub(crate) fn missing(&self, published: u32) -> impl Iterator<Item = u32> + '_ {
        self.holes.numbers().chain(self.next..published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(numbers: &[u32]) -> (Tally, Vec<Arrival>) {
        let mut tally = Tally::default();
        let arrivals = numbers.iter().map(|number| tally.take(*number)).collect();
        (tally, arrivals)
    }

    fn missing(tally: &Tally, published: u32) -> Vec<u32> {
        tally.missing(published).collect()
    }

    #[test]
    fn all_in_order_and_nothing_is_missing() {
        let (tally, arrivals) = taken(&[0, 1, 2]);
        assert_eq!(arrivals, [Arrival::InOrder; 3]);
        assert_eq!(missing(&tally, 3), [0_u32; 0]);
        assert_eq!(missing(&tally, 5), [3, 4]);
    }

    #[test]
    fn a_dropped_one_is_missing() {
        let (tally, _) = taken(&[0, 2, 3]);
        assert_eq!(missing(&tally, 4), [1]);
    }

    #[test]
    fn a_swapped_one_is_reordered_and_not_missing() {
        let (tally, arrivals) = taken(&[0, 4, 2, 1, 3, 5]);
        assert_eq!(arrivals.iter().filter(|arrival| **arrival == Arrival::Reordered).count(), 3);
        assert_eq!(missing(&tally, 6), [0_u32; 0]);
    }

    #[test]
    fn a_second_one_is_doubled_wherever_it_comes() {
        let (tally, arrivals) = taken(&[0, 0, 3, 1, 1]);
        assert_eq!(arrivals[1], Arrival::Doubled);
        assert_eq!(arrivals[4], Arrival::Doubled);
        assert_eq!(missing(&tally, 4), [2]);
    }

    #[test]
    fn what_comes_while_nobody_listens_is_not_expected() {
        let (mut tally, _) = taken(&[0, 1]);
        tally.part();
        assert_eq!(tally.resume(|| 7), 2..7);
        assert_eq!(missing(&tally, 9), [7, 8]);
        assert_eq!(tally.take(6), Arrival::Optional { in_order: true });
        assert_eq!(tally.take(7), Arrival::InOrder);
        assert_eq!(tally.take(5), Arrival::Doubled);
        assert_eq!(missing(&tally, 9), [8]);
    }

    #[test]
    fn defect_what_came_with_the_word_that_a_subscription_is_live_again_made_a_hole() {
        let (mut tally, _) = taken(&[0, 1]);
        tally.part();
        // It was on its way.
        assert!(tally.resume_before(2).is_empty());
        assert_eq!(tally.take(2), Arrival::InOrder);
        assert_eq!(tally.resume_before(7), 3..7);
        assert_eq!(tally.take(7), Arrival::InOrder);
        assert!(tally.resume(|| 9).is_empty());
        assert_eq!(missing(&tally, 9), [8]);
    }

    #[test]
    fn who_parts_and_never_comes_back_has_lost_the_rest() {
        let (mut tally, _) = taken(&[0, 1]);
        tally.part();
        assert_eq!(missing(&tally, 4), [2, 3]);
        assert!(tally.resume(|| 1).is_empty());
        assert_eq!(missing(&tally, 4), [2, 3]);
    }

    #[test]
    fn defect_of_many_holes_the_oldest_were_forgotten_and_not_lost() {
        let numbers: Vec<u32> = (0..20_000).filter(|number| number % 2 == 1).collect();
        let (mut tally, _) = taken(&numbers);
        assert_eq!(missing(&tally, 20_000), (0..20_000).step_by(2).collect::<Vec<_>>());
        assert_eq!(
            [tally.take(0), tally.take(0), tally.take(19_998)],
            [Arrival::Reordered, Arrival::Doubled, Arrival::Reordered]
        );
        assert_eq!(missing(&tally, 20_002).len(), 10_000);
    }
}
