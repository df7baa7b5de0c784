use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use fanfare_broker::{Control, NodeReport};

use super::*;
use crate::options::Options;
use crate::server::Server;

fn at(life: &str, version: u64) -> At {
    At { life: life.to_owned(), version }
}

#[test]
fn a_state_follows_another_of_its_life_that_is_not_later() {
    assert!(at("a", 3).follows(&At::default()));
    assert!(at("a", 3).follows(&at("a", 3)) && at("a", 4).follows(&at("a", 3)));
    assert!(!at("a", 2).follows(&at("a", 3)));
    assert!(!at("b", 9).follows(&at("a", 3)) && !At::default().follows(&at("a", 1)));
}

#[test]
fn a_page_is_read_and_anything_else_is_not() {
    let words = |words: &[&str]| words.iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect();
    let page = Page::read(words(&["l", "3"])).unwrap();
    assert!(page.at == at("l", 3) && page.rest.is_none());
    let page = Page::read(words(&["l", "3", "7", "u:1", "0 "])).unwrap();
    assert_eq!(page.rest, Some((b"7".to_vec(), vec![(b"u:1".to_vec(), b"0 ".to_vec())])));
    for bad in [&[][..], &["l"], &["l", "x"], &["l", "-1"], &["l", "1", "0", "u:1"]] {
        assert!(Page::read(words(bad)).is_none(), "{bad:?}");
    }
    assert!(Page::read(vec![Value::Int(1), Value::Int(2)]).is_none());
}

#[test]
fn what_was_lost_is_what_is_not_there_or_weaker() {
    let block = |user: &str| Revocation { subject: Subject::User(user.to_owned()), issued_before: 0, expire_at: None };
    let before = |issued_before| Revocation {
        subject: Subject::Tokens { user: None, channel: None },
        issued_before,
        expire_at: None,
    };
    let held = || vec![block("a"), block("b"), before(5)];
    assert_eq!(lost(held(), &[block("a"), before(4)], &HashSet::new()), [block("b"), before(5)]);
    let taken_back = HashSet::from([block("a").subject, block("b").subject]);
    assert_eq!(lost(held(), &[block("a"), before(6)], &taken_back), []);
}

/// Only the time of issue was compared: a block that Redis knew a shorter end of was let end there.
#[test]
fn defect_an_end_that_redis_lost_is_given_back() {
    let until = |issued_before, expire_at| Revocation {
        subject: Subject::Tokens { user: None, channel: None },
        issued_before,
        expire_at,
    };
    for (held, read, expected) in [
        (until(5, Some(20)), until(5, Some(10)), Some(until(5, Some(20)))),
        (until(5, None), until(7, Some(10)), Some(until(7, None))),
        (until(5, Some(10)), until(5, Some(20)), None),
        (until(5, Some(10)), until(5, None), None),
        (until(7, Some(10)), until(5, None), Some(until(7, None))),
    ] {
        let lost = lost(vec![held.clone()], std::slice::from_ref(&read), &HashSet::new());
        assert_eq!(lost, Vec::from_iter(expected), "{held:?} {read:?}");
    }
}

/// A node that judges only when it is let.
#[derive(Default)]
struct Node {
    refuses: AtomicBool,
    judged: AtomicUsize,
}

#[async_trait]
impl NodeSink for Node {
    async fn apply(&self, _control: Control) -> Result<(), Error> {
        Ok(())
    }

    async fn judge_again(&self, _whom: Whom) -> Result<(), Error> {
        self.judged.fetch_add(1, Ordering::Relaxed);
        if self.refuses.load(Ordering::Relaxed) { Err(Error::Unavailable("not now")) } else { Ok(()) }
    }

    fn report(&self) -> NodeReport {
        NodeReport::default()
    }

    fn channels(&self, _pattern: Option<&str>) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}

/// Without a server: only what does not ask one.
fn revocations() -> (Revocations, Arc<Node>) {
    let options = Options::new(Server::parse("redis://127.0.0.1:1").unwrap());
    let (counters, node) = (Arc::new(Counters::new()), Arc::new(Node::default()));
    let keys = Arc::new(Keys::new(&options.prefix, &Arc::from("n"), false));
    let routes = Arc::new(Routes::new(Arc::new(options), Arc::clone(&counters)));
    (Revocations::new(keys, routes, node.clone(), counters), node)
}

fn block(user: &str) -> Revocation {
    Revocation { subject: Subject::User(user.to_owned()), issued_before: 0, expire_at: None }
}

fn word(version: u64, user: &str) -> RevocationChange {
    RevocationChange { life: "l".to_owned(), version, field: format!("u:{user}").into(), value: "0 ".into() }
}

/// The version counted as known although there was no room for the revocation: it was never read.
#[tokio::test]
async fn defect_a_word_without_room_is_not_known() {
    let (revocations, _) = revocations();
    let full = (0..REVOCATIONS_MAX).map(|number| block(&number.to_string())).collect();
    assert!(revocations.install(Snapshot { at: at("l", 1), revocations: full }));
    assert!(matches!(revocations.take(&word(2, "more")).await, Err(Error::Unavailable(_))));
    assert_eq!(revocations.state().at, at("l", 1));
    let woken = tokio::time::timeout(Duration::from_secs(1), revocations.wake.notified()).await;
    assert!(woken.is_ok(), "all is read again");
    revocations.held.forget(&block("1").subject);
    revocations.take(&word(2, "more")).await.unwrap();
    assert_eq!(revocations.state().at, at("l", 2));
}

/// Sessions that could not be judged by what was read stayed open until something else was revoked.
#[tokio::test]
async fn defect_a_judgement_that_failed_is_repeated() {
    let (revocations, node) = revocations();
    node.refuses.store(true, Ordering::Relaxed);
    assert!(revocations.install(Snapshot { at: at("l", 1), revocations: vec![block("a")] }));
    revocations.judge_the_unjudged().await;
    revocations.judge_the_unjudged().await;
    node.refuses.store(false, Ordering::Relaxed);
    revocations.judge_the_unjudged().await;
    revocations.judge_the_unjudged().await;
    assert_eq!(node.judged.load(Ordering::Relaxed), 3);
}

/// A reading that was begun before a word came removed what the word had brought.
#[tokio::test]
async fn defect_what_was_told_during_a_reading_stays() {
    let (revocations, _) = revocations();
    assert!(revocations.install(Snapshot { at: at("l", 1), revocations: vec![] }));
    assert_eq!(revocations.begin(), at("l", 1));
    revocations.take(&word(3, "a")).await.unwrap();
    assert!(revocations.install(Snapshot { at: at("l", 2), revocations: vec![block("b")] }));
    assert_eq!(revocations.held.all(0), [block("a"), block("b")]);
    assert_eq!(revocations.state().at, at("l", 3));
    assert!(revocations.state().owed.is_empty());
}

/// More than there may be were cut off at random, and anything of any size was taken into memory.
#[test]
fn defect_what_redis_says_is_bounded() {
    let (revocations, _) = revocations();
    let words = |count: usize| (0..count).map(|user| (format!("u:{user}").into_bytes(), b"0 ".to_vec())).collect();
    assert_eq!(revocations.believed(words(REVOCATIONS_MAX)).map(|read| read.len()), Ok(REVOCATIONS_MAX));
    assert_eq!(revocations.believed(words(REVOCATIONS_MAX + 1)), Err(Fault::Nonsense));
    let (longest, most) = ("x".repeat(255), u64::MAX);
    let subject = Subject::Tokens {
        user: Some("x".repeat(fanfare_broker::revocations::REVOKED_NAME_BYTES_MAX)),
        channel: Some(fanfare_protocol::Channel::parse(&longest).unwrap()),
    };
    let pair = |field: String, value: String| (field.into_bytes(), value.into_bytes());
    assert!(revocations.is_bounded(&pair(field_of(&subject), format!("{most} {most}"))));
    assert!(!revocations.is_bounded(&pair("u".repeat(REVOCATION_FIELD_BYTES_MAX + 1), String::new())));
    assert!(!revocations.is_bounded(&pair("u:1".to_owned(), " ".repeat(REVOCATION_VALUE_BYTES_MAX + 1))));
}
