// The SDK through nginx, Caddy and HAProxy, each with its configuration from deploy/proxies, in front of two nodes on Redis.
//
// Of those files only names, addresses and places of certificates are changed, and time-outs, so that nobody waits for
// minutes. What is not installed is skipped, but has to be there where `CI` is set.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { Centrifuge } from "centrifuge";

import { apiKey, freePort, inSeconds, makeCertificate, Node, token, trusting } from "./node.js";

const deployed = (name) => readFileSync(fileURLToPath(new URL(`../../../../deploy/proxies/${name}`, import.meta.url)), "utf8");

// Where a program is. Debian has some where only root looks.
function found(program) {
  const folders = [...process.env.PATH.split(delimiter), "/usr/sbin"];
  const there = (path) => {
    try {
      return accessSync(path), true;
    } catch {
      return false;
    }
  };
  return folders.map((folder) => join(folder, program)).find(there);
}

// The time-out for silence that these files have, and the one that they get here; the node pings every two seconds.
const [written, meant] = ["75s", "5s"];
const quietMs = 12_000;

// A text without each of these, which have to be in it.
function replaced(text, changes) {
  for (const [from, to] of changes) {
    assert.ok(text.includes(from), `there is no ${from} in it`);
    text = text.replaceAll(from, to);
  }
  return text;
}

const proxies = {
  nginx: {
    program: "nginx",
    file: "nginx.conf",
    config: (text, { folder, port, nodes, certFile, keyFile }) =>
      `daemon off;\nmaster_process off;\npid ${folder}/pid;\nerror_log stderr;\n` +
      replaced(text, [
        ["worker_rlimit_nofile 200000;", ""],
        ["worker_connections 100000;", "worker_connections 1000;"],
        ["http {", `http {\naccess_log off;\n${temporary.map((what) => `${what}_temp_path ${folder}/${what};`).join("\n")}`],
        ["127.0.0.1:8001", nodes[0]],
        ["127.0.0.1:8002", nodes[1]],
        ["listen 443", `listen 127.0.0.1:${port}`],
        ["/etc/nginx/fullchain.pem", certFile],
        ["/etc/nginx/key.pem", keyFile],
        [written, meant],
      ]),
    words: (file, folder) => ["-p", folder, "-e", "stderr", "-c", file],
  },
  Caddy: {
    program: "caddy",
    file: "Caddyfile",
    config: (text, { port, nodes, certFile, keyFile }) =>
      `{\n\tadmin off\n\tauto_https disable_redirects\n}\n` +
      replaced(text, [
        ["hub.example.com {", `https://127.0.0.1:${port} {\n\tbind 127.0.0.1\n\ttls ${certFile} ${keyFile}`],
        ["127.0.0.1:8001", nodes[0]],
        ["127.0.0.1:8002", nodes[1]],
      ]),
    words: (file) => ["run", "--adapter", "caddyfile", "--config", file],
  },
  HAProxy: {
    program: "haproxy",
    file: "haproxy.cfg",
    config: (text, { folder, port, nodes }) =>
      replaced(text, [
        ["maxconn 200000", "maxconn 1000"],
        ["log /dev/log local0 notice", ""],
        ["bind :443", `bind 127.0.0.1:${port}`],
        ["/etc/haproxy/hub.pem", join(folder, "hub.pem")],
        ["127.0.0.1:8001", nodes[0]],
        ["127.0.0.1:8002", nodes[1]],
        [written, meant],
      ]),
    words: (file) => ["-db", "-f", file],
  },
};
const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

for (const [name, proxy] of Object.entries(proxies)) {
  const programs = [proxy.program, "redis-server"];
  const missing = programs.filter((program) => !found(program));
  assert.ok(missing.length === 0 || !process.env.CI, `${missing} are not installed`);
  describe(`through ${name}`, { skip: missing.length > 0 && `${missing} are not installed` }, () => suite(proxy));
}

function suite(proxy) {
  let folder, redis, nodes, front, ca;
  const clients = [];

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "fanfare-proxy-"));
    const { certFile, keyFile, ...certificate } = makeCertificate(folder);
    ca = certificate.ca;
    writeFileSync(join(folder, "hub.pem"), Buffer.concat([ca, readFileSync(keyFile)]));
    redis = await started(folder, (port) => [found("redis-server"), ["--port", port, "--bind", "127.0.0.1", "--save", ""]]);
    nodes = [await node(), await node()];
    const addresses = nodes.map(({ address }) => address);
    front = await started(folder, (port) => {
      const file = join(folder, proxy.file);
      writeFileSync(file, proxy.config(deployed(proxy.file), { folder, port, nodes: addresses, certFile, keyFile }));
      return [found(proxy.program), proxy.words(file, folder)];
    });
    // Some proxies have to have seen a node twice before they send it anything.
    const until = Date.now() + 20_000;
    while ((await post("publish", { channel: "warm", data: 1 })).status !== 200) {
      assert.ok(Date.now() < until, `the proxy finds no node\n${front.log}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });
  after(async () => {
    // One that was left would look for its node for ever.
    clients.forEach((one) => one.disconnect());
    front?.process.kill("SIGKILL");
    await Promise.all((nodes ?? []).map((one) => one.stop().catch(() => {})));
    redis?.process.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  const node = () =>
    Node.start({
      FANFARE_REDIS__URL: `redis://127.0.0.1:${redis.port}`,
      FANFARE_LISTEN__TRUSTED_PROXIES: "127.0.0.1",
      FANFARE_CHANNELS__HISTORY_SIZE: "1000",
      FANFARE_DRAIN__WINDOW: "2s",
    });

  // A request through the proxy, from an address of this machine.
  async function post(method, body, { key = apiKey, from = "127.0.0.1", headers = {} } = {}) {
    const options = { host: "127.0.0.1", port: front.port, ca, agent: false, localAddress: from, method: "POST" };
    const sent = https.request({
      ...options,
      path: `/api/${method}`,
      headers: { "Content-Type": "application/json", "X-API-Key": key, ...headers },
    });
    sent.end(JSON.stringify(body));
    const [response] = await once(sent, "response");
    response.resume();
    return { status: response.statusCode };
  }

  function client(user) {
    const options = { token: token({ sub: user, exp: inSeconds(600) }), websocket: trusting(ca), minReconnectDelay: 10 };
    const one = new Centrifuge(`wss://127.0.0.1:${front.port}/connection/websocket`, options);
    clients.push(one);
    return one;
  }

  // A client in a channel, with what it has heard there and how often its connection has ended.
  async function listening(user, channel) {
    const one = client(user);
    const subscription = one.newSubscription(channel);
    const listener = { subscription, heard: [], cuts: 0 };
    subscription.on("publication", ({ data }) => listener.heard.push(data.n));
    one.on("connecting", ({ code }) => (listener.cuts += code === 0 ? 0 : 1));
    subscription.subscribe();
    one.connect();
    await subscription.ready(20_000);
    return listener;
  }

  async function arrived({ heard }, count) {
    const until = Date.now() + 30_000;
    while (heard.length < count && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(heard, Array.from({ length: count }, (_, at) => at + 1));
  }

  it("connects, publishes and hears", { timeout: 60_000 }, async () => {
    const listener = await listening("42", "proxy-news");
    for (let n = 1; n <= 20; n++) assert.equal((await post("publish", { channel: "proxy-news", data: { n } })).status, 200);
    await arrived(listener, 20);
    await listener.subscription.publish({ n: 21, text: "x".repeat(50_000) });
    await arrived(listener, 21);
  });

  it("leaves a quiet connection alone, which is pinged", { timeout: 60_000 }, async () => {
    const listener = await listening("43", "proxy-quiet");
    await new Promise((resolve) => setTimeout(resolve, quietMs));
    assert.equal(listener.cuts, 0);
    await post("publish", { channel: "proxy-quiet", data: { n: 1 } });
    await arrived(listener, 1);
  });

  it("tells the nodes who the client is, whatever the client says", { timeout: 60_000 }, async () => {
    const refused = { key: "not-a-key-of-anybody", from: "127.0.0.7", headers: { "X-Forwarded-For": "203.0.113.9" } };
    assert.equal((await post("info", {}, refused)).status, 401);
    const log = () => nodes.map((one) => one.log).join("");
    const until = Date.now() + 10_000;
    while (!/refused.*127\.0\.0\.7/.test(log()) && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.match(log(), /refused.*127\.0\.0\.7/);
    assert.doesNotMatch(log(), /203\.0\.113\.9/);
  });

  it("keeps what is for the inside from the outside", { timeout: 60_000 }, async () => {
    for (const path of ["/metrics", "/healthz", "/readyz", "/"]) {
      const sent = https.get({ host: "127.0.0.1", port: front.port, ca, agent: false, path });
      const [response] = await once(sent, "response");
      response.resume();
      assert.equal(response.statusCode, 404, path);
    }
  });

  // The last one: it ends a node.
  it("loses nothing when a node drains", { timeout: 90_000 }, async () => {
    const listeners = await Promise.all(["1", "2", "3", "4"].map((user) => listening(user, "proxy-drain")));
    let [n, draining] = [0, true];
    const ended = nodes[0].stop().then(() => (draining = false));
    const pause = () => new Promise((resolve) => setTimeout(resolve, 10));
    for (let more = 50; more > 0; more -= draining ? 0 : 1) {
      n += 1;
      assert.equal((await post("publish", { channel: "proxy-drain", data: { n } })).status, 200);
      await pause();
    }
    await ended;
    nodes.shift();
    await Promise.all(listeners.map((listener) => arrived(listener, n)));
    assert.ok(listeners.some(({ cuts }) => cuts > 0), "some of them were on the node that drained");
  });
}

// A program that listens on a free port; it is tried again where another program was faster.
async function started(folder, command) {
  for (let attempt = 0; attempt < 5; attempt++) {
    const port = await freePort();
    const [program, words] = command(port);
    const one = { port, log: "", process: spawn(program, words.map(String), { cwd: folder, stdio: ["ignore", "pipe", "pipe"] }) };
    for (const stream of [one.process.stdout, one.process.stderr]) stream.on("data", (text) => (one.log += text));
    if (await listens(one)) return one;
    one.process.kill("SIGKILL");
    if (attempt === 4) throw new Error(`${program} does not start:\n${one.log}`);
  }
}

async function listens({ port, process }) {
  const until = Date.now() + 20_000;
  while (Date.now() < until && process.exitCode === null) {
    const socket = connect(port, "127.0.0.1");
    const open = await new Promise((resolve) => socket.once("connect", () => resolve(true)).once("error", () => resolve(false)));
    socket.destroy();
    if (open) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}
