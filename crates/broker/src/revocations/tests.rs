use super::*;

const NOW: u64 = 1_000;

fn block(user: &str, expire_at: Option<u64>) -> Revocation {
    Revocation { subject: Subject::User(user.to_owned()), issued_before: 0, expire_at }
}

fn before(user: Option<&str>, channel: Option<&str>, issued_before: u64) -> Revocation {
    let subject = Subject::Tokens {
        user: user.map(str::to_owned),
        channel: channel.map(|channel| Channel::parse(channel).unwrap()),
    };
    Revocation { subject, issued_before, expire_at: None }
}

fn of(user: &str, issued_at: u64) -> Bearer<'_> {
    Bearer { user, token: None, issued_at, channel: None }
}

#[track_caller]
fn check(revoked: &Revoked, bearer: &Bearer<'_>, expected: Result<(), Barred>) {
    assert_eq!(revoked.judge(bearer, NOW), expected, "{bearer:?}");
}

#[test]
fn a_blocked_user_is_kept_out_with_any_token_until_the_block_expires() {
    let revoked = Revoked::nothing();
    revoked.keep(block("42", Some(NOW + 10)), NOW).unwrap();
    check(&revoked, &of("42", NOW), Err(Barred::Blocked));
    check(&revoked, &of("42", Bearer::NO_TOKEN), Err(Barred::Blocked));
    check(&revoked, &of("43", 0), Ok(()));
    assert_eq!(revoked.judge(&of("42", 0), NOW + 9), Err(Barred::Blocked));
    assert_eq!(revoked.judge(&of("42", 0), NOW + 10), Ok(()));
    revoked.trim(NOW + 9);
    assert_eq!(revoked.all(NOW).len(), 1);
    revoked.trim(NOW + 10);
    assert_eq!(revoked.all(NOW).len(), 0);
}

#[test]
fn a_token_is_kept_out_by_its_id() {
    let revoked = Revoked::nothing();
    let subject = Subject::Token("t1".to_owned());
    revoked.keep(Revocation { subject: subject.clone(), issued_before: 0, expire_at: None }, NOW).unwrap();
    let with = |id| Bearer { token: Some(revoked.fingerprint(id)), ..of("42", NOW) };
    check(&revoked, &with("t1"), Err(Barred::Revoked));
    check(&revoked, &with("t2"), Ok(()));
    check(&revoked, &of("t1", NOW), Ok(()));
    assert!(revoked.forget(&subject) && !revoked.forget(&subject));
    check(&revoked, &with("t1"), Ok(()));
}

#[test]
fn tokens_are_kept_out_by_their_age() {
    let revoked = Revoked::nothing();
    revoked.keep(before(Some("42"), None, 500), NOW).unwrap();
    for (issued_at, expected) in [(0, Err(Barred::Revoked)), (499, Err(Barred::Revoked)), (500, Ok(())), (501, Ok(()))]
    {
        check(&revoked, &of("42", issued_at), expected);
        check(&revoked, &of("43", issued_at), Ok(()));
    }
    check(&revoked, &of("42", Bearer::NO_TOKEN), Ok(()));
    revoked.keep(before(None, None, 100), NOW).unwrap();
    check(&revoked, &of("43", 99), Err(Barred::Revoked));
    check(&revoked, &of("43", 100), Ok(()));
}

#[test]
fn tokens_of_a_channel_are_those_for_subscriptions_to_it() {
    let revoked = Revoked::nothing();
    let (news, sport) = (Channel::parse("news").unwrap(), Channel::parse("sport").unwrap());
    revoked.keep(before(Some("42"), Some("news"), 500), NOW).unwrap();
    let to = |channel| Bearer { channel: Some(channel), ..of("42", 1) };
    check(&revoked, &to(&news), Err(Barred::Revoked));
    check(&revoked, &to(&sport), Ok(()));
    check(&revoked, &of("42", 1), Ok(()));
    check(&revoked, &Bearer { user: "43", ..to(&news) }, Ok(()));
    revoked.keep(before(None, Some("sport"), 500), NOW).unwrap();
    check(&revoked, &Bearer { user: "43", ..to(&sport) }, Err(Barred::Revoked));
    // A revocation of all the tokens of a user is for subscription tokens too.
    revoked.keep(before(Some("43"), None, 500), NOW).unwrap();
    check(&revoked, &Bearer { user: "43", ..to(&news) }, Err(Barred::Revoked));
}

#[test]
fn a_second_revocation_never_lets_more_in_but_by_its_expiry() {
    let revoked = Revoked::nothing();
    revoked.keep(before(Some("42"), None, 500), NOW).unwrap();
    revoked.keep(Revocation { expire_at: Some(NOW + 5), ..before(Some("42"), None, 400) }, NOW).unwrap();
    assert_eq!(revoked.all(NOW), [Revocation { expire_at: Some(NOW + 5), ..before(Some("42"), None, 500) }]);
    assert_eq!(revoked.read().deadlines.len(), 1);
    revoked.keep(block("a", Some(NOW + 5)), NOW).unwrap();
    revoked.keep(block("a", None), NOW).unwrap();
    revoked.trim(NOW + 5);
    assert_eq!(revoked.all(NOW + 5), [block("a", None)]);
}

#[test]
fn the_set_is_bounded_and_what_expires_makes_room() {
    let revoked = Revoked::nothing();
    for number in 0..REVOCATIONS_MAX {
        revoked.keep(block(&number.to_string(), (number == 7).then_some(NOW + 1)), NOW).unwrap();
    }
    assert_eq!(revoked.keep(block("one more", None), NOW), Err(FULL));
    assert!(FULL.to_string().contains(&REVOCATIONS_MAX.to_string()));
    revoked.keep(block("8", Some(NOW + 9)), NOW).expect("what is there can be changed");
    revoked.keep(block("one more", None), NOW + 1).expect("one has expired");
}

#[test]
fn until_they_are_read_nobody_is_judged() {
    let revoked = Revoked::unread();
    check(&revoked, &of("42", 0), Err(Barred::NotKnown));
    check(&revoked, &of("", Bearer::NO_TOKEN), Ok(()));
    check(&revoked, &of("", 0), Err(Barred::NotKnown));
    assert!(!revoked.replace(Vec::new(), NOW));
    check(&revoked, &of("42", 0), Ok(()));
    assert!(revoked.replace(vec![block("42", None), block("old", Some(NOW))], NOW));
    check(&revoked, &of("42", 0), Err(Barred::Blocked));
    check(&revoked, &of("old", 0), Ok(()));
    assert!(!revoked.replace(vec![block("42", Some(NOW + 1))], NOW), "nobody new is kept out");
    assert!(!revoked.replace(Vec::new(), NOW));
    check(&revoked, &of("42", 0), Ok(()));
}

/// What judging costs a connect. `cargo test --release -p fanfare-broker --lib -- --ignored --nocapture judging_costs`
#[test]
#[ignore = "prints figures"]
fn judging_costs() {
    const TURNS: u32 = 1_000_000;
    for held in [0, 1, 1_000, REVOCATIONS_MAX] {
        let revoked = Revoked::nothing();
        for number in 0..held {
            revoked.keep(block(&format!("user-{number}"), None), NOW).unwrap();
        }
        let bearer = Bearer { token: Some(revoked.fingerprint("6ff9a0b2-0a3b-4f0e")), ..of("somebody-else", NOW) };
        let begun = std::time::Instant::now();
        for _ in 0..TURNS {
            assert_eq!(revoked.judge(std::hint::black_box(&bearer), NOW), Ok(()));
        }
        println!("{held} revocations: {} ns to judge a connection", (begun.elapsed() / TURNS).as_nanos());
    }
}

/// A listing cloned and sorted everything, whatever was asked for.
#[test]
fn defect_a_listing_takes_only_what_is_wanted() {
    let revoked = Revoked::nothing();
    for number in 0..500 {
        revoked.keep(block(&format!("{number:03}"), None), NOW).unwrap();
    }
    revoked.keep(block("gone", Some(NOW + 1)), NOW).unwrap();
    let is_even =
        |kept: &Revocation| matches!(&kept.subject, Subject::User(user) if user.ends_with(['0', '2', '4', '6', '8']));
    let expected = |users: &[&str]| users.iter().map(|user| block(user, None)).collect::<Vec<_>>();
    assert_eq!(revoked.list(NOW, 3, is_even), (expected(&["000", "002", "004"]), 250));
    assert_eq!(revoked.list(NOW, 0, is_even), (vec![], 250));
    let (listed, total) = revoked.list(NOW + 1, 500, |_| true);
    assert_eq!((listed.len(), total, &listed), (500, 500, &revoked.all(NOW + 1)));
}
