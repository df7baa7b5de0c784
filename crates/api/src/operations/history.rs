//! history and history_remove.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_broker::{HistoryQuery, Publication, Retention, Since};
use fanfare_protocol::Channel;

use crate::Api;
use crate::error::Error;
use crate::json::{Object, object, write_array, write_object};
use crate::request::{History, OfChannel, Position};

impl Api {
    pub(crate) async fn history(&self, request: History) -> Result<Vec<u8>, Error> {
        let (channel, retention) = self.channel_with_history(request.channel.as_deref())?;
        let query = HistoryQuery {
            limit: limit(request.limit.unwrap_or_default(), &retention)?,
            since: request.since.map(since),
            reverse: request.reverse.unwrap_or_default(),
        };
        let history = self.broker.history(&channel, query).await?;
        Ok(object(|result| {
            write_array(result.value("publications"), &history.publications, |out, publication| {
                write_object(out, |object| write_publication(object, publication));
            });
            result.number("offset", history.top.offset);
            result.text("epoch", &history.top.epoch);
        }))
    }

    pub(crate) async fn history_remove(&self, request: &OfChannel) -> Result<Vec<u8>, Error> {
        let (channel, _) = self.channel_with_history(request.channel.as_deref())?;
        self.broker.history_remove(&channel).await?;
        Ok(object(|_| {}))
    }

    fn channel_with_history(&self, name: Option<&str>) -> Result<(Channel, Retention), Error> {
        let (channel, options) = self.channel(name)?;
        let retention = options.retention.ok_or_else(|| self.not_available(&channel, "history", "history_size"))?;
        Ok((channel, retention))
    }
}

/// 0 asks for the position only, -1 for all that is kept.
fn limit(asked: i64, retention: &Retention) -> Result<usize, Error> {
    match asked {
        -1 => Ok(retention.size),
        ..-1 => Err(Error::bad_request("limit is a count, 0 for the position only, or -1 for all")),
        _ => Ok(usize::try_from(asked).unwrap_or(usize::MAX).min(retention.size)),
    }
}

fn since(position: Position) -> Since {
    Since { offset: position.offset.unwrap_or_default(), epoch: position.epoch.unwrap_or_default() }
}

/// What is not JSON cannot stand in a JSON reply as it is and goes out as `b64data`.
fn write_publication(object: &mut Object<'_>, publication: &Publication) {
    if publication.json {
        object.raw("data", &publication.data);
    } else {
        object.text("b64data", &STANDARD.encode(&publication.data));
    }
    if let Some(info) = &publication.info {
        write_object(object.value("info"), |object| super::presence::write_client(object, info));
    }
    if let Some(position) = &publication.position {
        object.number("offset", position.offset);
    }
    if !publication.tags.is_empty() {
        write_object(object.value("tags"), |tags| {
            publication.tags.iter().for_each(|(key, value)| tags.text(key, value));
        });
    }
}
