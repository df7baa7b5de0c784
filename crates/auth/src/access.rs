//! What a client may subscribe to without a token.
//!
//! The rules of private and user-limited channels stand here, since they are the same everywhere. Who else may
//! subscribe is an option of the channel's namespace, which the caller knows and passes as `open`.

use fanfare_protocol::Channel;

/// Why a subscription without a token is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A channel that begins with `$` wants a subscription token.
    #[error("a private channel ($) needs a subscription token")]
    PrivateNeedsToken,
    /// The user is not among those that the channel's name lists after `#`.
    #[error("the user is not in the channel's list of users (#)")]
    NotInUserList,
    /// The namespace does not let this client subscribe.
    #[error("the channel's namespace does not let this client subscribe")]
    NotOpen,
}

/// Whether `user` may subscribe to `channel` without a token; `open` says whether the channel's namespace lets
/// this client in. A user-limited channel is for the users in its list, whatever the namespace says; an empty
/// list is for nobody, and the anonymous user is in no list.
///
/// # Errors
/// The reason of the denial.
pub fn subscribe(channel: &Channel, user: &str, open: bool) -> Result<(), Denied> {
    if channel.is_private() {
        return Err(Denied::PrivateNeedsToken);
    }
    if let Some(mut users) = channel.users() {
        let listed = !user.is_empty() && users.any(|name| name == user);
        return if listed { Ok(()) } else { Err(Denied::NotInUserList) };
    }
    if open { Ok(()) } else { Err(Denied::NotOpen) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(channel: &str, user: &str, open: bool, expected: Result<(), Denied>) {
        let channel = Channel::parse(channel).unwrap();
        assert_eq!(subscribe(&channel, user, open), expected, "{channel} {user:?} {open}");
    }

    #[test]
    fn an_open_channel_lets_in_and_a_closed_one_does_not() {
        check("news", "", true, Ok(()));
        check("ns:news", "42", true, Ok(()));
        check("news", "42", false, Err(Denied::NotOpen));
    }

    #[test]
    fn a_private_channel_wants_a_token_even_if_open_or_listed() {
        check("$news", "42", true, Err(Denied::PrivateNeedsToken));
        check("$ns:news", "42", true, Err(Denied::PrivateNeedsToken));
        check("$dialog#42", "42", true, Err(Denied::PrivateNeedsToken));
    }

    #[test]
    fn a_user_limited_channel_is_for_its_users_only() {
        check("dialog#42,56", "42", false, Ok(()));
        check("dialog#42,56", "56", false, Ok(()));
        check("dialog#42,56", "4", true, Err(Denied::NotInUserList));
        check("dialog#42,56", "42,56", true, Err(Denied::NotInUserList));
        check("dialog#42,56", "", true, Err(Denied::NotInUserList));
        check("a#42#56", "42", true, Err(Denied::NotInUserList));
        check("a#42#56", "56", false, Ok(()));
    }

    #[test]
    fn an_empty_list_of_users_admits_nobody() {
        for channel in ["ns:x#", "x#,", "x#,,"] {
            check(channel, "", true, Err(Denied::NotInUserList));
            check(channel, "42", true, Err(Denied::NotInUserList));
        }
    }
}
