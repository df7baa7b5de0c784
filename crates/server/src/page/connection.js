// A connection to the node: the client protocol in JSON over one WebSocket.
//
// It connects, subscribes, answers pings, and comes back after a cut, asking for everything since the last
// alert it saw. It knows nothing of the page; what happens is told to the `events` it is given:
//   state(state)                            what the connection is doing
//   subscribed(channel, outcome)            a channel is live: {recovered, missed, count}
//   publication(channel, publication, how)  how: {arrived, recovered}
//   join(channel, info), leave(channel, info)
//   refused(channel, code, message)         the node will not have this subscription
//   resumed(awayMs, outcomes)               back after a cut, once every channel concerned has answered

const backoffFirstMs = 500;
const backoffMaxMs = 20_000;
const connectTimeoutMs = 10_000;
// The node pings at an interval it tells; this much later the connection is taken for dead.
const pingGraceMs = 10_000;

const messageTooBig = 1009;
const insufficientState = 2500;

export class Connection {
  #url;
  #events;
  #token = "";
  #socket = null;
  #subscriptions = new Map();
  #handlers = new Map();
  #lastId = 0;
  #attempt = 0;
  #timers = new Map();
  #pingMs = 0;
  #answersPings = false;
  #lostAt = null;
  #state = { name: "idle" };

  constructor(url, events) {
    this.#url = url;
    this.#events = events;
  }

  get connected() {
    return this.#state.name === "connected";
  }

  open(token = "") {
    this.#token = token;
    this.#lose();
    this.#dial();
  }

  // Connects at once instead of waiting for the back-off to end, or after the node has closed for good.
  reopen() {
    this.open(this.#token);
  }

  // The network is back: no need to wait for the back-off.
  retry() {
    if (this.#state.name === "waiting") this.reopen();
  }

  // Cuts the connection and stays away for a while: what a tunnel or a sleeping laptop does.
  cut(forMs) {
    this.#lose();
    this.#wait(forMs, "you cut the connection");
  }

  subscribe(channel) {
    if (this.#subscriptions.has(channel)) return;
    const subscription = { channel, offset: 0, epoch: "", recover: false, live: false, attempt: 0 };
    this.#subscriptions.set(channel, subscription);
    if (this.connected) this.#send([this.#subscribeCommand(subscription)]);
  }

  unsubscribe(channel) {
    this.#clearTimer(timerOf(channel));
    const known = this.#subscriptions.delete(channel);
    if (known && this.connected) this.#send([this.#command({ unsubscribe: { channel } }, () => {})]);
  }

  presence(channel, answer) {
    if (this.connected) this.#send([this.#command({ presence: { channel } }, answer)]);
  }

  // Connecting

  #dial() {
    this.#setState({ name: "connecting" });
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#setTimer("connect", connectTimeoutMs, () => this.#lost("no answer"));
    socket.onopen = () => this.#greet();
    socket.onmessage = (event) => this.#read(event.data);
    socket.onclose = (event) => this.#closed(event.code, event.reason);
  }

  // Connect and all subscriptions go out in one frame: one round trip until everything is live.
  #greet() {
    const token = this.#token || undefined;
    const subscriptions = [...this.#subscriptions.values()];
    const settled = this.#whenAll(subscriptions.length, (outcomes) => this.#resumed(outcomes));
    const connect = this.#command({ connect: { token, name: "demo-page" } }, (reply) => this.#greeted(reply));
    this.#send([connect, ...subscriptions.map((each) => this.#subscribeCommand(each, settled))]);
  }

  #whenAll(count, then) {
    const outcomes = [];
    return (outcome) => {
      outcomes.push(outcome);
      if (outcomes.length === count) then(outcomes);
    };
  }

  #greeted({ connect, error }) {
    this.#clearTimer("connect");
    if (error) return this.#refusedConnect(error);
    this.#attempt = 0;
    this.#pingMs = (connect.ping ?? 0) * 1000;
    this.#answersPings = Boolean(connect.pong);
    this.#setState({ name: "connected", client: connect.client });
    this.#expectPing();
  }

  #refusedConnect({ code, message, temporary }) {
    if (temporary) return this.#lost(message);
    this.#drop();
    this.#setState({ name: "closed", code, reason: message });
  }

  #resumed(outcomes) {
    const awayMs = this.#lostAt === null ? null : performance.now() - this.#lostAt;
    this.#lostAt = null;
    if (awayMs !== null) this.#events.resumed(awayMs, outcomes);
  }

  // Losing the connection and coming back

  #closed(code, reason) {
    if (!isFinal(code)) return this.#lost(reason || "the connection was lost");
    this.#lose();
    this.#setState({ name: "closed", code, reason: reason || "closed by the node" });
  }

  #lost(reason) {
    this.#lose();
    this.#wait(this.#backoffMs(), reason);
  }

  #lose() {
    if (this.connected) this.#lostAt = performance.now();
    this.#drop();
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    for (const name of [...this.#timers.keys()]) this.#clearTimer(name);
    this.#handlers.clear();
    for (const subscription of this.#subscriptions.values()) subscription.live = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #wait(ms, reason) {
    this.#setState({ name: "waiting", until: performance.now() + ms, reason });
    this.#setTimer("retry", ms, () => this.#dial());
  }

  // Full jitter, so that a thousand pages do not come back in the same instant.
  #backoffMs() {
    return backoffMs(this.#attempt++);
  }

  // Reading

  #read(text) {
    const arrived = performance.now();
    this.#expectPing();
    try {
      for (const line of text.trim().split("\n")) this.#take(JSON.parse(line), arrived);
    } catch (error) {
      console.error(error);
      this.#lost("the node sent something unreadable");
    }
  }

  #take(reply, arrived) {
    if (reply.id) return this.#answer(reply);
    if (reply.push) return this.#push(reply.push, arrived);
    if (this.#answersPings) this.#socket?.send("{}");
  }

  #answer(reply) {
    const handler = this.#handlers.get(reply.id);
    this.#handlers.delete(reply.id);
    handler?.(reply);
  }

  #push({ channel, pub, join, leave, unsubscribe }, arrived) {
    const subscription = this.#subscriptions.get(channel);
    if (!subscription) return;
    if (pub) this.#publication(subscription, pub, { arrived, recovered: false });
    if (join) this.#events.join(channel, join.info);
    if (leave) this.#events.leave(channel, leave.info);
    if (unsubscribe) this.#unsubscribed(subscription, unsubscribe);
  }

  #publication(subscription, publication, how) {
    if (publication.offset) {
      subscription.offset = publication.offset;
      subscription.epoch ||= publication.epoch ?? "";
    }
    this.#events.publication(subscription.channel, publication, how);
  }

  #expectPing() {
    if (this.#pingMs) this.#setTimer("ping", this.#pingMs + pingGraceMs, () => this.#lost("the node went silent"));
  }

  // Subscriptions

  #subscribeCommand(subscription, settled = () => {}) {
    const { channel, recover, offset, epoch } = subscription;
    const position = recover ? { recover, offset, epoch } : {};
    const subscribe = { channel, positioned: true, recoverable: true, join_leave: true, ...position };
    return this.#command({ subscribe }, (reply) => settled(this.#subscribed(subscription, reply)));
  }

  #subscribed(subscription, { subscribe, error }) {
    const { channel } = subscription;
    if (!this.#subscriptions.has(channel)) return { channel };
    if (error) return this.#refused(subscription, error);
    subscription.live = true;
    subscription.attempt = 0;
    const outcome = this.#settle(subscription, subscribe);
    this.#events.subscribed(channel, outcome);
    return outcome;
  }

  // Takes what was missed, or the fact that it cannot be had, and the position to go on from.
  #settle(subscription, { recoverable, recovered, was_recovering, publications = [], offset = 0, epoch = "" }) {
    const missed = Boolean(was_recovering && !recovered);
    const how = { arrived: performance.now(), recovered: true };
    for (const publication of publications) this.#publication(subscription, publication, how);
    const last = publications.at(-1)?.offset ?? offset;
    Object.assign(subscription, { offset: last, epoch, recover: Boolean(recoverable) });
    return { channel: subscription.channel, recovered: Boolean(recovered), missed, count: publications.length };
  }

  #refused(subscription, { code, message, temporary }) {
    const { channel } = subscription;
    if (temporary) {
      this.#subscribeLater(subscription);
    } else {
      this.#subscriptions.delete(channel);
      this.#events.refused(channel, code, message);
    }
    return { channel };
  }

  #unsubscribed(subscription, { code, reason }) {
    subscription.live = false;
    if (code >= insufficientState) return this.#subscribeLater(subscription);
    this.#subscriptions.delete(subscription.channel);
    this.#events.refused(subscription.channel, code, reason);
  }

  // A reconnect in the meantime clears the timer and subscribes by itself.
  #subscribeLater(subscription) {
    const lostAt = performance.now();
    const settled = (outcome) => this.#events.resumed(performance.now() - lostAt, [outcome]);
    const again = () => this.#send([this.#subscribeCommand(subscription, settled)]);
    this.#setTimer(timerOf(subscription.channel), backoffMs(subscription.attempt++), again);
  }

  // Sending

  #command(body, handler) {
    const id = ++this.#lastId;
    this.#handlers.set(id, handler);
    return { id, ...body };
  }

  #send(commands) {
    this.#socket?.send(commands.map((command) => JSON.stringify(command)).join("\n"));
  }

  #setState(state) {
    this.#state = state;
    this.#events.state(state);
  }

  #setTimer(name, ms, then) {
    this.#clearTimer(name);
    this.#timers.set(name, setTimeout(then, ms));
  }

  #clearTimer(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}

function backoffMs(attempt) {
  const ceiling = Math.min(backoffMaxMs, backoffFirstMs * 2 ** Math.min(attempt, 16));
  return 100 + Math.random() * ceiling;
}

// Channels share the timers with the connection's own, which have no space in their names.
function timerOf(channel) {
  return `subscribe ${channel}`;
}

// Codes with which the node says: do not come back by yourself.
function isFinal(code) {
  return code === messageTooBig || (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
}
