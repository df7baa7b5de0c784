// A client of the official SDK that says what it sees, a JSON line for each event, for the consistency checker
// (`crates/testkit/src/checker`). It decides nothing.
//
//   node witness.js URL CHANNEL...
//
// Every line it is sent is answered with its clock, by which the times of the others can be told.

import { createInterface } from "node:readline";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

const [url, ...channels] = process.argv.slice(2);
const micros = () => Number(process.hrtime.bigint() / 1000n);
const say = (line) => process.stdout.write(`${JSON.stringify({ at: micros(), ...line })}\n`);

const client = new Centrifuge(url, { websocket: WebSocket, minReconnectDelay: 20, maxReconnectDelay: 500, timeout: 3000 });
client.on("connecting", ({ code }) => say({ event: "connecting", code }));
client.on("disconnected", ({ code }) => say({ event: "disconnected", code }));

for (const channel of channels) {
  const subscription = client.newSubscription(channel, { minResubscribeDelay: 20, maxResubscribeDelay: 300 });
  subscription.on("subscribing", ({ code }) => say({ event: "subscribing", channel, code }));
  subscription.on("subscribed", ({ wasRecovering, recovered, streamPosition }) =>
    say({ event: "subscribed", channel, wasRecovering, recovered, ...streamPosition }));
  subscription.on("unsubscribed", ({ code }) => say({ event: "unsubscribed", channel, code }));
  subscription.on("publication", ({ data, offset }) => say({ event: "publication", channel, data, offset }));
  subscription.subscribe();
}

createInterface({ input: process.stdin }).on("line", (line) => say({ event: "clock", line })).on("close", () => process.exit(0));
client.connect();
