use super::*;

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
    let lost = lost(vec![block("a"), block("b"), before(5)], &[block("a"), before(4)]);
    assert_eq!(lost, [block("b"), before(5)]);
}
