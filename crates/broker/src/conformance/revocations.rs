//! Cases on who is kept out.

use super::Harness;
use super::stage::Stage;
use crate::revocations::unix_now;
use crate::{Barred, Bearer, Revocation, Subject, Whom};

const USER: &str = "42";

fn block(expire_at: Option<u64>) -> Revocation {
    Revocation { subject: Subject::User(USER.to_owned()), issued_before: 0, expire_at }
}

fn older_tokens(issued_before: u64) -> Revocation {
    let subject = Subject::Tokens { user: Some(USER.to_owned()), channel: None };
    Revocation { subject, issued_before, expire_at: None }
}

impl Stage<'_> {
    async fn revoke(&self, revocation: Revocation) {
        self.broker.revoke(revocation).await.expect("a revocation is kept");
    }

    async fn unrevoke(&self, subject: &Subject) -> bool {
        self.broker.unrevoke(subject).await.expect("a revocation is taken back")
    }

    fn judge(&self, issued_at: u64, now: u64) -> Result<(), Barred> {
        let bearer = Bearer { user: USER, token: None, issued_at, channel: None };
        self.broker.revoked().judge(&bearer, now)
    }
}

/// What is revoked is so when the call returns, and the node has judged its sessions; what is taken back is not.
pub async fn revocations_come_and_go(harness: &dyn Harness) {
    let stage = Stage::new(harness, "revocations").await;
    let now = unix_now();
    assert_eq!(stage.judge(0, now), Ok(()));
    stage.revoke(block(None)).await;
    assert_eq!(stage.judge(0, now), Err(Barred::Blocked));
    assert_eq!(stage.broker.revoked().all(now), [block(None)]);
    let subject = Subject::Token("t1".to_owned());
    stage.revoke(Revocation { subject: subject.clone(), issued_before: 0, expire_at: Some(now + 60) }).await;
    let judged = stage.node.judged();
    assert!(judged.contains(&Whom::User(USER.to_owned())) && judged.last() == Some(&Whom::Everybody), "{judged:?}");
    assert!(stage.unrevoke(&block(None).subject).await);
    assert!(!stage.unrevoke(&block(None).subject).await);
    assert_eq!(stage.judge(0, now), Ok(()));
    assert!(stage.unrevoke(&subject).await);
    assert!(stage.broker.revoked().all(now).is_empty());
}

/// The highest time counts, and the latest expiry.
pub async fn a_second_revocation_lets_no_older_token_in(harness: &dyn Harness) {
    let stage = Stage::new(harness, "revocations").await;
    let now = unix_now();
    stage.revoke(older_tokens(now - 10)).await;
    stage.revoke(Revocation { expire_at: Some(now + 60), ..older_tokens(now - 20) }).await;
    assert_eq!(stage.judge(now - 11, now), Err(Barred::Revoked));
    assert_eq!(stage.judge(now - 10, now), Ok(()));
    assert_eq!(stage.judge(now - 11, now + 60), Ok(()), "it has expired");
    let kept = Revocation { expire_at: Some(now + 60), ..older_tokens(now - 10) };
    assert_eq!(stage.broker.revoked().all(now), [kept]);
}

/// Names of any content stay apart.
pub async fn revoked_names_are_told_apart(harness: &dyn Harness) {
    let stage = Stage::new(harness, "revocations").await;
    let tokens = |user: Option<&str>, channel: Option<&str>| Subject::Tokens {
        user: user.map(str::to_owned),
        channel: channel.map(|name| harness.channel(name)),
    };
    let subjects = [
        Subject::User("\u{e9}\n*=:".to_owned()),
        Subject::Token("life".to_owned()),
        Subject::Token("version".to_owned()),
        tokens(None, None),
        tokens(None, Some("a:b c")),
        tokens(Some("*"), None),
        tokens(Some(""), None),
        tokens(Some("x"), Some("a:=x")),
        tokens(Some("x:=x"), Some("a")),
    ];
    for (at, subject) in subjects.iter().enumerate() {
        let issued_before = if matches!(subject, Subject::Tokens { .. }) { at as u64 } else { 0 };
        stage.revoke(Revocation { subject: subject.clone(), issued_before, expire_at: None }).await;
    }
    let listed: Vec<Subject> = stage.broker.revoked().all(0).into_iter().map(|kept| kept.subject).collect();
    let mut expected = subjects.to_vec();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for (at, subject) in subjects.iter().enumerate() {
        assert!(stage.unrevoke(subject).await, "{subject:?}");
        assert_eq!(stage.broker.revoked().all(0).len(), subjects.len() - at - 1);
    }
}
