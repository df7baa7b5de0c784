//! Who is in a channel, kept in Redis, by its clock.
//!
//! Three keys for a channel: the members, when each one's time is over, and how many clients each user has, so that
//! counting costs the same for any number of members. Each call removes first what is over. An entry that a node does
//! not refresh is gone after its lifetime, whatever became of the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_broker::PresenceStats;
use fanfare_protocol::{Channel, ClientInfo};
use prost::Message;

use crate::envelope;
use crate::fault::Fault;
use crate::keys::Keys;
use crate::publisher::millis;
use crate::routes::Routes;
use crate::script::{self, Call};
use crate::slots::Slot;

/// Presence in Redis.
pub(crate) struct Rosters {
    pub(crate) keys: Arc<Keys>,
    pub(crate) routes: Arc<Routes>,
}

impl Rosters {
    pub(crate) async fn add(&self, channel: &Channel, info: &ClientInfo, ttl: Duration) -> Result<(), Fault> {
        let call = Call::new(&script::PRESENCE_ADD, &self.keys.presence(channel));
        let call = call.arg(&info.client).arg(entry(info)).arg(millis(ttl));
        self.routes.call::<i64>(self.slot(channel), &call).await.map(drop)
    }

    pub(crate) async fn remove(&self, channel: &Channel, client: &str) -> Result<(), Fault> {
        let call = Call::new(&script::PRESENCE_REMOVE, &self.keys.presence(channel)).arg(client);
        self.routes.call::<i64>(self.slot(channel), &call).await.map(drop)
    }

    pub(crate) async fn members(&self, channel: &Channel) -> Result<BTreeMap<String, Arc<ClientInfo>>, Fault> {
        let call = Call::new(&script::PRESENCE_READ, &self.keys.presence(channel)).arg("all");
        let entries: Vec<Vec<u8>> = self.routes.call(self.slot(channel), &call).await?;
        let members = entries.iter().filter_map(|entry| read_entry(entry));
        Ok(members.map(|info| (info.client.clone(), Arc::new(info))).collect())
    }

    pub(crate) async fn stats(&self, channel: &Channel) -> Result<PresenceStats, Fault> {
        let call = Call::new(&script::PRESENCE_READ, &self.keys.presence(channel)).arg("counts");
        let (clients, users) = self.routes.call(self.slot(channel), &call).await?;
        Ok(PresenceStats { clients, users })
    }
}

impl Rosters {
    fn slot(&self, channel: &Channel) -> Slot {
        let [members, ..] = self.keys.presence(channel);
        self.keys.slot(&members)
    }
}

/// The user's id with its length, which scripts read, and the whole.
fn entry(info: &ClientInfo) -> Vec<u8> {
    let mut entry = format!("{}:{}", info.user.len(), info.user).into_bytes();
    info.encode_raw(&mut entry);
    entry
}

fn read_entry(entry: &[u8]) -> Option<ClientInfo> {
    let colon = entry.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&entry[..colon]).ok()?.parse().ok()?;
    let info = entry.get(colon.checked_add(length)?.checked_add(1)?..)?;
    envelope::read_info(info).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_out_as_it_went_in() {
        for user in ["", "ann", "1:x", "ä"] {
            let info = ClientInfo { client: "c".to_owned(), user: user.to_owned(), ..ClientInfo::default() };
            assert_eq!(read_entry(&entry(&info)), Some(info));
        }
    }

    #[test]
    fn entries_that_are_not_ours_are_none() {
        for bytes in [&b""[..], b"x", b":", b"9:a", b"99999999999999999999:a", b"18446744073709551615:a", b"0:\xff"] {
            assert_eq!(read_entry(bytes), None);
        }
    }
}
