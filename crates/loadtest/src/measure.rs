//! One run: publications go out by their schedule, and what comes of them is put together.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rand::RngExt as _;

use crate::clock::{Clock, nanoseconds};
use crate::fleet::{Ended, Fleet};
use crate::loader::{Churn, Collected, Missing, Order, Recipients};
use crate::meter::{Reading, Spent};
use crate::plan::{Plan, Protocol, Scenario};
use crate::publisher::{self, Job, Lines, Progress, Published, State};
use crate::record::{Record, Window};
use crate::run::{Error, Step, Watch, not_ready};
use crate::usage::Processes;
use crate::writes::Writes;

/// From the beginning of a run to its first publication: all threads know of it by then.
const LEAD: Duration = Duration::from_millis(50);
/// How often the run looks at how far it is.
const LOOK: Duration = Duration::from_millis(10);
/// What comes twice may come late: as long is listened at least after the last delivery.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// For so long nothing comes when a run before has ended in the server too.
const QUIET: Duration = Duration::from_millis(300);

/// What a run was like, before it is made into a report.
pub(crate) struct Measured {
    pub(crate) window: Window,
    pub(crate) record: Record,
    pub(crate) published: Published,
    pub(crate) recipients: Recipients,
    pub(crate) missing: Missing,
    /// From before the first publication until all was published.
    pub(crate) publishing: Spent,
    /// From then until all was delivered and everyone was back, or it was given up.
    pub(crate) returning: Spent,
    /// From before the first publication until the end.
    pub(crate) all: Spent,
    /// By the nodes' own count, if they are Fanfares.
    pub(crate) messages_per_write: Option<f64>,
    /// Connections that were ready then.
    pub(crate) ready_at_end: usize,
}

/// Carries out runs with the same connections.
pub(crate) struct Runner<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) fleet: &'a Fleet,
    pub(crate) clock: Clock,
    pub(crate) processes: &'a Processes,
    pub(crate) watch: &'a dyn Watch,
}

impl Runner<'_> {
    /// Publishes at this rate, with whatever the scenario does meanwhile.
    pub(crate) fn run(&self, rate: f64) -> Result<Measured, Error> {
        let plan = Plan { rate, ..self.plan.clone() };
        let (target, dialect) = plan.dialect();
        let lines = Lines::open(target.clone(), dialect, plan.publishers.min(plan.channels as usize))
            .map_err(|error| Error::Publish { to: target.to_string(), error })?;
        self.wait_for_connections(&plan)?;
        // Nodes may be far, and the first publications are due soon after the window is fixed.
        let written_before = self.writes();
        let window = self.window(&plan);
        let recipients = self.fleet.begin(window)?;
        let before = self.reading();
        if plan.scenario == Scenario::Recover {
            self.fleet.order(|| Order::Cut)?;
        }
        let published = self.publish(&plan, window, &lines)?;
        let all_published = self.reading();
        let settled = self.wait_for_deliveries(&plan, &recipients, &published)?;
        let publishing = all_published.since(&before);
        let returning = settled.since(&all_published);
        let all = self.reading().since(&before);
        let messages_per_write =
            self.writes().zip(written_before).and_then(|(after, before)| after.messages_since(before));
        let ready_at_end = self.fleet.ready();
        let together = |mut all: Collected, one: Collected| {
            all.record.add(&one.record);
            all.missing.add(&one.missing);
            all
        };
        let Collected { record, missing } = self.fleet.collect()?.into_iter().reduce(together).ok_or(Ended)?;
        Ok(Measured {
            window,
            record,
            published,
            recipients,
            missing,
            publishing,
            returning,
            all,
            messages_per_write,
            ready_at_end,
        })
    }

    /// Waits until nothing comes any more of a run before, which the server may have given up on later than we have.
    pub(crate) fn wait_for_quiet(&self) -> Result<(), Error> {
        let deadline = self.clock.now() + nanoseconds(self.plan.drain);
        let (mut seen, mut since) = (self.fleet.seen(), self.clock.now());
        while self.clock.now() < deadline.min(since + nanoseconds(QUIET)) {
            self.look(Step::Draining, 0, 1)?;
            let now_seen = self.fleet.seen();
            if now_seen != seen {
                (seen, since) = (now_seen, self.clock.now());
            }
        }
        Ok(())
    }

    fn writes(&self) -> Option<Writes> {
        (self.plan.protocol == Protocol::Fanfare).then(|| Writes::now(&self.plan.targets)).flatten()
    }

    fn reading(&self) -> Reading {
        Reading::now(self.clock, self.processes, self.fleet)
    }

    /// Everyone has to be there: in a search, the run before may have cost connections.
    fn wait_for_connections(&self, plan: &Plan) -> Result<(), Error> {
        let deadline = self.clock.now() + nanoseconds(plan.patience);
        while self.fleet.ready() < plan.connections {
            if self.clock.now() > deadline {
                return Err(not_ready(plan, self.fleet));
            }
            self.look(Step::Connecting, self.fleet.ready() as u64, plan.connections as u64)?;
        }
        Ok(())
    }

    fn window(&self, plan: &Plan) -> Window {
        let publications = plan.publications();
        let gap = 1e9 / plan.rate;
        let start = self.clock.now() + nanoseconds(LEAD);
        Window {
            run: rand::rng().random_range(1..=u16::MAX),
            start,
            timed_from: start + nanoseconds(plan.warm_up),
            end: start + (publications as f64 * gap) as u64,
            publications,
            channels: plan.channels,
            gap,
            burst: plan.burst,
        }
    }

    /// Publishes all, while the scenario takes its course.
    fn publish(&self, plan: &Plan, window: Window, lines: &Lines) -> Result<Published, Error> {
        let job = Job {
            window,
            channels: plan.channels(),
            payload_bytes: plan.payload_bytes,
            in_flight_max: plan.in_flight_max,
            clock: self.clock,
            patience: nanoseconds(plan.drain),
        };
        let progress = Progress::default();
        let published = thread::scope(|scope| {
            let publisher = thread::Builder::new()
                .name("publisher".to_owned())
                .spawn_scoped(scope, || publisher::publish(&job, lines, &progress));
            let publisher = publisher.map_err(Error::Machine)?;
            let course = self.take_course(plan, window, &progress, || publisher.is_finished());
            progress.stop.store(course.is_err(), Ordering::Relaxed);
            let published = publisher.join().map_err(|_| Error::Ended)?.map_err(Error::Machine)?;
            course.map(|()| published)
        })?;
        if plan.scenario == Scenario::Recover {
            self.fleet.order(|| Order::Open { per_second: None })?;
        }
        Ok(published)
    }

    /// What the scenario does while is published.
    fn take_course(
        &self,
        plan: &Plan,
        window: Window,
        progress: &Progress,
        done: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let mut middle = Some(window.timed_from + (window.end - window.timed_from) / 2);
        self.begin_course(plan)?;
        while !done() {
            if middle.is_some_and(|middle| self.clock.now() >= middle) {
                middle = None;
                self.middle_of_course(plan)?;
            }
            self.look(Step::Publishing, progress.due.load(Ordering::Relaxed), window.publications as u64)?;
        }
        self.end_course(plan)
    }

    fn begin_course(&self, plan: &Plan) -> Result<(), Ended> {
        match plan.scenario {
            Scenario::Slow => self.fleet.order(|| Order::Stall(true)),
            Scenario::Churn => {
                let per_second = plan.churn_rate / self.fleet.len() as f64;
                let churn = Churn { per_second, reconnect: plan.churn_connections };
                self.fleet.order(|| Order::Churn(Some(churn)))
            }
            _ => Ok(()),
        }
    }

    fn middle_of_course(&self, plan: &Plan) -> Result<(), Ended> {
        if plan.scenario != Scenario::Storm {
            return Ok(());
        }
        self.fleet.order(|| Order::Cut)?;
        self.fleet.order(|| Order::Open { per_second: None })
    }

    fn end_course(&self, plan: &Plan) -> Result<(), Error> {
        match plan.scenario {
            Scenario::Slow => self.fleet.order(|| Order::Stall(false))?,
            Scenario::Churn => self.fleet.order(|| Order::Churn(None))?,
            _ => {}
        }
        Ok(())
    }

    /// Waits until everything that is owed has come and everyone is back, or the time for it is over; returns the reading of
    /// then. A little longer is listened for what comes twice.
    fn wait_for_deliveries(
        &self,
        plan: &Plan,
        recipients: &Recipients,
        published: &Published,
    ) -> Result<Reading, Error> {
        // What has no answer may be on its way all the same.
        let states = [State::Acknowledged, State::Sent];
        let owed = owed(published, &states, &recipients.ordinary) + owed(published, &states, &recipients.slow);
        let deadline = self.clock.now() + nanoseconds(plan.drain);
        // When all was there, and how much that was: with what nobody had to wait for it may be more than is owed.
        let mut all: Option<(u64, u64, Reading)> = None;
        loop {
            let (settled, now) = (self.fleet.settled(), self.clock.now());
            let is_new = all.as_ref().is_none_or(|(_, before, _)| settled > *before);
            if is_new && settled >= owed && self.fleet.ready() >= plan.connections {
                all = Some((now, settled, self.reading()));
            }
            let over = all.as_ref().is_some_and(|(since, ..)| now - since >= nanoseconds(AFTERWARDS));
            if over || now >= deadline {
                return Ok(all.map_or_else(|| self.reading(), |(.., reading)| reading));
            }
            self.look(Step::Draining, settled.min(owed), owed)?;
        }
    }

    fn look(&self, step: Step, done: u64, of: u64) -> Result<(), Error> {
        look(self.watch, self.fleet, step, [done, of])
    }
}

/// Tells how far a step is, and sleeps until the next look.
pub(crate) fn look(watch: &dyn Watch, fleet: &Fleet, step: Step, [done, of]: [u64; 2]) -> Result<(), Error> {
    watch.look(step, done, of, fleet.ready());
    if watch.stopped() {
        return Err(Error::Stopped);
    }
    thread::sleep(LOOK);
    Ok(())
}

/// Publications in these states, each by the recipients of its channel.
pub(crate) fn owed(published: &Published, states: &[State], recipients: &[u32]) -> u64 {
    let mut publications = vec![0_u64; recipients.len()];
    for index in 0..published.states.len() {
        let counts = states.iter().any(|state| published.states.is(index, *state));
        publications[index % recipients.len()] += u64::from(counts);
    }
    publications.iter().zip(recipients).map(|(publications, each)| publications * u64::from(*each)).sum()
}
