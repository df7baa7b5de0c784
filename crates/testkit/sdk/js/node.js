// A real node for a suite: the `fanfare` binary on a free port, its server API, and tokens for its clients.

import { execFileSync, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";

const fromHere = (path) => fileURLToPath(new URL(path, import.meta.url));
const binary = process.env.SUITE_BINARY ?? fromHere("../../../../target/debug/fanfare");
const config = fromHere("../node.toml");
export const apiKey = "suite-key-7Zq3kV9tXw2m";
const hmacSecret = "suite-secret-h4T8cQ1rYb6nJ0sWm5eKx3zPd7";
const readyMs = 20_000;

export class Node {
  // With further variables of the configuration, if there are any, another file, and `tls`: then the node speaks TLS with
  // the certificate and key in these files, and is trusted by `ca`.
  static async start(variables = {}, { file = config, tls } = {}) {
    const node = new Node();
    node.tls = tls;
    node.address = `127.0.0.1:${await freePort()}`;
    // Nothing of the surroundings: a variable of the person who runs the suite must not change the node.
    const files = tls && { FANFARE_LISTEN__TLS_CERT_FILE: tls.certFile, FANFARE_LISTEN__TLS_KEY_FILE: tls.keyFile };
    const env = { FANFARE_LISTEN__ADDRESS: node.address, ...variables, ...files };
    node.process = spawn(binary, ["serve", "--config", file], { env, stdio: ["ignore", "ignore", "pipe"] });
    node.log = "";
    node.process.stderr.on("data", (text) => (node.log += text));
    await node.#ready();
    return node;
  }

  async stop() {
    if (this.process.exitCode !== null) throw new Error(`the node had ended by itself:\n${this.log}`);
    this.process.kill("SIGTERM");
    const stubborn = setTimeout(() => this.process.kill("SIGKILL"), 10_000);
    await once(this.process, "exit");
    clearTimeout(stubborn);
  }

  async api(method, request) {
    const headers = { "Content-Type": "application/json", "X-API-Key": apiKey };
    const { text } = await this.#request("POST", `/api/${method}`, headers, JSON.stringify(request));
    const { result, error } = JSON.parse(text);
    if (error) throw Object.assign(new Error(error.message), error);
    return result;
  }

  publish(channel, data) {
    return this.api("publish", { channel, data });
  }

  // The sum of those rows of a metric that have this label.
  async metric(name, label = "") {
    const { text } = await this.#request("GET", "/metrics");
    const rows = text.split("\n").filter((row) => /^[ {]/.test(row.slice(name.length)) && row.startsWith(name));
    return rows.filter((row) => row.includes(label)).reduce((sum, row) => sum + Number(row.split(" ").at(-1)), 0);
  }

  // fetch cannot be told whom to trust.
  async #request(method, path, headers = {}, body = "") {
    const [port, { request }] = [this.address.split(":")[1], this.tls ? https : http];
    const sent = request({ host: "127.0.0.1", port, method, path, headers, ca: this.tls?.ca, agent: false });
    sent.end(body);
    const [response] = await once(sent, "response");
    let text = "";
    for await (const chunk of response.setEncoding("utf8")) text += chunk;
    return { status: response.statusCode, text };
  }

  async #ready() {
    const until = Date.now() + readyMs;
    while (Date.now() < until && this.process.exitCode === null) {
      const ok = await this.#request("GET", "/readyz").then(({ status }) => status === 200, () => false);
      if (ok) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    this.process.kill("SIGKILL");
    throw new Error(`${binary} did not get ready:\n${this.log}`);
  }
}

// A connection token, or a subscription token where the claims name a channel.
export function token(claims) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", hmacSecret).update(signed).digest("base64url")}`;
}

// A certificate for this machine, its key, and whom to trust then.
export function makeCertificate(folder) {
  const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
  const files = ["-keyout", keyFile, "-out", certFile];
  execFileSync("openssl", ["req", "-x509", ...kind, ...names, ...files], { stdio: "ignore" });
  return { keyFile, certFile, ca: readFileSync(certFile) };
}

// A WebSocket that trusts this authority.
export function trusting(ca) {
  return class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, { ca });
    }
  };
}

export function inSeconds(seconds) {
  return Math.floor(Date.now() / 1000) + seconds;
}

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
