//! What to do about an error of the client: the right exit code, and a hint where one helps.

use fanfare_client::Error;

use super::{Exit, Failure};

/// Turns an error into what the command fails with.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn failure(error: Error) -> Failure {
    let failure = Failure::new(exit(&error), error.to_string());
    match hint(&error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn exit(error: &Error) -> Exit {
    match error {
        Error::Unreachable { .. } => Exit::NoNode,
        Error::Address { .. } | Error::NobodyTrusted(_) | Error::Channel { .. } | Error::NotJson(_) => Exit::Usage,
        Error::Token(_) => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::Unreachable { .. } => {
            Some("is the node running? `fanfare dev` starts one; --server or FANFARE_SERVER names another")
        }
        Error::Http { status: 401, .. } => Some(
            "set FANFARE_API_KEY to a key of the node (see [api]), or FANFARE_API_KEY_FILE to a file that holds it",
        ),
        Error::Http { status: 404, .. } => Some("is this the address of a Fanfare node?"),
        Error::Answer(_) => Some("is this the address of a Fanfare node?"),
        Error::Refused { code: 103, message, .. } if message.contains(" key \"") => {
            Some("what the key may do stands under [api.named_keys] in the node's configuration")
        }
        Error::TimedOut => Some("what was asked may or may not have been done"),
        _ => error.code().and_then(hint_for_code),
    }
}

/// What to do about a code of the protocol.
pub(crate) fn hint_for_code(code: u32) -> Option<&'static str> {
    match code {
        1 => Some("the token has expired, and its file holds no newer one: `fanfare token new` makes one"),
        102 => Some("the namespace (what stands before the first colon) is not in the node's configuration"),
        103 => Some("the node's log names the setting that would allow it; or connect with a token (FANFARE_TOKEN)"),
        108 => Some("it is switched off for this channel: see history_size and presence in the node's configuration"),
        109 => Some("`fanfare token new` makes a new one"),
        112 => Some("the channel has begun a new stream: leave --since out, or take a position of the new one"),
        3500 => Some("the token was not made with the node's auth.hmac_secret; `fanfare token inspect` says more"),
        3501 | 3507 => Some("the node wants a token: set FANFARE_TOKEN or --token-file; `fanfare token new` makes one"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::scripted;

    #[track_caller]
    fn check(error: Error, exit: Exit, part: &str) {
        let (mut io, out, err) = scripted::io("", &[]);
        assert_eq!(failure(error).report(&mut io), exit);
        assert_eq!(out.text(), "");
        assert!(err.text().contains(part), "{part} in {}", err.text());
    }

    #[test]
    fn errors_have_their_exit_codes_and_say_what_to_do() {
        let unreachable = Error::Unreachable { address: "h:1".into(), cause: "Connection refused".into() };
        check(unreachable, Exit::NoNode, "`fanfare dev` starts one");
        check(Error::NobodyTrusted("h:443".into()), Exit::Usage, "trusts");
        check(Error::Http { status: 401, message: "unauthorized".into() }, Exit::Failed, "FANFARE_API_KEY");
        check(Error::Http { status: 502, message: "bad gateway".into() }, Exit::Failed, "HTTP 502");
        let refused = |code| Error::Refused { code, message: "no".into(), temporary: false };
        check(refused(102), Exit::Failed, "namespace");
        check(refused(108), Exit::Failed, "history_size");
        check(refused(103), Exit::Failed, "FANFARE_TOKEN");
        let message = "permission denied: the key \"shop\" lacks the scope \"read\", which history needs".to_owned();
        check(Error::Refused { code: 103, message, temporary: false }, Exit::Failed, "[api.named_keys]");
        check(refused(107), Exit::Failed, "no (code 107)");
        check(Error::Closed { code: 3500, reason: "invalid token".into() }, Exit::Failed, "hmac_secret");
        check(Error::TimedOut, Exit::Failed, "may or may not");
    }
}
