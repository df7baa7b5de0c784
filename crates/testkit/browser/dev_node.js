// `fanfare dev` for the page to talk to: on a free port, to be killed and started again on the same one.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

const fromHere = (path) => fileURLToPath(new URL(path, import.meta.url));
const binary = process.env.SUITE_BINARY ?? fromHere("../../../target/debug/fanfare");
const readyMs = 20_000;

export class DevNode {
  static async start(address) {
    const node = new DevNode();
    node.address = address ?? `127.0.0.1:${await freePort()}`;
    // Nothing of the surroundings: a variable of the person who runs the suite must not change the node.
    node.process = spawn(binary, ["dev", "--listen", node.address], { env: {}, stdio: ["ignore", "pipe", "pipe"] });
    node.printed = "";
    node.log = "";
    node.process.stdout.on("data", (text) => (node.printed += text));
    node.process.stderr.on("data", (text) => (node.log += text));
    await node.#ready();
    return node;
  }

  // Without a chance to say goodbye: what a crash does.
  async kill() {
    this.process.kill("SIGKILL");
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, "exit");
  }

  async publish(channel, data) {
    const response = await fetch(`http://${this.address}/api/publish/${channel}`, {
      method: "POST",
      body: JSON.stringify(data),
    });
    if (!response.ok) throw new Error(`publish: ${response.status} ${await response.text()}`);
    return response.json();
  }

  // The throwaway token that `dev` prints for trying out named users.
  get token() {
    return this.printed.match(/eyJ[\w-]+\.[\w-]+\.[\w-]+/)?.[0];
  }

  async #ready() {
    const until = Date.now() + readyMs;
    while (Date.now() < until && this.process.exitCode === null) {
      // What it prints tells that it is this node that answers, and no other that has taken the port.
      const ok = await fetch(`http://${this.address}/readyz`).then((response) => response.ok, () => false);
      if (ok && this.printed.includes(this.address)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await this.kill();
    throw new Error(`${binary} dev did not get ready:\n${this.log}`);
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
