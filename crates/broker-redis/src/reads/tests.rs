use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use fanfare_broker::{Publication, StreamPosition};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::*;

const EPOCH: &str = "e";

fn since(offset: u64) -> HistoryQuery {
    HistoryQuery { limit: 10, since: Some(Since { offset, epoch: EPOCH.to_owned() }), reverse: false }
}

/// A stream whose reads are counted and let through one by one.
struct Stream {
    reads: Reads,
    channel: Channel,
    top: RefCell<u64>,
    asked: RefCell<Vec<HistoryQuery>>,
    gate: Semaphore,
}

impl Stream {
    fn new(top: u64) -> Self {
        Self {
            reads: Reads::default(),
            channel: Channel::parse("news").unwrap(),
            top: RefCell::new(top),
            asked: RefCell::default(),
            gate: Semaphore::new(0),
        }
    }

    async fn read(&self, query: HistoryQuery) -> Result<History, Error> {
        self.asked.borrow_mut().push(query.clone());
        let history = self.plain(&query);
        self.gate.acquire().await.unwrap().forget();
        history
    }

    /// What a read gives that is not shared.
    fn plain(&self, query: &HistoryQuery) -> Result<History, Error> {
        let top = StreamPosition { offset: *self.top.borrow(), epoch: EPOCH.into() };
        query.check(&top)?;
        let first = query.since.as_ref().map_or(1, |since| since.offset + 1);
        let publications = (first..=top.offset).take(query.limit).map(|offset| self.publication(offset)).collect();
        Ok(History { publications, top })
    }

    fn publication(&self, offset: u64) -> Arc<Publication> {
        Arc::new(Publication {
            channel: self.channel.clone(),
            data: Bytes::from_static(b"1"),
            json: true,
            position: Some(StreamPosition { offset, epoch: EPOCH.into() }),
            info: None,
            tags: BTreeMap::new(),
            version: 0,
            accepted_at: Instant::now(),
        })
    }

    async fn ask(&self, query: HistoryQuery) -> Result<(Vec<u64>, u64), Error> {
        self.reads.share(&self.channel, &query, |query| self.read(query)).await.map(|history| in_short(&history))
    }

    /// Asks all before a read is answered; lets two be answered then.
    async fn ask_at_once(
        &self,
        queries: impl IntoIterator<Item = HistoryQuery>,
    ) -> Vec<Result<(Vec<u64>, u64), Error>> {
        let answers = join_all(queries.into_iter().map(|query| self.ask(query)));
        let answering = async {
            while self.asked() == 0 {
                tokio::task::yield_now().await;
            }
            self.gate.add_permits(2);
        };
        tokio::join!(answers, answering).0
    }

    fn asked(&self) -> usize {
        self.asked.borrow().len()
    }
}

fn in_short(history: &History) -> (Vec<u64>, u64) {
    let offsets = history.publications.iter().map(|publication| publication.position.as_ref().unwrap().offset);
    (offsets.collect(), history.top.offset)
}

#[tokio::test]
async fn a_thousand_that_ask_at_once_cost_two_reads() {
    let stream = Stream::new(20);
    let answers = stream.ask_at_once((0..1_000).map(|caller| since(10 + caller % 8))).await;
    // The first one waits for nobody.
    assert_eq!(stream.asked(), 2);
    for (caller, answer) in answers.into_iter().enumerate() {
        let query = since(10 + caller as u64 % 8);
        assert_eq!(answer, stream.plain(&query).map(|history| in_short(&history)), "{query:?}");
    }
    assert!(stream.reads.lanes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_asks_while_a_read_is_under_way_gets_what_came_meanwhile() {
    let stream = Stream::new(20);
    let early = stream.ask(since(18));
    let late = async {
        while stream.asked() == 0 {
            tokio::task::yield_now().await;
        }
        // The read under way has been answered with 20 already.
        *stream.top.borrow_mut() = 21;
        let late = join_all((0..500).map(|_| stream.ask(since(20))));
        stream.gate.add_permits(2);
        late.await
    };
    let (early, late) = tokio::join!(early, late);
    assert_eq!(early, Ok((vec![19, 20], 20)));
    assert!(late.iter().all(|answer| *answer == Ok((vec![21], 21))));
    assert_eq!(stream.asked(), 2);
}

#[tokio::test]
async fn a_caller_that_gives_up_holds_up_nobody() {
    let stream = Stream::new(20);
    let mut first = Box::pin(stream.ask(since(18)));
    let mut second = Box::pin(stream.ask(since(19)));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    stream.gate.add_permits(1);
    assert_eq!(second.await, Ok((vec![20], 20)));
    assert_eq!(stream.asked(), 2);
    assert!(stream.reads.lanes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn positions_far_apart_and_pages_in_reverse_are_read_alone() {
    let stream = Stream::new(100);
    stream.gate.add_permits(10);
    let queries = [since(90), since(1), HistoryQuery { reverse: true, ..since(90) }, HistoryQuery::default()];
    join_all(queries.map(|query| stream.ask(query))).await;
    assert_eq!(stream.asked(), 4);
}

#[tokio::test]
async fn another_epoch_is_refused_to_who_has_it_alone() {
    let stream = Stream::new(20);
    let stale = HistoryQuery { since: Some(Since { offset: 18, epoch: "old".to_owned() }), ..since(18) };
    let answers = stream.ask_at_once([since(17), since(18), stale]).await;
    assert_eq!(answers[1..], [Ok((vec![19, 20], 20)), Err(Error::UnrecoverablePosition)]);
    assert_eq!(stream.asked(), 2);
}
