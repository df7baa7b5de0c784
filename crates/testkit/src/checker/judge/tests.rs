//! A good history, and for each rule a bad one that breaks it and nothing that it does not have to.

use super::*;
use crate::checker::history::{Fault, Header, Kind, Met};

const E: &str = "e1";
const F: &str = "e2";

/// A history of one channel, written down by hand. Times are in seconds.
#[derive(Default)]
struct Story {
    history: History,
}

impl Story {
    /// Two clients subscribe to a channel at 1 s that nobody has published to.
    fn begin() -> Self {
        let mut story = Self::default();
        story.history.header = Header { interests: vec![vec![0], vec![0]], ..Header::default() };
        story.subscribed(0, 1, 0, E).subscribed(1, 1, 0, E)
    }

    fn record(mut self, record: Record) -> Self {
        self.history.records.push(record);
        self
    }

    fn publish(self, id: u64, (invoked, done): (u64, u64), outcome: Outcome) -> Self {
        let (invoked, done) = (invoked * 1_000_000, done * 1_000_000);
        self.record(Record::Publish(Publish { id, channel: 0, invoked, done, outcome, keyed: 0, sentinel: None }))
    }

    fn ok(self, id: u64, times: (u64, u64), offset: u64, epoch: &str) -> Self {
        self.publish(id, times, Outcome::Acknowledged(offset, epoch.to_owned()))
    }

    fn sentinel(self, id: u64, done: u64, offset: u64, epoch: &str) -> Self {
        let calm = Calm { number: 1, at: (done - 1) * 1_000_000 };
        let mut story = self.record(Record::Calm(calm)).ok(id, (done, done), offset, epoch);
        if let Some(Record::Publish(publish)) = story.history.records.last_mut() {
            publish.sentinel = Some(1);
        }
        story
    }

    fn reply(self, client: u32, at: u64, reply: Reply) -> Self {
        let times = (at * 1_000_000 - 100_000, at * 1_000_000);
        self.record(Record::Reply(Reply { client, asked: times.0, at: times.1, ..reply }))
    }

    fn subscribed(self, client: u32, at: u64, offset: u64, epoch: &str) -> Self {
        let epoch = epoch.to_owned();
        self.reply(client, at, Reply { offset, epoch, ..empty() })
    }

    fn recovered(self, client: u32, at: u64, from: (u64, &str), batch: &[(u64, u64)]) -> Self {
        let from = (from.0, from.1.to_owned());
        let (offset, epoch) = from.clone();
        let batch = batch.to_vec();
        self.reply(client, at, Reply { from: Some(from), offset, epoch, recovered: Some(true), batch, ..empty() })
    }

    fn not_recovered(self, client: u32, at: u64, from: (u64, &str), to: (u64, &str)) -> Self {
        let from = Some((from.0, from.1.to_owned()));
        let (offset, epoch) = (to.0, to.1.to_owned());
        self.reply(client, at, Reply { from, offset, epoch, recovered: Some(false), ..empty() })
    }

    fn live(self, client: u32, at: u64, offset: u64, id: u64) -> Self {
        let at = at * 1_000_000 + 500_000;
        self.record(Record::Live(Live { client, channel: 0, at, offset, epoch: None, id }))
    }

    fn both_live(self, at: u64, offset: u64, id: u64) -> Self {
        self.live(0, at, offset, id).live(1, at, offset, id)
    }

    fn told(self, client: u32, at: u64) -> Self {
        self.record(Record::Told(Told { client, channel: 0, at: at * 1_000_000, code: 2500 }))
    }

    fn closed(self, client: u32, at: u64, code: u32) -> Self {
        self.record(Record::Closed(Closed { client, at: at * 1_000_000, code }))
    }

    fn fault(self, kind: Kind, from: u64, to: u64) -> Self {
        let (began, ended) = (from * 1_000_000, to * 1_000_000);
        self.record(Record::Fault(Fault { kind, node: None, began, ended, count: 1, met: Met::default() }))
    }

    /// The rules that are broken.
    fn broken(&self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = judge(&self.history).into_iter().map(|violation| violation.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    fn is_good(&self) {
        assert_eq!(judge(&self.history), []);
    }

    fn breaks(&self, rules: &[Rule]) {
        assert_eq!(self.broken(), rules, "{:#?}", judge(&self.history));
    }
}

fn empty() -> Reply {
    Reply {
        client: 0,
        channel: 0,
        asked: 0,
        at: 0,
        from: None,
        offset: 0,
        epoch: String::new(),
        recovered: None,
        batch: Vec::new(),
    }
}

/// Two publications that both clients got.
fn two() -> Story {
    Story::begin().ok(1, (2, 3), 1, E).both_live(3, 1, 1).ok(2, (4, 5), 2, E).both_live(5, 2, 2)
}

#[test]
fn what_is_promised_is_good() {
    two().sentinel(3, 10, 3, E).both_live(11, 3, 3).is_good();
    two().closed(0, 6, 0).ok(3, (7, 8), 3, E).live(1, 8, 3, 3).recovered(0, 9, (2, E), &[(3, 3)]).is_good();
    two().publish(3, (6, 7), Outcome::Unknown).is_good();
    two().publish(3, (6, 7), Outcome::Unknown).both_live(9, 3, 3).is_good();
    two().publish(3, (6, 7), Outcome::Failed).is_good();
    let lost = two().fault(Kind::RedisEmpty, 6, 7).told(0, 8).not_recovered(0, 9, (2, E), (0, F));
    lost.told(1, 8).not_recovered(1, 9, (2, E), (0, F)).ok(3, (10, 11), 1, F).both_live(11, 1, 3).is_good();
}

#[test]
fn nothing_is_received_that_was_not_published() {
    two().live(0, 6, 3, 9).breaks(&[Rule::Invented]);
    two().ok(3, (8, 9), 3, E).both_live(7, 3, 3).breaks(&[Rule::Invented]);
    two().live(0, 6, 3, 0).breaks(&[Rule::Invented]);
}

#[test]
fn what_failed_is_never_delivered() {
    two().publish(3, (6, 7), Outcome::Failed).both_live(8, 3, 3).breaks(&[Rule::FailedDelivered]);
}

#[test]
fn nothing_comes_twice() {
    two().live(0, 6, 3, 2).breaks(&[Rule::Doubled, Rule::TwoPositions]);
    two().live(0, 6, 2, 2).breaks(&[Rule::Doubled, Rule::Reordered]);
    let unknown = two().publish(3, (6, 7), Outcome::Unknown).both_live(8, 3, 3);
    unknown.both_live(9, 4, 3).breaks(&[Rule::Doubled, Rule::TwoPositions]);
}

#[test]
fn a_repetition_after_a_loss_is_no_double() {
    let (from, to) = ((3, E), (0, F));
    let story = |kind| two().live(0, 6, 3, 3).fault(kind, 7, 8).not_recovered(0, 9, from, to).live(0, 9, 1, 3);
    story(Kind::Flush).ok(3, (6, 9), 1, F).not_recovered(1, 9, (2, E), to).live(1, 9, 1, 3).is_good();
    let within = two().fault(Kind::Flush, 6, 7).ok(3, (6, 9), 3, E).both_live(9, 3, 3);
    within.live(0, 10, 4, 3).breaks(&[Rule::Doubled, Rule::TwoPositions]);
}

#[test]
fn a_stream_leaves_nothing_out() {
    let three = || two().ok(3, (6, 7), 3, E).ok(4, (8, 9), 4, E);
    three().live(0, 7, 3, 3).both_live(9, 4, 4).breaks(&[Rule::Skipped, Rule::Lost]);
}

#[test]
fn a_stream_never_goes_back() {
    let story = || Story::begin().ok(1, (2, 3), 1, E).ok(2, (4, 5), 2, E).live(1, 3, 1, 1).live(1, 5, 2, 2);
    story().live(0, 5, 2, 2).live(0, 5, 1, 1).breaks(&[Rule::Skipped, Rule::Reordered]);
}

#[test]
fn a_batch_goes_on_where_the_client_stood() {
    let four = || two().ok(3, (6, 7), 3, E).ok(4, (8, 9), 4, E).live(1, 7, 3, 3).live(1, 9, 4, 4);
    four().recovered(0, 10, (2, E), &[(3, 3), (4, 4)]).is_good();
    four().recovered(0, 10, (2, E), &[(4, 4)]).breaks(&[Rule::BatchBroken, Rule::Lost]);
    let doubled = four().recovered(0, 10, (2, E), &[(3, 3), (3, 3), (4, 4)]);
    doubled.breaks(&[Rule::Doubled, Rule::BatchBroken]);
    let swapped = four().recovered(0, 10, (2, E), &[(4, 4), (3, 3)]);
    assert!(swapped.broken().contains(&Rule::BatchBroken));
}

#[test]
fn a_batch_and_what_is_live_have_no_hole() {
    let story = two().ok(3, (6, 7), 3, E).ok(4, (8, 9), 4, E).live(1, 7, 3, 3).live(1, 9, 4, 4);
    story.recovered(0, 6, (2, E), &[]).live(0, 9, 4, 4).breaks(&[Rule::Skipped, Rule::Lost]);
}

#[test]
fn one_position_has_one_payload() {
    let story = two().ok(3, (6, 7), 3, E).publish(4, (6, 7), Outcome::Unknown);
    story.live(0, 7, 3, 3).live(1, 7, 3, 4).breaks(&[Rule::TwoPayloads, Rule::Lost]);
}

#[test]
fn the_acknowledged_position_is_the_one_that_subscribers_see() {
    let story = two().ok(3, (6, 7), 4, E).publish(4, (6, 7), Outcome::Unknown).both_live(7, 3, 3).both_live(8, 4, 4);
    story.breaks(&[Rule::TwoPayloads, Rule::TwoPositions]);
    two().publish(3, (6, 7), Outcome::Placeless).both_live(7, 3, 3).breaks(&[Rule::Placeless]);
    two().ok(3, (6, 7), 3, F).both_live(7, 3, 3).breaks(&[Rule::TwoPositions]);
}

#[test]
fn what_was_acknowledged_before_has_the_smaller_offset() {
    let story = Story::begin().ok(2, (4, 5), 1, E).ok(1, (2, 3), 2, E).both_live(5, 1, 2).both_live(5, 2, 1);
    story.breaks(&[Rule::Order]);
    let overlapping = Story::begin().ok(2, (3, 5), 1, E).ok(1, (2, 3), 2, E).both_live(5, 1, 2).both_live(5, 2, 1);
    overlapping.is_good();
    let unknown = Story::begin().publish(2, (4, 5), Outcome::Unknown).ok(1, (2, 3), 2, E);
    unknown.both_live(5, 1, 2).both_live(5, 2, 1).breaks(&[Rule::Order]);
}

#[test]
fn what_was_received_before_has_the_smaller_offset() {
    let unknown = Story::begin().publish(1, (2, 9), Outcome::Unknown).live(0, 3, 1, 1);
    unknown.ok(2, (5, 6), 2, E).live(0, 6, 2, 2).live(1, 6, 1, 1).live(1, 6, 2, 2).is_good();
    let skipped = Story::begin().publish(1, (2, 9), Outcome::Unknown).live(0, 3, 2, 1).ok(2, (5, 6), 1, E);
    assert!(skipped.broken().contains(&Rule::Order));
}

#[test]
fn a_position_given_to_a_subscriber_holds() {
    two().subscribed(2, 6, 2, E).is_good();
    assert!(two().subscribed(2, 6, 1, E).broken().contains(&Rule::StaleRead));
    let early = two().subscribed(2, 6, 3, E).ok(3, (8, 9), 3, E).both_live(9, 3, 3);
    early.breaks(&[Rule::StaleRead]);
}

#[test]
fn nothing_acknowledged_is_lost() {
    two().ok(3, (6, 7), 3, E).breaks(&[Rule::Lost]);
    two().ok(3, (6, 7), 3, E).live(0, 7, 3, 3).breaks(&[Rule::Lost]);
    two().publish(3, (6, 7), Outcome::Placeless).breaks(&[Rule::Placeless, Rule::Lost]);
    // A stream that nobody ever was in.
    two().ok(3, (6, 7), 1, F).breaks(&[Rule::Lost]);
}

#[test]
fn a_loss_with_a_fault_and_a_notice_is_none() {
    let story = || two().ok(3, (6, 7), 3, E).fault(Kind::Failover, 6, 8);
    story().not_recovered(0, 9, (2, E), (2, F)).not_recovered(1, 9, (2, E), (2, F)).is_good();
    story().not_recovered(0, 9, (2, E), (2, F)).breaks(&[Rule::Lost]);
}

#[test]
fn a_master_that_is_replaced_may_acknowledge_what_nobody_gets() {
    let told = |story: Story| story.not_recovered(0, 7, (2, E), (2, F)).not_recovered(1, 7, (2, E), (2, F));
    told(two().fault(Kind::Failover, 6, 9)).ok(3, (8, 9), 1, "e3").is_good();
    told(two().fault(Kind::Failover, 6, 7)).ok(3, (8, 9), 1, "e3").breaks(&[Rule::Lost]);
    told(two().fault(Kind::Failover, 6, 9)).ok(3, (8, 9), 3, F).breaks(&[Rule::Lost]);
}

#[test]
fn telling_is_no_way_out() {
    let flaws = [Kind::NodeKill, Kind::RedisStop, Kind::ClientKill, Kind::OutputLimit, Kind::ReplyCut, Kind::Cut];
    for kind in flaws {
        let story = || two().fault(kind, 6, 7);
        story().told(0, 8).recovered(0, 9, (2, E), &[]).breaks(&[Rule::FalseAlarm]);
        story().not_recovered(0, 9, (2, E), (0, F)).breaks(&[Rule::FalseAlarm]);
        story().closed(0, 8, 3010).recovered(0, 9, (2, E), &[]).breaks(&[Rule::FalseAlarm]);
    }
}

#[test]
fn a_fault_excuses_what_it_broke_and_nothing_later() {
    let flushed = || two().fault(Kind::Flush, 6, 7).not_recovered(0, 9, (2, E), (0, F));
    flushed().is_good();
    flushed().told(0, 10).breaks(&[Rule::FalseAlarm]);
    flushed().not_recovered(0, 10, (0, F), (0, "e3")).breaks(&[Rule::FalseAlarm]);
    two().fault(Kind::Flush, 1, 2).told(0, 8).breaks(&[Rule::FalseAlarm]);
}

#[test]
fn a_notice_within_one_epoch_is_never_excused() {
    two().fault(Kind::Flush, 6, 7).not_recovered(0, 9, (2, E), (2, E)).breaks(&[Rule::FalseAlarm]);
}

#[test]
fn a_recovery_stays_in_its_stream() {
    let other = Reply { offset: 2, epoch: F.to_owned(), recovered: Some(true), ..empty() };
    let story = two().fault(Kind::Failover, 6, 7);
    story.reply(0, 9, Reply { from: Some((2, E.to_owned())), ..other }).breaks(&[Rule::FalseRecovery]);
}

#[test]
fn a_stream_does_not_change_its_epoch_unsaid() {
    let mut story = two().fault(Kind::Flush, 6, 7).ok(3, (8, 9), 1, F).live(0, 9, 1, 3);
    if let Some(Record::Live(live)) = story.history.records.last_mut() {
        live.epoch = Some(F.to_owned());
    }
    assert!(story.broken().contains(&Rule::FalseRecovery));
}

#[test]
fn connections_end_for_known_reasons() {
    for code in [1011, 3500, 3501, 3504, 4000] {
        two().closed(0, 6, code).breaks(&[Rule::UnexpectedEnd]);
    }
    let mut story = two().told(0, 6);
    if let Some(Record::Told(told)) = story.history.records.last_mut() {
        told.code = 2000;
    }
    story.breaks(&[Rule::UnexpectedEnd]);
}

#[test]
fn everybody_is_at_the_sentinel_in_time() {
    let story = || two().sentinel(3, 10, 3, E).live(0, 11, 3, 3);
    story().breaks(&[Rule::Lost, Rule::Behind]);
    story().live(1, 21, 3, 3).breaks(&[Rule::Behind]);
    story().live(1, 19, 3, 3).is_good();
    two().record(Record::Calm(Calm { number: 1, at: 0 })).breaks(&[Rule::Behind]);
    let mut nowhere = two().sentinel(3, 10, 3, E).both_live(11, 3, 3);
    nowhere.history.header.interests.push(vec![0]);
    nowhere.breaks(&[Rule::Behind]);
}

#[test]
fn a_client_that_is_not_what_it_says_is_found() {
    two().recovered(0, 9, (1, E), &[]).breaks(&[Rule::BatchBroken, Rule::StaleRead, Rule::Checker]);
}

#[test]
fn a_history_survives_its_file() {
    let path = std::env::temp_dir().join(format!("fanfare-history-{}.json", std::process::id()));
    let story = two().fault(Kind::Flush, 6, 7).told(0, 8).closed(1, 9, 3008).not_recovered(0, 9, (2, E), (0, F));
    let story = story.record(Record::End(10_000_000));
    story.history.write(&path).unwrap();
    let read = History::read(&path);
    std::fs::write(&path, "{}\n").unwrap();
    let cut_off = History::read(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read.unwrap(), story.history);
    assert!(cut_off.is_err());
}
