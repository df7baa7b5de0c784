//! presence and presence_stats.

use fanfare_protocol::{Channel, ClientInfo};

use crate::Api;
use crate::error::Error;
use crate::json::{Object, object, write_object};
use crate::request::OfChannel;

impl Api {
    pub(crate) async fn presence(&self, request: &OfChannel) -> Result<Vec<u8>, Error> {
        let channel = self.channel_with_presence(request.channel.as_deref())?;
        let clients = self.broker.presence(&channel).await?;
        Ok(object(|result| {
            write_object(result.value("presence"), |members| {
                for (client, info) in &clients {
                    write_object(members.value(client), |object| write_client(object, info));
                }
            });
        }))
    }

    pub(crate) async fn presence_stats(&self, request: &OfChannel) -> Result<Vec<u8>, Error> {
        let channel = self.channel_with_presence(request.channel.as_deref())?;
        let stats = self.broker.presence_stats(&channel).await?;
        Ok(object(|result| {
            result.number("num_clients", stats.clients as u64);
            result.number("num_users", stats.users as u64);
        }))
    }

    fn channel_with_presence(&self, name: Option<&str>) -> Result<Channel, Error> {
        let (channel, options) = self.channel(name)?;
        if options.presence { Ok(channel) } else { Err(self.not_available(&channel, "presence", "presence")) }
    }
}

pub(super) fn write_client(object: &mut Object<'_>, info: &ClientInfo) {
    object.text("user", &info.user);
    object.text("client", &info.client);
    object.raw("conn_info", &info.conn_info);
    object.raw("chan_info", &info.chan_info);
}
