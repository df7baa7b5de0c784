use super::*;

const RATES: Rates = Rates { commands: Some(10), publishes: Some(2), bytes: Some(1_000) };

fn over(charged: Charged) -> Option<Excess> {
    match charged {
        Charged::Fine => None,
        Charged::Over(excess) | Charged::TooMany(excess) => Some(excess),
    }
}

/// How many commands are taken in a row.
fn taken(buckets: &mut Buckets, is_publish: bool, now: u64) -> usize {
    (0..1_000).take_while(|_| buckets.take_command(&RATES, is_publish, now).is_ok()).count()
}

#[test]
fn a_bucket_holds_ten_seconds_and_fills_up_evenly() {
    let mut buckets = Buckets::default();
    assert_eq!(taken(&mut buckets, false, 0), 100);
    assert_eq!(taken(&mut buckets, false, 99), 0);
    assert_eq!(taken(&mut buckets, false, 100), 1);
    assert_eq!(taken(&mut buckets, false, 1_100), 10);
    assert_eq!(taken(&mut buckets, false, 1_000_000), 100);
}

#[test]
fn looking_often_takes_nothing_from_what_comes_in() {
    let mut buckets = Buckets::default();
    taken(&mut buckets, false, 0);
    let count: usize = (1..=1_000).map(|now| taken(&mut buckets, false, now)).sum();
    assert_eq!(count, 10);
}

#[test]
fn a_publish_is_both_and_a_refused_one_is_neither() {
    let mut buckets = Buckets::default();
    assert_eq!(taken(&mut buckets, true, 0), 20);
    assert_eq!(buckets.take_command(&RATES, true, 0), Err(Excess::Publishes));
    assert_eq!(taken(&mut buckets, false, 0), 80, "the refused publish took no command");
}

#[test]
fn who_goes_on_when_refused_is_closed() {
    let mut buckets = Buckets::default();
    let charges: Vec<_> = (0..2_000).map(|_| buckets.charge_command(&RATES, None, false, 0)).collect();
    let refusals = (REFUSALS_PER_SECOND * BURST_SECONDS) as usize;
    let is = |wanted: Charged| charges.iter().filter(|charged| **charged == wanted).count();
    assert_eq!(is(Charged::Fine), 100);
    assert_eq!(is(Charged::Over(Excess::Commands)), refusals);
    assert_eq!(is(Charged::TooMany(Excess::Commands)), 2_000 - 100 - refusals);
}

#[test]
fn the_sessions_of_a_user_take_from_one_bucket() {
    let user = UserBuckets::default();
    let rates = Rates { publishes: None, ..RATES };
    let mut sessions = [Buckets::default(); 4];
    let each = Rates::default();
    let charged = (0..104).map(|at| sessions[at % 4].charge_command(&each, Some((&user, &rates)), false, 0));
    assert_eq!(charged.filter_map(over).collect::<Vec<_>>(), [Excess::UserCommands; 4]);
    assert_eq!(sessions[0].charge_command(&each, None, false, 0), Charged::Fine, "another user's");
}

#[test]
fn reading_pauses_until_the_bytes_are_there() {
    let mut buckets = Buckets::default();
    assert_eq!(buckets.charge_bytes(&RATES, None, 10_000, 0), Reading::GoesOn);
    let half = Reading::Pauses(Duration::from_millis(500), Excess::Bytes);
    assert_eq!(buckets.charge_bytes(&RATES, None, 500, 0), half);
    assert_eq!(buckets.charge_bytes(&RATES, None, 0, 500), Reading::GoesOn);
    let long = Reading::Pauses(Duration::from_secs(1), Excess::Bytes);
    assert_eq!(buckets.charge_bytes(&RATES, None, 100_000, 500), long);
}

#[test]
fn what_the_sessions_of_a_user_read_in_spite_of_pauses_has_an_end() {
    let user = UserBuckets::default();
    let read = |bytes| Buckets::default().charge_bytes(&Rates::default(), Some((&user, &RATES)), bytes, 0);
    assert_eq!(read(10_000), Reading::GoesOn);
    assert!(matches!(read(10_000), Reading::Pauses(_, Excess::UserBytes)));
    assert_eq!(read(1), Reading::TooMuch(Excess::UserBytes));
}

#[test]
fn without_limits_nothing_is_counted() {
    let mut buckets = Buckets::default();
    let none = Rates::default();
    assert!((0..100_000).all(|_| buckets.charge_command(&none, None, true, 0) == Charged::Fine));
    assert_eq!(buckets.charge_bytes(&none, None, usize::MAX, 0), Reading::GoesOn);
    assert_eq!((buckets.commands, buckets.publishes, buckets.bytes), (0, 0, 0));
}

#[test]
fn a_clock_that_goes_around_and_the_largest_rates_do_no_harm() {
    let largest = Rates { commands: Some(u32::MAX), publishes: Some(u32::MAX), bytes: Some(u32::MAX) };
    let mut buckets = Buckets::default();
    for now in [0, 1, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
        assert_eq!(buckets.charge_command(&largest, None, true, now), Charged::Fine);
        buckets.charge_bytes(&largest, None, usize::MAX, now);
    }
    let mut slept = Buckets::default();
    taken(&mut slept, false, 0);
    assert!(taken(&mut slept, false, 1 << 32) <= 100);
}

/// Another shard that read its clock earlier comes to the user's buckets later.
#[test]
fn defect_a_clock_that_was_behind_filled_the_buckets_of_a_user() {
    let user = UserBuckets::default();
    assert!((0..100).all(|_| user.take(&RATES, false, 1_001).is_ok()));
    assert_eq!(user.take(&RATES, false, 1_000), Err(Excess::UserCommands));
    assert_eq!(user.take(&RATES, false, 1_100), Err(Excess::UserCommands), "the earlier time is not filled from");
    assert_eq!(user.take(&RATES, false, 1_101), Ok(()));
    // Nor where the clock has gone around in between.
    let user = UserBuckets::default();
    let around = 1 << 32;
    assert!((0..100).all(|_| user.take(&RATES, false, around).is_ok()));
    assert_eq!(user.take(&RATES, false, around - 1), Err(Excess::UserCommands));
}

#[test]
fn a_session_and_a_user_carry_little() {
    assert_eq!(size_of::<Buckets>(), 20);
    assert!(size_of::<UserBuckets>() <= 28);
}

#[test]
fn defect_a_user_was_locked_where_nothing_limits_users() {
    let user = UserBuckets::default();
    let _locked = user.lock();
    let none = Rates::default();
    let (charged, read) = std::sync::mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(|| charged.send(Buckets::default().charge_command(&none, Some((&user, &none)), true, 0)));
        assert_eq!(read.recv_timeout(Duration::from_secs(10)), Ok(Charged::Fine));
    });
    assert_eq!(Buckets::default().charge_bytes(&none, Some((&user, &none)), 1, 0), Reading::GoesOn);
}
