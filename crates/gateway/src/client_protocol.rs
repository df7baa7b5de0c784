//! The application of a node: the client protocol, whose messages carry commands.

use std::rc::Rc;

use async_trait::async_trait;
use fanfare_protocol::{DecodeError, FrameViolation};

use crate::application::{Application, Message, Peer};
use crate::bad_request::BadRequest;
use crate::commands::Commands;

/// Sessions of the client protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientProtocol;

#[async_trait(?Send)]
impl Application for ClientProtocol {
    /// Carries the commands of a message out, in order. The encoding was agreed on: the type of the message is not
    /// judged.
    async fn take(&self, peer: &Peer, message: Message) {
        let commands = Commands::new(Rc::clone(&peer.local), peer.session);
        let Some(encoding) = peer.encoding() else { return };
        for (count, command) in encoding.decode_commands(message.data()).enumerate() {
            if count > 0 {
                peer.take_turns(count).await;
            }
            if !peer.is_open() {
                return;
            }
            match command {
                Ok(command) if commands.take_pong(&command) => {}
                Ok(command) => commands.run(command).await,
                Err(DecodeError::InvalidUtf8) => return peer.close_violated(FrameViolation::InvalidText),
                Err(error) => {
                    tracing::debug!(%error, "a frame could not be read");
                    return commands.close_bad_request(BadRequest::Malformed);
                }
            }
        }
    }
}
