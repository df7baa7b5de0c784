// The SDK against a node that asks a backend: who connects, what is published, procedures.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Centrifuge } from "centrifuge";
import { Centrifuge as ProtobufCentrifuge } from "centrifuge/build/protobuf";
import { once } from "node:events";
import WebSocket from "ws";

import { Happenings } from "./happenings.js";
import { Node } from "./node.js";

const same = (value) => value;
const builds = {
  JSON: { Build: Centrifuge, encode: same, decode: same },
  Protobuf: {
    Build: ProtobufCentrifuge,
    encode: (value) => new TextEncoder().encode(JSON.stringify(value)),
    decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes)),
  },
};

// What the application of these tests says.
function answer(path, question) {
  if (path === "/connect") {
    if (question.data?.password !== "open sesame") return { disconnect: { code: 4501, reason: "log in first" } };
    return { result: { user: "42", data: { hello: "Ann" }, channels: ["greetings"], meta: { tenant: 7 } } };
  }
  if (path === "/publish") return { result: { data: { by: question.user, said: question.data } } };
  if (path === "/rpc" && question.method === "whoami") {
    return { result: { data: { user: question.user, tenant: question.meta.tenant, asked: question.data } } };
  }
  return { error: { code: 1404, message: "no such method" } };
}

describe("hooks", () => {
  let backend, node, folder;

  before(async () => {
    backend = createServer((request, response) => {
      let body = "";
      request.setEncoding("utf8");
      request.on("data", (piece) => (body += piece));
      request.on("end", () => response.end(JSON.stringify(answer(request.url, JSON.parse(body)))));
    }).listen(0, "127.0.0.1");
    await once(backend, "listening");
    folder = mkdtempSync(join(tmpdir(), "fanfare-hooks-"));
    const file = join(folder, "fanfare.toml");
    const hook = (name) => `[hooks.${name}]\nurl = "http://127.0.0.1:${backend.address().port}/${name}"\n`;
    const hooks = ["connect", "publish", "rpc"].map(hook).join("");
    writeFileSync(file, `[api]\nkeys = ["suite-key-7Zq3kV9tXw2m"]\n[drain]\nwindow = "0s"\n${hooks}` +
      `[channels.namespaces.chat]\nsubscribe = "users"\npublish_hook = true\n`);
    node = await Node.start({}, { file });
  });
  after(async () => {
    await node?.stop();
    backend?.close();
    if (folder) rmSync(folder, { recursive: true });
  });

  for (const [name, { Build, encode, decode }] of Object.entries(builds)) {
    const client = (password) => {
      const made = new Build(`ws://${node.address}/connection/websocket`, {
        websocket: WebSocket,
        data: encode({ password }),
      });
      made.happenings = new Happenings(made, "connecting", "connected", "disconnected");
      return made;
    };

    it(`${name}: a client connects, publishes and calls as the backend says`, { timeout: 60_000 }, async () => {
      const made = client("open sesame");
      made.connect();
      const connected = await made.happenings.next("connected");
      assert.deepEqual(decode(connected.data), { hello: "Ann" });
      const called = await made.rpc("whoami", encode({ now: true }));
      assert.deepEqual(decode(called.data), { user: "42", tenant: 7, asked: { now: true } });
      await assert.rejects(made.rpc("other", encode({})), { code: 1404, message: "no such method" });
      const chat = made.newSubscription(`chat:${name}`);
      const heard = new Promise((resolve) => chat.on("publication", resolve));
      chat.subscribe();
      await chat.ready(10_000);
      await chat.publish(encode("hello"));
      assert.deepEqual(decode((await heard).data), { by: "42", said: "hello" });
      made.disconnect();
    });

    it(`${name}: a client that the backend turns away does not come back`, { timeout: 60_000 }, async () => {
      const made = client("wrong");
      made.connect();
      const { code, reason } = await made.happenings.next("disconnected");
      assert.deepEqual({ code, reason }, { code: 4501, reason: "log in first" });
      await new Promise((resolve) => setTimeout(resolve, 500));
      assert.equal(made.state, "disconnected");
    });
  }
});
