// The JSON build over wss://, on a node that speaks TLS itself.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

import { inSeconds, makeCertificate, Node, token, trusting } from "./node.js";

describe("JSON over TLS", () => {
  let folder;
  let node;
  let Trusting;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "fanfare-js-"));
    const tls = makeCertificate(folder);
    node = await Node.start({}, { tls });
    Trusting = trusting(tls.ca);
  });
  after(async () => {
    await node?.stop();
    rmSync(folder, { recursive: true });
  });

  const client = (websocket) => {
    const options = { token: token({ sub: "42", exp: inSeconds(600) }), websocket };
    return new Centrifuge(`wss://${node.address}/connection/websocket`, { ...options, minReconnectDelay: 10 });
  };

  it("gets publications in order, and those that it missed", { timeout: 60_000 }, async () => {
    const one = client(Trusting);
    const news = one.newSubscription("tls-news");
    const heard = [];
    const arrived = async (count) => {
      while (heard.length < count) await new Promise((resolve) => setTimeout(resolve, 10));
      assert.deepEqual(heard, Array.from({ length: count }, (_, at) => at + 1));
    };
    news.on("publication", ({ data }) => heard.push(data.n));
    news.subscribe();
    one.connect();
    await news.ready(20_000);
    for (let n = 1; n <= 50; n++) await node.publish("tls-news", { n });
    await arrived(50);
    await node.api("disconnect", { user: "42", disconnect: { code: 3001, reason: "again" } });
    for (let n = 51; n <= 60; n++) await node.publish("tls-news", { n });
    await arrived(60);
    await news.publish({ n: 61, text: "x".repeat(50_000) });
    await arrived(61);
    one.disconnect();
  });

  it("does not connect to whom it does not trust", { timeout: 60_000 }, async () => {
    const other = client(WebSocket);
    const error = await new Promise((resolve) => {
      other.on("error", resolve);
      other.connect();
    });
    assert.equal(error.type, "transport");
    other.disconnect();
  });
});
