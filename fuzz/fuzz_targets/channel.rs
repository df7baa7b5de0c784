//! Names of channels, and patterns against a matcher that is slower and plainer. Three lines: pattern, channel, user.

#![no_main]

use fanfare_auth::Pattern;
use fanfare_protocol::Channel;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some([pattern, channel, user]) = fanfare_fuzz::texts(data) else { return };
    let Ok(channel) = Channel::parse(channel) else { return };
    assert_eq!(channel.namespace(), Channel::namespace_of(channel.as_str()));
    assert_eq!(channel.is_private(), channel.as_str().starts_with('$'));
    assert!(channel.users().is_none_or(|mut users| users.all(|user| !user.is_empty() && !user.contains(['#', ',']))));
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let fits = fits(pattern.as_str(), channel.as_str(), user);
    assert_eq!(pattern.matches(channel.as_str(), user), fits, "{pattern} {channel} {user:?}");
});

fn fits(pattern: &str, channel: &str, user: &str) -> bool {
    let (closed, is_open) = match pattern.strip_suffix("**") {
        Some(closed) => (closed.strip_suffix(':'), true),
        None => (Some(pattern), false),
    };
    let wanted: Vec<&str> = closed.map_or_else(Vec::new, |closed| closed.split(':').collect());
    let given: Vec<&str> = channel.split(':').collect();
    if given.len() < wanted.len() || (!is_open && given.len() > wanted.len()) {
        return false;
    }
    let (head, tail) = given.split_at(wanted.len());
    if is_open && tail.join(":").is_empty() {
        return false;
    }
    let dollar_is_written = wanted.first().is_some_and(|first| !matches!(*first, "*" | "{user}"));
    if channel.starts_with('$') && !dollar_is_written {
        return false;
    }
    wanted.iter().zip(head).all(|(wanted, given)| match *wanted {
        "*" => !given.is_empty(),
        "{user}" => !user.is_empty() && *given == user,
        literal => literal == *given,
    })
}
