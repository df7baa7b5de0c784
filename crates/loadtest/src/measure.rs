//! One run: publications go out by their schedule, and what comes of them is put together.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use rand::RngExt as _;

use crate::clock::Clock;
use crate::clock::nanoseconds;
use crate::fleet::{Ended, Fleet};
use crate::loader::{Churn, Missing, Order, Recipients};
use crate::plan::{Plan, Scenario};
use crate::publisher::{self, Job, Lines, Progress, Published, Schedule, State};
use crate::record::{Record, Window};
use crate::run::{Error, Step, Watch};
use crate::usage::{MachineUse, Processes, ThreadUse};

/// From the beginning of a run to its first publication: all threads know of it by then.
const LEAD: Duration = Duration::from_millis(50);
/// How often the run looks at how far it is.
const LOOK: Duration = Duration::from_millis(10);
/// What comes twice may come late: as long is listened at least after the last delivery.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// What a run was like, before it is made into a report.
pub(crate) struct Measured {
    pub(crate) schedule: Schedule,
    pub(crate) record: Record,
    pub(crate) published: Published,
    pub(crate) recipients: Recipients,
    pub(crate) missing: Vec<Missing>,
    /// From the first publication until all was delivered, or given up.
    pub(crate) took: Duration,
    pub(crate) server_cpu: Option<Duration>,
    pub(crate) loaders: Vec<ThreadUse>,
    pub(crate) stolen: f64,
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
        let schedule = self.schedule(&plan);
        let recipients = self.fleet.begin(schedule.window)?;
        let before = (self.processes.cpu(), MachineUse::now());
        if plan.scenario == Scenario::Recover {
            self.fleet.order(|| Order::Cut)?;
        }
        let published = self.publish(&plan, schedule, &lines)?;
        self.wait_for_deliveries(&plan, &recipients, &published)?;
        let took = Duration::from_nanos(self.clock.now().saturating_sub(schedule.window.start));
        let server_cpu = self.processes.cpu().zip(before.0).map(|(after, before)| after.saturating_sub(before));
        let stolen = MachineUse::now().stolen_since(before.1);
        let mut collected = self.fleet.collect()?;
        let loaders = collected.iter().map(|one| one.usage).collect();
        let missing = collected.iter_mut().flat_map(|one| std::mem::take(&mut one.missing)).collect();
        let record = collected.into_iter().map(|one| one.record).reduce(|mut all, one| {
            all.add(&one);
            all
        });
        let record = record.ok_or(Ended)?;
        Ok(Measured { schedule, record, published, recipients, missing, took, server_cpu, loaders, stolen })
    }

    fn schedule(&self, plan: &Plan) -> Schedule {
        let publications = plan.publications();
        let gap = 1e9 / plan.rate;
        let start = self.clock.now() + nanoseconds(LEAD);
        let window = Window {
            run: rand::rng().random_range(1..=u16::MAX),
            start,
            timed_from: start + nanoseconds(plan.warm_up),
            end: start + (publications as f64 * gap) as u64,
            publications,
            channels: plan.channels,
        };
        Schedule { window, gap }
    }

    /// Publishes all, while the scenario takes its course.
    fn publish(&self, plan: &Plan, schedule: Schedule, lines: &Lines) -> Result<Published, Error> {
        let job = Job {
            schedule,
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
            let course = self.take_course(plan, &schedule, &progress, || publisher.is_finished());
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
        schedule: &Schedule,
        progress: &Progress,
        done: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let window = schedule.window;
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

    /// Waits until everything that is owed has come and everyone is back, or the time for it is over.
    fn wait_for_deliveries(&self, plan: &Plan, recipients: &Recipients, published: &Published) -> Result<(), Error> {
        let owed =
            owed(published, &recipients.ordinary, plan.channels) + owed(published, &recipients.slow, plan.channels);
        let deadline = self.clock.now() + nanoseconds(plan.drain);
        let mut settled = None;
        loop {
            let (arrived, now) = (self.fleet.arrived(), self.clock.now());
            if arrived >= owed && self.fleet.ready() >= plan.connections {
                settled = settled.or(Some(now));
            }
            let over = settled.is_some_and(|since| now - since >= nanoseconds(AFTERWARDS));
            if over || now >= deadline {
                return Ok(());
            }
            self.look(Step::Draining, arrived.min(owed), owed)?;
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

/// Acknowledged publications, each by the recipients of its channel.
pub(crate) fn owed(published: &Published, recipients: &[u32], channels: u32) -> u64 {
    let mut acknowledged = vec![0_u64; channels as usize];
    for index in 0..published.states.len() {
        acknowledged[index % channels as usize] += u64::from(published.states.is(index, State::Acknowledged));
    }
    acknowledged.iter().zip(recipients).map(|(publications, each)| publications * u64::from(*each)).sum()
}
