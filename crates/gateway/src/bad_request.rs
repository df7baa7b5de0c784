//! Why a session is closed as a bad request (3501). The protocol has one code for all of it, so the reason is counted
//! and, now and then, logged.

/// Declares the reasons: name, label, documentation.
macro_rules! reasons {
    ($($name:ident = $label:literal, $documentation:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum BadRequest {
            $(#[doc = $documentation] $name,)*
        }

        impl BadRequest {
            /// All of them, in the order of their numbers.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The reason's name in metrics and logs.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

reasons! {
    Malformed = "malformed", "A frame that is not what its encoding demands.";
    UnknownCommand = "unknown_command", "A command that asks for nothing that is known.";
    NoId = "no_id", "A command without an id.";
    UnaskedPong = "unasked_pong", "A pong where no ping waits for one.";
    NotConnected = "not_connected", "A command before `connect`, or after `connect` was refused.";
    ConnectedAlready = "connected_already", "A second `connect`.";
    NoToken = "no_token", "No token where one is needed.";
    EmptyChannel = "empty_channel", "No channel where one is needed.";
    UnknownDelta = "unknown_delta", "An unknown kind of delta.";
    UnknownNamespace = "unknown_namespace", "A channel of an unknown namespace in `connect`.";
}
