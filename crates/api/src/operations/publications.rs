//! publish and broadcast.

use std::collections::BTreeMap;

use bytes::Bytes;
use fanfare_broker::{Published, StreamPosition, Version};
use futures_util::{StreamExt as _, stream};

use super::{decoded, name, raw_bytes};
use crate::Api;
use crate::error::Error;
use crate::json::{Object, object, write_array, write_object};
use crate::limits::{IN_FLIGHT_MAX, TAGS_BYTES_MAX};
use crate::request::{Broadcast, Content, Publish};

impl Api {
    pub(crate) async fn publish(&self, mut request: Publish<'_>) -> Result<Vec<u8>, Error> {
        let channel = request.channel.take();
        let publish = self.accept(request.content())?;
        let published = self.publish_to(channel.as_deref(), &publish).await?;
        Ok(object(|result| write_position(result, &published)))
    }

    /// Publishes a payload that is known to be JSON within the limits.
    pub(crate) async fn publish_json(&self, channel: &str, data: Bytes) -> Result<Vec<u8>, Error> {
        let publish = fanfare_broker::Publish { data, json: true, ..fanfare_broker::Publish::default() };
        let published = self.publish_to(Some(channel), &publish).await?;
        Ok(object(|result| write_position(result, &published)))
    }

    /// Not atomic: each channel has its own result.
    pub(crate) async fn broadcast(&self, mut request: Broadcast<'_>) -> Result<Vec<u8>, Error> {
        let channels = self.broadcast_channels(request.channels.take())?;
        let publish = self.accept(request.content())?;
        let published = stream::iter(channels).map(|channel| self.publish_owned(channel, &publish));
        let responses: Vec<_> = published.buffered(IN_FLIGHT_MAX).collect().await;
        Ok(object(|result| write_array(result.value("responses"), &responses, write_response)))
    }

    fn broadcast_channels(&self, channels: Option<Vec<String>>) -> Result<Vec<String>, Error> {
        let max = self.limits.broadcast_channels_max;
        match channels.unwrap_or_default() {
            none if none.is_empty() => Err(Error::bad_request("the field channels is missing or empty")),
            many if many.len() > max => Err(Error::bad_request(format!(
                "{} channels are more than the {max} of api.broadcast_channels_max",
                many.len()
            ))),
            channels => Ok(channels),
        }
    }

    async fn publish_owned(&self, channel: String, publish: &fanfare_broker::Publish) -> Result<Published, Error> {
        self.publish_to(Some(&channel), publish).await
    }

    async fn publish_to(&self, name: Option<&str>, publish: &fanfare_broker::Publish) -> Result<Published, Error> {
        let (channel, options) = self.channel(name)?;
        let publish = fanfare_broker::Publish { retention: options.retention, ..publish.clone() };
        Ok(self.broker.publish(&channel, publish).await?)
    }

    /// A publication as the broker takes it, but for what depends on the channel.
    fn accept(&self, content: Content<'_>) -> Result<fanfare_broker::Publish, Error> {
        let data = payload(&content)?;
        check_tags(&content.tags)?;
        Ok(fanfare_broker::Publish {
            json: self.is_json(&data)?,
            data,
            tags: content.tags,
            skip_history: content.skip_history,
            idempotency_key: name(content.idempotency_key, "idempotency_key")?,
            version: version(content.version, content.version_epoch)?,
            ..fanfare_broker::Publish::default()
        })
    }
}

/// The payload as it came; base64 wins over plain.
fn payload(content: &Content<'_>) -> Result<Bytes, Error> {
    match (content.b64data.as_deref().filter(|encoded| !encoded.is_empty()), content.data) {
        (Some(encoded), _) => decoded(encoded, "b64data"),
        (None, Some(raw)) => Ok(raw_bytes(raw)),
        (None, None) => Err(Error::bad_request("the field data is missing (or b64data, for what is not JSON)")),
    }
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    let bytes: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > TAGS_BYTES_MAX {
        return Err(Error::bad_request(format!("the tags have {bytes} bytes, at most {TAGS_BYTES_MAX} are allowed")));
    }
    Ok(())
}

/// 0 is no version.
fn version(number: u64, epoch: String) -> Result<Option<Version>, Error> {
    let epoch = name(Some(epoch), "version_epoch")?.unwrap_or_default();
    Ok((number > 0).then_some(Version { number, epoch }))
}

fn write_response(out: &mut Vec<u8>, response: &Result<Published, Error>) {
    match response {
        Ok(published) => write_object(out, |member| {
            write_object(member.value("result"), |result| write_position(result, published));
        }),
        Err(error) => error.write_enveloped(out),
    }
}

/// Nothing where the publication has no place in a history.
fn write_position(result: &mut Object<'_>, published: &Published) {
    if let Some(StreamPosition { offset, epoch }) = &published.position {
        result.number("offset", *offset);
        result.text("epoch", epoch);
    }
}
