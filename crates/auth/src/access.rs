//! Who may do what in a channel, and why.
//!
//! Whether the channel's namespace is open to a client is an option of the namespace, which the caller knows and
//! passes as `is_open`. Everything else is decided here, in [`decide`], for sessions and for `fanfare access explain`
//! alike.

use fanfare_protocol::Channel;

use crate::rights::{Allowed, Operation, Rights};

/// Why something is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A channel that begins with `$` wants a subscription token.
    #[error("a private channel ($) needs a subscription token")]
    PrivateNeedsToken,
    /// The user is not among those that the channel's name lists after `#`.
    #[error("the user is not in the channel's list of users (#)")]
    NotInUserList,
    /// Neither the namespace nor a rule allows it.
    #[error("neither the channel's namespace nor a rule allows it to this client")]
    NotOpen,
}

/// Why something is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground<'a> {
    /// The channel's name lists the user.
    UserList,
    /// The channel's namespace is open to the client.
    Namespace,
    /// A role of the connection token has a rule.
    Role {
        /// The role.
        name: &'a str,
        /// Its pattern.
        pattern: &'a str,
    },
    /// The connection token has a rule itself.
    Token {
        /// Its pattern.
        pattern: &'a str,
    },
    /// The subscription token says so.
    SubscriptionToken,
}

/// Who asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The user id; `""` is the anonymous user.
    pub user: &'a str,
    /// What its connection token allows.
    pub rights: Option<&'a Rights>,
    /// What the subscription token of this channel allows.
    pub allowed: Allowed,
}

/// Whether somebody may do something in a channel, by whatever allows it first. Nothing is allowed that nothing
/// allows, and nothing that is allowed is taken back.
///
/// Two kinds of names have a rule of their own for subscribing without a subscription token, whatever the namespace
/// and the rules say: a channel that begins with `$` cannot be subscribed to so, and one with `#` is for the users
/// listed behind it. An empty list is for nobody, and the anonymous user is in no list.
///
/// # Errors
/// The reason of the denial.
pub fn decide<'a>(
    operation: Operation,
    channel: &Channel,
    asker: &Asker<'a>,
    is_open: bool,
) -> Result<Ground<'a>, Denied> {
    if asker.allowed.has(operation) {
        return Ok(Ground::SubscriptionToken);
    }
    if operation == Operation::Subscribe
        && let Some(by_name) = by_name(channel, asker.user)
    {
        return by_name;
    }
    if is_open {
        return Ok(Ground::Namespace);
    }
    asker.rights.and_then(|rights| ruled(operation, channel.as_str(), asker.user, rights)).ok_or(Denied::NotOpen)
}

fn by_name(channel: &Channel, user: &str) -> Option<Result<Ground<'static>, Denied>> {
    if channel.is_private() {
        return Some(Err(Denied::PrivateNeedsToken));
    }
    let listed = channel.users()?.any(|name| name == user);
    Some(if listed && !user.is_empty() { Ok(Ground::UserList) } else { Err(Denied::NotInUserList) })
}

fn ruled<'a>(operation: Operation, channel: &str, user: &str, rights: &'a Rights) -> Option<Ground<'a>> {
    let of_role = |(name, rules): &'a (String, _)| {
        let rules: &'a crate::Rules = std::sync::Arc::as_ref(rules);
        let pattern = rules.allowing(operation, channel, user)?.as_str();
        Some(Ground::Role { name, pattern })
    };
    let by_token = || Some(Ground::Token { pattern: rights.own.allowing(operation, channel, user)?.as_str() });
    rights.roles.iter().find_map(of_role).or_else(by_token)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Pattern, Rules};

    #[track_caller]
    fn check(channel: &str, user: &str, is_open: bool, expected: Result<Ground<'static>, Denied>) {
        let channel = Channel::parse(channel).unwrap();
        let asker = Asker { user, ..Asker::default() };
        assert_eq!(decide(Operation::Subscribe, &channel, &asker, is_open), expected, "{channel} {user:?} {is_open}");
    }

    #[test]
    fn an_open_channel_lets_in_and_a_closed_one_does_not() {
        check("news", "", true, Ok(Ground::Namespace));
        check("ns:news", "42", true, Ok(Ground::Namespace));
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
        check("dialog#42,56", "42", false, Ok(Ground::UserList));
        check("dialog#42,56", "56", false, Ok(Ground::UserList));
        check("dialog#42,56", "4", true, Err(Denied::NotInUserList));
        check("dialog#42,56", "42,56", true, Err(Denied::NotInUserList));
        check("dialog#42,56", "", true, Err(Denied::NotInUserList));
        check("a#42#56", "42", true, Err(Denied::NotInUserList));
        check("a#42#56", "56", false, Ok(Ground::UserList));
    }

    #[test]
    fn an_empty_list_of_users_admits_nobody() {
        for channel in ["ns:x#", "x#,", "x#,,"] {
            check(channel, "", true, Err(Denied::NotInUserList));
            check(channel, "42", true, Err(Denied::NotInUserList));
        }
    }

    fn rules(operation: Operation, pattern: &str) -> Rules {
        let mut rules = Rules::default();
        rules.allow(operation, [Pattern::parse(pattern).unwrap()]);
        rules
    }

    /// Every source of rights × every operation × every kind of channel. What a source says of one operation in one
    /// channel says nothing of any other.
    #[test]
    fn each_source_allows_what_it_says_and_nothing_else() {
        let channels = ["news:a", "news:b", "$news:a", "news:a#42", "news:a#7", "box:42", "box:7", "plain"];
        let role = |operation| Rights {
            roles: vec![("editor".to_owned(), Arc::new(rules(operation, "news:a")))],
            own: Rules::default(),
        };
        let own = |operation| Rights { roles: Vec::new(), own: rules(operation, "box:{user}") };
        for said in Operation::ALL {
            let (role, own) = (role(said), own(said));
            for asked in Operation::ALL {
                for name in channels {
                    let channel = Channel::parse(name).unwrap();
                    let decided = |rights, allowed, is_open| {
                        decide(asked, &channel, &Asker { user: "42", rights, allowed }, is_open).is_ok()
                    };
                    let by_name = asked == Operation::Subscribe && name == "news:a#42";
                    let closed_by_name = asked == Operation::Subscribe && (name.contains('#') || name.starts_with('$'));
                    let what = format!("{said:?} {asked:?} {name}");
                    assert_eq!(decided(None, Allowed::NOTHING, false), by_name, "nothing: {what}");
                    assert_eq!(decided(None, Allowed::NOTHING, true), by_name || !closed_by_name, "open: {what}");
                    let ruled = said == asked && name == "news:a";
                    assert_eq!(decided(Some(&role), Allowed::NOTHING, false), by_name || ruled, "role: {what}");
                    let ruled = said == asked && name == "box:42";
                    assert_eq!(decided(Some(&own), Allowed::NOTHING, false), by_name || ruled, "token: {what}");
                    let allowed = Allowed::NOTHING.and(said);
                    assert_eq!(decided(None, allowed, false), by_name || said == asked, "subscription: {what}");
                }
            }
        }
    }

    #[test]
    fn the_ground_names_role_and_pattern() {
        let rights = Rights {
            roles: vec![("editor".to_owned(), Arc::new(rules(Operation::Publish, "news:*")))],
            own: rules(Operation::Publish, "**"),
        };
        let asker = Asker { user: "42", rights: Some(&rights), ..Asker::default() };
        let ground = |name: &str| decide(Operation::Publish, &Channel::parse(name).unwrap(), &asker, false);
        assert_eq!(ground("news:a"), Ok(Ground::Role { name: "editor", pattern: "news:*" }));
        assert_eq!(ground("other:a"), Ok(Ground::Token { pattern: "**" }));
        assert_eq!(ground("$other:a"), Err(Denied::NotOpen));
    }
}
