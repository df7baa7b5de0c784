// What the README tells a newcomer to do, done word for word but for the port.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, before, it } from "node:test";
import { fileURLToPath } from "node:url";

import { DevNode } from "../../browser/dev_node.js";

const readme = readFileSync(new URL("../../../../README.md", import.meta.url), "utf8");
const defaultAddress = "127.0.0.1:8000";

let node;
before(async () => {
  node = await DevNode.start();
});
after(() => node?.kill());

const here = (text) => text.replaceAll(defaultAddress, node.address);

it("the program of the README prints what the curl line of the README publishes", { timeout: 30_000 }, async () => {
  const program = here(readme.match(/```js\n(.*?)```/s)[1]);
  const [, data, address] = here(readme.match(/^curl -d '(.*)' (\S+)$/m)[0]).match(/'(.*)' (\S+)/);
  const running = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    cwd: fileURLToPath(new URL(".", import.meta.url)),
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await untilSomebodyListens();
    const response = await fetch(address, { method: "POST", body: data });
    assert.equal(response.status, 200);
    assert.equal(await firstLine(running.stdout), "{ text: 'hi' }");
  } finally {
    running.kill();
  }
});

async function untilSomebodyListens() {
  for (;;) {
    const response = await fetch(`http://${node.address}/api/presence_stats`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: '{"channel":"news"}',
    });
    const { result } = await response.json();
    if (result.num_clients === 1) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function firstLine(stream) {
  let text = "";
  for await (const part of stream) {
    text += part;
    if (text.includes("\n")) return text.split("\n")[0];
  }
  return text;
}
