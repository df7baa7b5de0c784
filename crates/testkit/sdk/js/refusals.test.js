// What the SDK makes of refusals: it stays away where a refusal is final, and comes back with growing pauses where it
// is not. Attempts are counted at the node.

import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

import { Happenings } from "./happenings.js";
import { inSeconds, Node, token } from "./node.js";
import { scenarios } from "./scenario.js";

const opened = "fanfare_gateway_sessions_opened_total";
const refused = "fanfare_http_handshakes_refused_total";
const pauseMs = 100;

const large = "x".repeat(70_000);

class ForeignPage extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { origin: "https://evil.example" });
  }
}

describe("refusals", () => {
  let node;
  let users = 0;
  const { scenario, cleanups } = scenarios();

  before(async () => {
    node = await Node.start({ FANFARE_LIMITS__SESSIONS_PER_USER_MAX: "1", FANFARE_LIMITS__CHANNELS_PER_SESSION_MAX: "2" });
  });
  after(() => node?.stop());

  function client(options = {}, at = node) {
    const made = new Centrifuge(`ws://${at.address}/connection/websocket`, {
      websocket: WebSocket,
      minReconnectDelay: pauseMs,
      maxReconnectDelay: 4 * pauseMs,
      ...options,
    });
    made.happenings = new Happenings(made, "connecting", "connected", "disconnected", "error");
    cleanups.push(() => made.disconnect());
    return made;
  }

  const named = (claims = {}) => ({ token: token({ sub: `refused-${++users}`, ...claims }) });

  async function connected(options, at) {
    const made = client(options, at);
    made.connect();
    await made.happenings.next("connected");
    return made;
  }

  // It is sent away with this code, after so many attempts, and does not come back: meanwhile others come and go for
  // longer than its longest pause.
  async function staysAway(made, code, attempts, before) {
    assert.equal((await made.happenings.next("disconnected")).code, code);
    assert.equal(made.state, "disconnected");
    const until = Date.now() + 6 * pauseMs;
    let others = 0;
    for (; Date.now() < until; others++) (await connected(named())).disconnect();
    assert.equal((await node.metric(opened)) - before, attempts + others);
    assert.equal(made.happenings.left("connecting").length, 0);
  }

  async function refusedForGood(options, code, attempts = 1) {
    const before = await node.metric(opened);
    const made = client(options);
    made.connect();
    await staysAway(made, code, attempts, before);
  }

  scenario("a token that somebody else signed: 3500", async () => {
    await refusedForGood({ token: `${token({ sub: "eve" }).slice(0, -6)}AAAAAA` }, 3500);
  });

  scenario("no token: 3501", () => refusedForGood({}, 3501));

  scenario("more channels in the token than a session may have: 3505", () =>
    refusedForGood(named({ channels: ["a", "b", "c"] }), 3505));

  scenario("an expired token, and none to take its place: unauthorized", () =>
    refusedForGood(named({ exp: inSeconds(-5) }), 1));

  scenario("one session too many of a user: 3504", async () => {
    const options = named();
    await connected(options);
    await refusedForGood(options, 3504);
  });

  scenario("a frame that is too large: 1009, for good", async () => {
    const before = await node.metric(opened);
    const made = await connected(named());
    made.rpc("large", large).catch(() => {});
    // The SDK's own code for it.
    assert.equal((await made.happenings.next("disconnected")).code, 3);
    await new Promise((resolve) => setTimeout(resolve, 6 * pauseMs));
    assert.equal((await node.metric(opened)) - before, 1);
  });

  scenario("messages without an answer, which are not available: 3508", async () => {
    const before = await node.metric(opened);
    const made = await connected(named());
    made.send({ text: "hi" }).catch(() => {});
    await staysAway(made, 3508, 1, before);
  });

  scenario("sent away by the operator: 3503 and 4500", async () => {
    for (const code of [3503, 4500]) {
      const before = await node.metric(opened);
      const user = `sent-${++users}`;
      const made = await connected({ token: token({ sub: user }) });
      await node.api("disconnect", { user, disconnect: { code, reason: "go away" } });
      await staysAway(made, code, 1, before);
    }
  });

  scenario("a subscription without the right: 103, once, and the connection stays", async () => {
    const made = await connected(named());
    const sub = made.newSubscription("closed:room", { minResubscribeDelay: pauseMs, maxResubscribeDelay: 4 * pauseMs });
    const happenings = new Happenings(sub, "subscribing", "unsubscribed", "error");
    sub.subscribe();
    assert.equal((await happenings.next("unsubscribed")).code, 103);
    const commands = await node.metric("fanfare_gateway_commands_total");
    await new Promise((resolve) => setTimeout(resolve, 6 * pauseMs));
    assert.equal(await node.metric("fanfare_gateway_commands_total"), commands);
    assert.deepEqual([sub.state, made.state], ["unsubscribed", "connected"]);
    await assert.rejects(made.publish("closed:room", { n: 1 }), { code: 103 });
  });

  // Every attempt but the first has a pause before it.
  async function comesBackSlowly(made, at, metric, label, attempts) {
    const [before, began] = [await at.metric(metric, label), Date.now()];
    made.connect();
    while ((await at.metric(metric, label)) < before + attempts) await new Promise((resolve) => setTimeout(resolve, 10));
    const took = Date.now() - began;
    assert.ok(took >= (attempts - 1) * pauseMs, `${attempts} attempts within ${took} ms`);
    assert.equal(made.state, "connecting");
  }

  // A browser does not tell a page the status of a refused handshake: the SDK cannot know that it is for good.
  scenario("a page of a foreign origin: with pauses", () =>
    comesBackSlowly(client({ ...named(), websocket: ForeignPage }), node, refused, 'status="403"', 5));

  scenario("a fetched token that is expired each time: with pauses", async () => {
    const getToken = async () => token({ sub: "late", exp: inSeconds(-5) });
    await comesBackSlowly(client({ getToken }), node, opened, "", 5);
  });

  scenario("a node without room: with pauses, until there is some", async () => {
    const full = await Node.start({ FANFARE_LIMITS__SESSIONS_MAX: "1" });
    cleanups.push(() => full.stop());
    const first = await connected(named(), full);
    const second = client(named(), full);
    await comesBackSlowly(second, full, refused, 'status="503"', 5);
    first.disconnect();
    await second.happenings.next("connected");
  });

  scenario("too many commands: 3013, and back again", async () => {
    const strict = await Node.start({ FANFARE_LIMITS__COMMANDS_PER_SECOND_MAX: "1" });
    cleanups.push(() => strict.stop());
    const made = await connected(named(), strict);
    for (let n = 0; n < 2_000; n++) made.rpc("nothing", {}).catch(() => {});
    assert.equal((await made.happenings.next("connecting")).code, 3013);
    await made.happenings.next("connected");
  });
});
