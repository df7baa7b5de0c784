//! channels and info.

use fanfare_broker::NodeReport;

use super::name;
use crate::Api;
use crate::caller::Caller;
use crate::error::Error;
use crate::json::{object, write_array, write_object};
use crate::request::Channels;

impl Api {
    /// Names those channels that the caller may see.
    pub(crate) async fn channels(&self, request: Channels, caller: Caller<'_>) -> Result<Vec<u8>, Error> {
        let pattern = name(request.pattern, "pattern")?;
        let channels = self.broker.channels(pattern.as_deref()).await?;
        Ok(object(|result| {
            write_object(result.value("channels"), |members| {
                for (channel, clients) in channels.iter().filter(|(channel, _)| caller.may_see(channel)) {
                    write_object(members.value(channel), |object| object.number("num_clients", *clients));
                }
            });
        }))
    }

    pub(crate) async fn info(&self) -> Result<Vec<u8>, Error> {
        let nodes = self.broker.nodes().await?;
        Ok(object(|result| write_array(result.value("nodes"), &nodes, write_node)))
    }
}

fn write_node(out: &mut Vec<u8>, node: &NodeReport) {
    write_object(out, |object| {
        object.text("uid", &node.uid);
        object.text("name", &node.name);
        object.text("version", &node.version);
        object.number("num_clients", node.clients);
        object.number("num_users", node.users);
        object.number("num_subs", node.subscriptions);
        object.number("num_channels", node.channels);
        object.number("uptime", node.uptime_seconds);
    });
}
