//! What sessions send, against what they may.

use super::Shard;
use crate::rates::{Charged, Reading};
use crate::slots::SlotId;
use crate::users::User;

impl Shard {
    /// Takes a command out of what its session and its user may send.
    pub(crate) fn charge_command(&mut self, id: SlotId, is_publish: bool) -> Charged {
        let Some(session) = self.sessions.get_mut(id) else { return Charged::Fine };
        let user = session.user.as_deref().and_then(User::sent).map(|sent| (sent, &self.options.user_rates));
        let charged = session.sent.charge_command(&self.options.session_rates, user, is_publish, self.now.millis);
        if let Charged::Over(excess) | Charged::TooMany(excess) = charged {
            self.stats.count_excess(excess);
        }
        charged
    }

    /// Takes what was read out of what its session and its user may send.
    pub(crate) fn charge_bytes(&mut self, id: SlotId, bytes: usize) -> Reading {
        let Some(session) = self.sessions.get_mut(id) else { return Reading::GoesOn };
        let user = session.user.as_deref().and_then(User::sent).map(|sent| (sent, &self.options.user_rates));
        let reading = session.sent.charge_bytes(&self.options.session_rates, user, bytes, self.now.millis);
        if let Reading::Pauses(_, excess) | Reading::TooMuch(excess) = reading {
            self.stats.count_excess(excess);
        }
        reading
    }
}
