//! What a publication weighs against the byte budget.
//!
//! Computed from the content alone, so that what is given back when it goes is exactly what was taken.

use std::collections::BTreeMap;

use fanfare_protocol::ClientInfo;

use super::limits::{INFO_OVERHEAD_BYTES, PUBLICATION_OVERHEAD_BYTES, TAG_OVERHEAD_BYTES, TAGS_OVERHEAD_BYTES};
use crate::{Publication, Publish};

pub(super) fn of_publication(publication: &Publication) -> usize {
    of(publication.data.len(), &publication.tags, publication.info.as_deref())
}

pub(super) fn of_publish(publish: &Publish) -> usize {
    of(publish.data.len(), &publish.tags, publish.info.as_deref())
}

/// What a join or leave weighs on a ring.
pub(super) fn of_presence_change(info: &ClientInfo) -> usize {
    of(0, &BTreeMap::new(), Some(info))
}

fn of(data_bytes: usize, tags: &BTreeMap<String, String>, info: Option<&ClientInfo>) -> usize {
    PUBLICATION_OVERHEAD_BYTES + data_bytes + of_tags(tags) + info.map_or(0, of_info)
}

fn of_tags(tags: &BTreeMap<String, String>) -> usize {
    if tags.is_empty() {
        return 0;
    }
    let each = tags.iter().map(|(name, value)| name.len() + value.len() + TAG_OVERHEAD_BYTES);
    TAGS_OVERHEAD_BYTES + each.sum::<usize>()
}

fn of_info(info: &ClientInfo) -> usize {
    INFO_OVERHEAD_BYTES + info.user.len() + info.client.len() + info.conn_info.len() + info.chan_info.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overhead_covers_the_publication_itself() {
        let counts = 2 * size_of::<usize>();
        let place = 2 * size_of::<usize>();
        let payload_head_and_allocator = 24 + 16 + 32;
        let needed = size_of::<Publication>() + counts + place + payload_head_and_allocator;
        assert!(needed <= PUBLICATION_OVERHEAD_BYTES, "{needed} bytes");
    }

    #[test]
    fn payload_tags_and_info_weigh_what_they_hold() {
        let mut publish = Publish { data: "12345".into(), ..Publish::default() };
        assert_eq!(of_publish(&publish), PUBLICATION_OVERHEAD_BYTES + 5);
        publish.tags.insert("kind".to_owned(), "alert".to_owned());
        let tagged = PUBLICATION_OVERHEAD_BYTES + 5 + TAGS_OVERHEAD_BYTES + TAG_OVERHEAD_BYTES + 9;
        assert_eq!(of_publish(&publish), tagged);
        let info = ClientInfo { user: "ann".to_owned(), client: "c1".to_owned(), ..ClientInfo::default() };
        publish.info = Some(info.into());
        assert_eq!(of_publish(&publish), tagged + INFO_OVERHEAD_BYTES + 5);
    }
}
