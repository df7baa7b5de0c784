//! The envelope of what a client says.

use super::{
    ConnectRequest, HistoryRequest, PingRequest, PresenceRequest, PresenceStatsRequest, PublishRequest, RefreshRequest,
    RpcRequest, SendRequest, SubRefreshRequest, SubscribeRequest, UnsubscribeRequest, message,
};

message! {
    /// A client's request. One of the options is meant to be set; [`Command::kind`] says which counts.
    pub struct Command {
        /// Echoed by the reply; 0 where no reply is expected.
        #[prost(uint32, tag = "1")]
        pub id: u32,
        /// Authenticates the connection.
        #[prost(message, optional, tag = "4")]
        pub connect: Option<ConnectRequest>,
        /// Subscribes to a channel.
        #[prost(message, optional, tag = "5")]
        pub subscribe: Option<SubscribeRequest>,
        /// Ends a subscription.
        #[prost(message, optional, tag = "6")]
        pub unsubscribe: Option<UnsubscribeRequest>,
        /// Publishes to a channel.
        #[prost(message, optional, tag = "7")]
        pub publish: Option<PublishRequest>,
        /// Asks who is in a channel.
        #[prost(message, optional, tag = "8")]
        pub presence: Option<PresenceRequest>,
        /// Asks how many are in a channel.
        #[prost(message, optional, tag = "9")]
        pub presence_stats: Option<PresenceStatsRequest>,
        /// Reads the history of a channel.
        #[prost(message, optional, tag = "10")]
        pub history: Option<HistoryRequest>,
        /// In the schema, but of no use to a client: it is never dispatched.
        #[prost(message, optional, tag = "11")]
        pub ping: Option<PingRequest>,
        /// Sends data one way, without a reply.
        #[prost(message, optional, tag = "12")]
        pub send: Option<SendRequest>,
        /// Calls a method of the application.
        #[prost(message, optional, tag = "13")]
        pub rpc: Option<RpcRequest>,
        /// Brings a new connection token.
        #[prost(message, optional, tag = "14")]
        pub refresh: Option<RefreshRequest>,
        /// Brings a new subscription token.
        #[prost(message, optional, tag = "15")]
        pub sub_refresh: Option<SubRefreshRequest>,
    }
}

/// What a command asks for, in the order in which a command with several is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandKind {
    /// [`Command::connect`].
    Connect,
    /// [`Command::subscribe`].
    Subscribe,
    /// [`Command::unsubscribe`].
    Unsubscribe,
    /// [`Command::publish`].
    Publish,
    /// [`Command::presence`].
    Presence,
    /// [`Command::presence_stats`].
    PresenceStats,
    /// [`Command::history`].
    History,
    /// [`Command::rpc`].
    Rpc,
    /// [`Command::send`].
    Send,
    /// [`Command::refresh`].
    Refresh,
    /// [`Command::sub_refresh`].
    SubRefresh,
}

impl Command {
    /// What the command asks for. `None` for a pong, for [`Command::ping`] alone, and for nothing known.
    pub fn kind(&self) -> Option<CommandKind> {
        let asked = [
            (self.connect.is_some(), CommandKind::Connect),
            (self.subscribe.is_some(), CommandKind::Subscribe),
            (self.unsubscribe.is_some(), CommandKind::Unsubscribe),
            (self.publish.is_some(), CommandKind::Publish),
            (self.presence.is_some(), CommandKind::Presence),
            (self.presence_stats.is_some(), CommandKind::PresenceStats),
            (self.history.is_some(), CommandKind::History),
            (self.rpc.is_some(), CommandKind::Rpc),
            (self.send.is_some(), CommandKind::Send),
            (self.refresh.is_some(), CommandKind::Refresh),
            (self.sub_refresh.is_some(), CommandKind::SubRefresh),
        ];
        asked.into_iter().find(|(asked, _)| *asked).map(|(_, kind)| kind)
    }

    /// Whether this is the empty command, with which a client answers a ping.
    pub fn is_pong(&self) -> bool {
        self.id == 0 && self.kind().is_none() && self.ping.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_dispatch_order_counts() {
        let mut command = Command { id: 1, sub_refresh: Some(SubRefreshRequest::default()), ..Command::default() };
        assert_eq!(command.kind(), Some(CommandKind::SubRefresh));
        command.send = Some(SendRequest::default());
        assert_eq!(command.kind(), Some(CommandKind::Send));
        command.rpc = Some(RpcRequest::default());
        assert_eq!(command.kind(), Some(CommandKind::Rpc));
        command.connect = Some(ConnectRequest::default());
        assert_eq!(command.kind(), Some(CommandKind::Connect));
    }

    #[test]
    fn a_ping_is_not_dispatched() {
        let command = Command { id: 1, ping: Some(PingRequest {}), ..Command::default() };
        assert_eq!(command.kind(), None);
        assert!(!command.is_pong());
    }

    #[test]
    fn only_the_empty_command_is_a_pong() {
        assert!(Command::default().is_pong());
        assert!(!Command { id: 1, ..Command::default() }.is_pong());
        assert!(!Command { connect: Some(ConnectRequest::default()), ..Command::default() }.is_pong());
    }
}
