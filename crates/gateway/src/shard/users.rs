//! The sessions of each user on one shard.

use std::collections::HashMap;
use std::sync::Arc;

use crate::slots::SlotId;
use crate::users::{ById, User};

/// Users with sessions here.
#[derive(Debug, Default)]
pub(super) struct Users(HashMap<ById, Sessions>);

/// The sessions of one user; most have one, which needs no list.
#[derive(Debug)]
enum Sessions {
    One(SlotId),
    Several(Vec<SlotId>),
}

/// What taking a session out has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It was the only one here.
    Last,
    /// This one has taken its place, if any did.
    Moved(Option<SlotId>),
}

impl Users {
    /// Adds a session; returns its place among those of its user.
    pub(super) fn add(&mut self, user: &Arc<User>, session: SlotId) -> u32 {
        let Some(sessions) = self.0.get_mut(user.id()) else {
            self.0.insert(ById(Arc::clone(user)), Sessions::One(session));
            return 0;
        };
        match sessions {
            Sessions::One(first) => {
                *sessions = Sessions::Several(vec![*first, session]);
                1
            }
            Sessions::Several(several) => {
                several.push(session);
                u32::try_from(several.len() - 1).expect("a shard's sessions are bounded far below 2^32")
            }
        }
    }

    /// Takes the session at a place out, in constant time.
    pub(super) fn remove(&mut self, user: &str, at: u32) -> Left {
        let at = at as usize;
        if let Some(Sessions::Several(several)) = self.0.get_mut(user)
            && several.len() > 1
        {
            several.swap_remove(at);
            return Left::Moved(several.get(at).copied());
        }
        self.0.remove(user);
        Left::Last
    }

    /// The sessions of a user.
    pub(super) fn of(&self, user: &str) -> &[SlotId] {
        match self.0.get(user) {
            None => &[],
            Some(Sessions::One(session)) => std::slice::from_ref(session),
            Some(Sessions::Several(several)) => several,
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(index: u32) -> SlotId {
        SlotId { index, generation: 0 }
    }

    #[test]
    fn a_session_keeps_its_place_until_the_last_one_takes_that_of_another() {
        let (mut users, user) = (Users::default(), Arc::new(User::new("42")));
        assert_eq!([1, 2, 3].map(|index| users.add(&user, slot(index))), [0, 1, 2]);
        assert_eq!(users.remove("42", 0), Left::Moved(Some(slot(3))));
        assert_eq!(users.of("42"), [slot(3), slot(2)]);
        assert_eq!(users.remove("42", 1), Left::Moved(None));
        assert_eq!(users.remove("42", 0), Left::Last);
        assert!(users.of("42").is_empty() && users.is_empty());
        users.add(&user, slot(4));
        assert_eq!(users.of("42"), [slot(4)]);
        assert_eq!(users.remove("42", 0), Left::Last);
        assert!(users.is_empty());
    }
}
