//! A broker on a thread of its own, which can be stopped as a whole: what SIGSTOP does to a node.

use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use fanfare_broker::conformance::{Node, Recorder};
use fanfare_broker::{Control, Error, NodeReport, NodeSink, Whom};
use fanfare_broker_redis::{Options, RedisBroker};
use tokio::sync::Notify;

/// Whether the thread has to stand still.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// The thread waits.
    stands: bool,
}

impl Gate {
    fn wait_while(&self, change: impl FnOnce(&mut State), waits: impl Fn(&State) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| waits(state)));
    }

    fn pass(&self) {
        self.wait_while(|state| state.stands = state.closed, |state| state.closed);
        self.wait_while(|state| state.stands = false, |_| false);
    }
}

/// The broker. Dropping it ends it without a word, as a crash would.
pub(crate) struct Apart {
    broker: Arc<RedisBroker>,
    gate: Arc<Gate>,
    end: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Apart {
    /// Starts it; it may not be ready yet.
    pub(crate) fn start(options: Options, name: &'static str) -> Self {
        let (gate, end) = (Arc::new(Gate::default()), Arc::new(Notify::new()));
        let (sender, started) = mpsc::sync_channel(1);
        let thread = std::thread::spawn({
            let (gate, end) = (Arc::clone(&gate), Arc::clone(&end));
            move || run(options, name, &gate, &end, &sender)
        });
        Self { broker: started.recv().unwrap(), gate, end, thread: Some(thread) }
    }

    pub(crate) fn broker(&self) -> &RedisBroker {
        &self.broker
    }

    /// Stops it as it is; returns when it stands still.
    pub(crate) fn freeze(&self) {
        self.gate.wait_while(|state| state.closed = true, |state| !state.stands);
    }

    /// Goes on after [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.gate.wait_while(|state| state.closed = false, |_| false);
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.thaw();
        self.end.notify_one();
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn run(options: Options, name: &'static str, gate: &Gate, end: &Notify, started: &mpsc::SyncSender<Arc<RedisBroker>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Arc::new(Named { name, node: Node::default() });
        let broker = Arc::new(RedisBroker::start(options, Recorder::new(), node));
        started.send(broker).unwrap();
        loop {
            gate.pass();
            tokio::select! {
                () = end.notified() => return,
                () = tokio::time::sleep(std::time::Duration::from_millis(1)) => {}
            }
        }
    });
    // The tasks end with their runtime.
}

/// A node with a name.
struct Named {
    name: &'static str,
    node: Node,
}

#[async_trait::async_trait]
impl NodeSink for Named {
    async fn judge_again(&self, whom: Whom) -> Result<(), Error> {
        self.node.judge_again(whom).await
    }

    async fn apply(&self, control: Control) -> Result<(), Error> {
        self.node.apply(control).await
    }

    fn report(&self) -> NodeReport {
        NodeReport { name: self.name.to_owned(), ..self.node.report() }
    }

    fn channels(&self, pattern: Option<&str>) -> std::collections::BTreeMap<String, u64> {
        self.node.channels(pattern)
    }
}
