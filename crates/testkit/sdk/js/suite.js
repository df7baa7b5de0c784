// What an application does with the SDK, run with each of its builds against a real node.

import assert from "node:assert/strict";
import { after, before, describe } from "node:test";
import WebSocket from "ws";

import { Cable } from "./cable.js";
import { Happenings } from "./happenings.js";
import { inSeconds, Node, token } from "./node.js";
import { scenarios } from "./scenario.js";

const terminal = 3503;
const invalidToken = 3500;
const forceReconnect = 3011;

// `codec` turns an application's value into what this build takes as data, and back.
export function suite(name, Centrifuge, codec) {
  describe(name, () => {
    let node;
    let users = 0;
    const { scenario, cleanups } = scenarios();

    before(async () => {
      node = await Node.start();
    });
    after(() => node?.stop());

    // A name for each test, so that none sees the channel or the user of another.
    const fresh = (kind) => `${kind}-${++users}`;

    function client(options = {}, address = node.address) {
      const made = new Centrifuge(`ws://${address}/connection/websocket`, {
        websocket: WebSocket,
        minReconnectDelay: 50,
        maxReconnectDelay: 200,
        ...(options.getToken ? {} : { token: token({ sub: options.user ?? fresh("user"), ...options.claims }) }),
        ...options,
      });
      made.happenings = new Happenings(made, "connecting", "connected", "disconnected", "subscribed", "publication", "error");
      cleanups.push(() => made.disconnect());
      return made;
    }

    async function connected(options, address) {
      const made = client(options, address);
      made.connect();
      await made.happenings.next("connected");
      return made;
    }

    function subscription(of, channel, options = {}) {
      const made = of.newSubscription(channel, { minResubscribeDelay: 50, maxResubscribeDelay: 200, ...options });
      made.happenings = new Happenings(made, "subscribing", "subscribed", "unsubscribed", "publication", "join", "leave", "error");
      made.subscribe();
      return made;
    }

    async function subscribed(of, channel, options) {
      const made = subscription(of, channel, options);
      made.context = await made.happenings.next("subscribed");
      return made;
    }

    async function cable() {
      const laid = await Cable.lay(node.address);
      cleanups.push(() => laid.remove());
      return laid;
    }

    // Receives as many publications as there are values, in this order and with offsets that leave none out.
    async function receives(sub, values, first = 1) {
      for (const [index, value] of values.entries()) {
        const { data, offset } = await sub.happenings.next("publication");
        assert.deepEqual(codec.decode(data), value);
        assert.equal(offset, first + index);
      }
      assert.equal(sub.happenings.left("publication").length, 0);
    }

    const rejectsWith = (promise, code) => assert.rejects(promise, (error) => error.code === code);

    scenario("connects with a token, and is told its client id", async () => {
      const made = client();
      made.connect();
      const context = await made.happenings.next("connected");
      assert.match(context.client, /^[0-9a-f-]{36}$/);
      assert.equal(context.transport, "websocket");
    });

    scenario("is refused for good with a token that somebody else signed", async () => {
      const made = client({ token: `${token({ sub: "eve" }).slice(0, -6)}AAAAAA` });
      made.connect();
      assert.equal((await made.happenings.next("disconnected")).code, 3500);
    });

    scenario("subscribes and receives what is published over HTTP, in order", async () => {
      const channel = fresh("news");
      const sub = await subscribed(await connected(), channel);
      const values = Array.from({ length: 100 }, (_, n) => ({ n, text: `ä\n"${n}"` }));
      for (const value of values) await node.publish(channel, value);
      await receives(sub, values);
    });

    scenario("publishes from the client, with the publisher's name on it", async () => {
      const channel = fresh("chat");
      const [alice, bob] = [await connected({ user: "alice" }), await connected({ user: "bob" })];
      const [of, to] = [await subscribed(alice, channel), await subscribed(bob, channel)];
      await of.publish(codec.encode({ text: "hello" }));
      const { data, info } = await to.happenings.next("publication");
      assert.deepEqual(codec.decode(data), { text: "hello" });
      assert.equal(info.user, "alice");
      await receives(of, [{ text: "hello" }]);
    });

    scenario("asks who is present", async () => {
      const channel = fresh("room");
      const [alice, bob] = [await connected({ user: "alice" }), await connected({ user: "bob" })];
      const sub = await subscribed(alice, channel);
      await subscribed(bob, channel);
      const { clients } = await sub.presence();
      assert.deepEqual(Object.values(clients).map(({ user }) => user).sort(), ["alice", "bob"]);
      assert.deepEqual(await sub.presenceStats(), { numClients: 2, numUsers: 2 });
    });

    scenario("hears joins and leaves", async () => {
      const channel = fresh("room");
      const sub = await subscribed(await connected({ user: "alice" }), channel, { joinLeave: true });
      assert.equal((await sub.happenings.next("join")).info.user, "alice");
      const other = await subscribed(await connected({ user: "bob" }), channel);
      assert.equal((await sub.happenings.next("join")).info.user, "bob");
      other.unsubscribe();
      assert.equal((await sub.happenings.next("leave")).info.user, "bob");
    });

    scenario("reads the history both ways, and from a position", async () => {
      const channel = fresh("news");
      const sub = await subscribed(await connected(), channel);
      for (const n of [1, 2, 3]) await node.publish(channel, { n });
      const read = async (options) => {
        const { publications, offset } = await sub.history(options);
        assert.equal(offset, 3);
        return publications.map(({ data }) => codec.decode(data).n);
      };
      const { epoch } = await sub.history({ limit: 0 });
      assert.deepEqual(await read({ limit: 0 }), []);
      assert.deepEqual(await read({ limit: 2 }), [1, 2]);
      assert.deepEqual(await read({ limit: 2, reverse: true }), [3, 2]);
      assert.deepEqual(await read({ limit: 10, since: { offset: 1, epoch } }), [2, 3]);
      await rejectsWith(sub.history({ limit: 1, since: { offset: 1, epoch: "other" } }), 112);
    });

    scenario("catches up after the path was cut", async () => {
      const [channel, path] = [fresh("news"), await cable()];
      const made = await connected({}, path.address);
      const sub = await subscribed(made, channel);
      await node.publish(channel, { n: 1 });
      await receives(sub, [{ n: 1 }]);
      path.cut();
      await made.happenings.next("connecting");
      for (const n of [2, 3, 4]) await node.publish(channel, { n });
      path.mend();
      const context = await sub.happenings.next("subscribed");
      assert.deepEqual([context.wasRecovering, context.recovered], [true, true]);
      await receives(sub, [{ n: 2 }, { n: 3 }, { n: 4 }], 2);
      await node.publish(channel, { n: 5 });
      await receives(sub, [{ n: 5 }], 5);
    });

    scenario("catches up after the node sent it away to come back", async () => {
      const [channel, user] = [fresh("news"), fresh("user")];
      const made = await connected({ user, minReconnectDelay: 500, maxReconnectDelay: 600 });
      const sub = await subscribed(made, channel);
      await node.api("disconnect", { user, disconnect: { code: forceReconnect, reason: "force reconnect" } });
      assert.equal((await made.happenings.next("connecting")).code, forceReconnect);
      await node.publish(channel, { n: 1 });
      assert.equal((await sub.happenings.next("subscribed")).recovered, true);
      await receives(sub, [{ n: 1 }]);
    });

    scenario("is told when it cannot catch up", async () => {
      const [channel, path] = [fresh("short:news"), await cable()];
      const made = await connected({}, path.address);
      const sub = await subscribed(made, channel);
      path.cut();
      await made.happenings.next("connecting");
      for (const n of [1, 2, 3]) await node.publish(channel, { n });
      path.mend();
      const context = await sub.happenings.next("subscribed");
      assert.deepEqual([context.wasRecovering, context.recovered], [true, false]);
      await node.publish(channel, { n: 4 });
      await receives(sub, [{ n: 4 }], 4);
    });

    scenario("subscribes from a position that it was given", async () => {
      const channel = fresh("news");
      const { epoch } = await node.publish(channel, { n: 1 });
      await node.publish(channel, { n: 2 });
      const sub = await subscribed(await connected(), channel, { since: { offset: 1, epoch } });
      assert.equal(sub.context.recovered, true);
      await receives(sub, [{ n: 2 }], 2);
    });

    scenario("receives nothing once it has unsubscribed, and again after it subscribed again", async () => {
      const channel = fresh("news");
      const sub = await subscribed(await connected(), channel);
      sub.unsubscribe();
      await sub.happenings.next("unsubscribed");
      const nobody = async () => assert.equal((await node.api("presence_stats", { channel })).num_clients, 0);
      await eventually(nobody);
      await node.publish(channel, { n: 1 });
      sub.subscribe();
      await sub.happenings.next("subscribed");
      await receives(sub, [{ n: 1 }]);
      await node.publish(channel, { n: 2 });
      await receives(sub, [{ n: 2 }], 2);
    });

    scenario("is unsubscribed by the server", async () => {
      const [channel, user] = [fresh("news"), fresh("user")];
      const sub = await subscribed(await connected({ user }), channel);
      await node.api("unsubscribe", { user, channel });
      assert.equal((await sub.happenings.next("unsubscribed")).code, 2000);
    });

    scenario("is sent away for good by the server", async () => {
      const user = fresh("user");
      const made = await connected({ user });
      await node.api("disconnect", { user });
      assert.equal((await made.happenings.next("disconnected")).code, terminal);
    });

    // Longer than it takes the SDK to come back twice.
    const noReconnect = async (made) => {
      await new Promise((resolve) => setTimeout(resolve, 600));
      assert.equal(made.state, "disconnected");
      assert.deepEqual(made.happenings.left("connecting"), []);
    };

    scenario("stays away when its user is blocked, and comes in again when asked to after that", async () => {
      const user = fresh("user");
      const made = await connected({ user });
      assert.deepEqual(await node.api("block_user", { user }), { durable: false });
      assert.equal((await made.happenings.next("disconnected")).code, terminal);
      await noReconnect(made);
      made.connect();
      assert.equal((await made.happenings.next("disconnected")).code, terminal);
      await noReconnect(made);
      assert.equal((await node.api("unblock_user", { user })).removed, true);
      made.connect();
      await made.happenings.next("connected");
    });

    scenario("stays away when its token is revoked, and asks for no other", async () => {
      const uid = fresh("token");
      let asked = 0;
      const getToken = async () => token({ sub: "holder", jti: uid, n: ++asked });
      const made = await connected({ getToken });
      await node.api("revoke_token", { uid });
      assert.equal((await made.happenings.next("disconnected")).code, invalidToken);
      await noReconnect(made);
      assert.equal(asked, 1);
    });

    scenario("keeps its connection when the token of a subscription is revoked", async () => {
      const [channel, user, uid] = [fresh("closed:room"), fresh("user"), fresh("token")];
      const made = await connected({ user });
      const sub = await subscribed(made, channel, { token: token({ sub: user, channel, jti: uid }) });
      await node.api("revoke_token", { uid });
      assert.equal((await sub.happenings.next("unsubscribed")).code, 2000);
      sub.subscribe();
      assert.equal((await sub.happenings.next("unsubscribed")).code, 103);
      await new Promise((resolve) => setTimeout(resolve, 600));
      assert.equal(sub.state, "unsubscribed");
      assert.equal(made.state, "connected");
    });

    scenario("receives through the subscriptions that its token names", async () => {
      const channel = fresh("inbox");
      const made = client({ claims: { channels: [channel] } });
      made.connect();
      assert.equal((await made.happenings.next("subscribed")).channel, channel);
      await node.publish(channel, { text: "for you" });
      const publication = await made.happenings.next("publication");
      assert.deepEqual([publication.channel, codec.decode(publication.data)], [channel, { text: "for you" }]);
    });

    scenario("is subscribed by the server while it is connected", async () => {
      const [channel, user] = [fresh("inbox"), fresh("user")];
      const made = await connected({ user });
      await node.api("subscribe", { user, channel });
      await node.publish(channel, { text: "for you" });
      assert.equal((await made.happenings.next("subscribed")).channel, channel);
      assert.equal((await made.happenings.next("publication")).channel, channel);
    });

    scenario("fetches a token when the one it has is expired", async () => {
      const tokens = [token({ sub: "late", exp: inSeconds(-5) }), token({ sub: "late" })];
      const made = await connected({ getToken: async () => tokens.shift() });
      assert.equal(tokens.length, 0);
      assert.equal(made.state, "connected");
    });

    scenario("refreshes its token and stays connected, answering pings meanwhile", async () => {
      let fetched = 0;
      const getToken = async () => (fetched++, token({ sub: "busy", exp: inSeconds(2) }));
      const made = await connected({ getToken });
      await eventually(() => assert.ok(fetched >= 4));
      assert.equal(made.happenings.left("connecting").length, 0);
      assert.equal(made.state, "connected");
    });

    scenario("subscribes with a token where nobody may without, and refreshes it", async () => {
      const [channel, user] = [fresh("closed:room"), fresh("user")];
      let fetched = 0;
      const getToken = async ({ channel }) => (fetched++, token({ sub: user, channel, exp: inSeconds(2) }));
      const sub = await subscribed(await connected({ user }), channel, { getToken });
      await eventually(() => assert.ok(fetched >= 3));
      assert.equal(sub.happenings.left("subscribing").length, 0);
      await node.publish(channel, { text: "still here" });
      await receives(sub, [{ text: "still here" }]);
    });

    scenario("subscribes to a private channel with a token, and not without one", async () => {
      const [channel, user] = [`$${fresh("private")}`, fresh("user")];
      const made = await connected({ user });
      const refused = subscription(made, channel);
      assert.equal((await refused.happenings.next("unsubscribed")).code, 103);
      made.removeSubscription(refused);
      await subscribed(made, channel, { token: token({ sub: user, channel }) });
    });

    scenario("learns by its code why something is refused", async () => {
      const made = await connected();
      const subscribing = async (channel) => (await subscription(made, channel).happenings.next("unsubscribed")).code;
      assert.equal(await subscribing(fresh("closed:room")), 103);
      assert.equal(await subscribing("unknown:room"), 102);
      assert.equal(await subscribing("x".repeat(256)), 107);
      await rejectsWith(made.publish("news", codec.encode({})), 103);
      await rejectsWith(made.presence("news"), 103);
      await rejectsWith(made.presence("plain:news"), 108);
      await rejectsWith(made.presenceStats("plain:news"), 108);
      await rejectsWith(made.history("plain:news"), 108);
      await rejectsWith(made.rpc("anything", codec.encode({})), 108);
      assert.equal(made.state, "connected");
    });

    scenario("goes without history and recovery where nothing is kept", async () => {
      const channel = fresh("plain:news");
      const sub = await subscribed(await connected(), channel);
      assert.deepEqual([sub.context.recoverable, sub.context.positioned], [false, false]);
      await node.publish(channel, { n: 1 });
      const { data } = await sub.happenings.next("publication");
      assert.deepEqual(codec.decode(data), { n: 1 });
    });
  });
}

async function eventually(check) {
  const until = Date.now() + 20_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
