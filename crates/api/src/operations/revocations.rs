//! Who is kept out: block_user, unblock_user, revoke_token, invalidate_user_tokens, revocations, revocation_remove.
//!
//! Each answer says whether it is durable: whether it still holds when all nodes have been started anew.

use fanfare_broker::revocations::{Kind, REVOKED_NAME_BYTES_MAX, unix_now};
use fanfare_broker::{Revocation, Subject};

use super::given;
use super::sessions::future;
use crate::Api;
use crate::error::Error;
use crate::json::{object, write_array, write_object};
use crate::limits::{CLOCK_LEEWAY_SECONDS, REVOCATIONS_LISTED, REVOCATIONS_LISTED_MAX};
use crate::request::{BlockUser, InvalidateUserTokens, RevocationRemove, RevokeToken, UnblockUser};

impl Api {
    pub(crate) async fn block_user(&self, request: BlockUser) -> Result<Vec<u8>, Error> {
        let subject = Subject::User(needed(request.user, "user")?);
        let expire_at = future(request.expire_at)?;
        // No limit of tokens' lives ends a block: the user can get new ones.
        self.revoke(Revocation { subject, issued_before: 0, expire_at }).await
    }

    pub(crate) async fn unblock_user(&self, request: UnblockUser) -> Result<Vec<u8>, Error> {
        self.unrevoke(&Subject::User(needed(request.user, "user")?)).await
    }

    pub(crate) async fn revoke_token(&self, request: RevokeToken) -> Result<Vec<u8>, Error> {
        let subject = Subject::Token(needed(request.uid, "uid")?);
        let expire_at = self.end_of_tokens(request.expire_at)?;
        self.revoke(Revocation { subject, issued_before: 0, expire_at }).await
    }

    pub(crate) async fn invalidate_user_tokens(&self, request: InvalidateUserTokens) -> Result<Vec<u8>, Error> {
        let user = match (short(request.user, "user")?, request.all_users.unwrap_or_default()) {
            (Some(user), false) => Some(user),
            (None, true) => None,
            (None, false) => return Err(Error::bad_request("give user, or all_users: true")),
            (Some(_), true) => return Err(Error::bad_request("give user or all_users, not both")),
        };
        let channel = given(request.channel).map(|channel| self.channel(Some(&channel))).transpose()?;
        let subject = Subject::Tokens { user, channel: channel.map(|(channel, _)| channel) };
        let issued_before = past(request.issued_before)?;
        let expire_at = self.end_of_tokens(request.expire_at)?;
        self.revoke(Revocation { subject, issued_before, expire_at }).await
    }

    pub(crate) fn revocations(&self, request: crate::request::Revocations) -> Result<Vec<u8>, Error> {
        let kind = given(request.kind).map(|name| kind(&name)).transpose()?;
        let user = short(request.user, "user")?;
        let limit = request.limit.unwrap_or(REVOCATIONS_LISTED);
        if limit > REVOCATIONS_LISTED_MAX {
            return Err(Error::bad_request(format!("limit is {limit}, at most {REVOCATIONS_LISTED_MAX} are listed")));
        }
        let is_wanted = |kept: &Revocation| {
            kind.is_none_or(|kind| kept.subject.kind() == kind)
                && user.as_deref().is_none_or(|user| user_of(&kept.subject) == Some(user))
        };
        let (listed, total) = self.broker.revoked().list(unix_now(), limit, is_wanted);
        Ok(object(|result| {
            write_array(result.value("revocations"), &listed, write_revocation);
            result.number("total", total as u64);
            result.flag("durable", self.broker.is_durable());
        }))
    }

    pub(crate) async fn revocation_remove(&self, request: RevocationRemove) -> Result<Vec<u8>, Error> {
        let kind = kind(&needed(request.kind, "kind")?)?;
        let (user, uid) = (short(request.user, "user")?, short(request.uid, "uid")?);
        let channel = given(request.channel).map(|channel| self.channel(Some(&channel))).transpose()?;
        let channel = channel.map(|(channel, _)| channel);
        let subject = match (kind, user, uid, channel) {
            (Kind::User, Some(user), None, None) => Subject::User(user),
            (Kind::Token, None, Some(id), None) => Subject::Token(id),
            (Kind::UserTokens, Some(user), None, channel) => Subject::Tokens { user: Some(user), channel },
            (Kind::AllTokens, None, None, channel) => Subject::Tokens { user: None, channel },
            _ => return Err(Error::bad_request("give kind, user, uid and channel as `revocations` lists them")),
        };
        self.unrevoke(&subject).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<Vec<u8>, Error> {
        self.broker.revoke(revocation).await?;
        Ok(object(|result| result.flag("durable", self.broker.is_durable())))
    }

    async fn unrevoke(&self, subject: &Subject) -> Result<Vec<u8>, Error> {
        let removed = self.broker.unrevoke(subject).await?;
        Ok(object(|result| {
            result.flag("removed", removed);
            result.flag("durable", self.broker.is_durable());
        }))
    }

    /// When the revocation of tokens may be forgotten: as the caller says, else when none of those that there are now can
    /// be good any more.
    fn end_of_tokens(&self, asked: Option<u64>) -> Result<Option<u64>, Error> {
        let cap = self.token_lifetime_max.map(|max| unix_now() + max.as_secs() + CLOCK_LEEWAY_SECONDS);
        Ok(future(asked)?.or(cap))
    }
}

fn user_of(subject: &Subject) -> Option<&str> {
    match subject {
        Subject::User(user) => Some(user),
        Subject::Tokens { user, .. } => user.as_deref(),
        Subject::Token(_) => None,
    }
}

fn write_revocation(out: &mut Vec<u8>, kept: &Revocation) {
    write_object(out, |object| {
        object.text("kind", kept.subject.kind().name());
        match &kept.subject {
            Subject::User(user) => object.text("user", user),
            Subject::Token(id) => object.text("uid", id),
            Subject::Tokens { user, channel } => {
                user.iter().for_each(|user| object.text("user", user));
                channel.iter().for_each(|channel| object.text("channel", channel.as_str()));
                object.number("issued_before", kept.issued_before);
            }
        }
        kept.expire_at.into_iter().for_each(|at| object.number("expire_at", at));
    });
}

fn kind(name: &str) -> Result<Kind, Error> {
    let known = || Kind::ALL.map(Kind::name).join(", ");
    Kind::named(name).ok_or_else(|| Error::bad_request(format!("kind is one of {}", known())))
}

fn needed(text: Option<String>, field: &str) -> Result<String, Error> {
    short(text, field)?.ok_or_else(|| Error::bad_request(format!("the field {field} is missing or empty")))
}

fn short(text: Option<String>, field: &str) -> Result<Option<String>, Error> {
    match given(text) {
        Some(text) if text.len() > REVOKED_NAME_BYTES_MAX => {
            let bytes = text.len();
            Err(Error::bad_request(format!("{field} has {bytes} bytes, at most {REVOKED_NAME_BYTES_MAX} are allowed")))
        }
        other => Ok(other),
    }
}

/// A time before which tokens were issued: now, unless one is given. One that lies ahead would refuse new tokens as well.
fn past(at: Option<u64>) -> Result<u64, Error> {
    let now = unix_now();
    match at.filter(|at| *at > 0) {
        Some(at) if at > now + CLOCK_LEEWAY_SECONDS => {
            Err(Error::bad_request("issued_before lies in the future; it is a Unix time in seconds"))
        }
        Some(at) => Ok(at),
        // Tokens that were issued in this second were issued before now, too.
        None => Ok(now + 1),
    }
}
