// The demo page in a real browser, against a real node.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import axe from "axe-core";

import { Cable } from "../sdk/js/cable.js";
import { desktop, launch, phone } from "./chromium.js";
import { DevNode } from "./dev_node.js";

const run = promisify(execFile);
const pictures = fileURLToPath(new URL("../../../target/browser/", import.meta.url));
const waitMs = 15_000;
// A back-off can take this long, and the answer a little more.
const backMs = 40_000;

describe("the demo page", () => {
  let browser;
  let node;
  let contexts;

  before(async () => {
    mkdirSync(pictures, { recursive: true });
    browser = await launch();
  });
  after(() => browser?.close());
  beforeEach(async () => {
    contexts = [];
    node = await DevNode.start();
  });
  afterEach(async () => {
    for (const context of contexts) await context.close();
    await node?.kill();
  });

  async function open({ address = node.address, fragment = "", ...options } = {}) {
    const context = await browser.newContext({ viewport: desktop, ...options });
    contexts.push(context);
    const page = await context.newPage();
    page.setDefaultTimeout(waitMs);
    page.failures = [];
    page.requested = [];
    page.on("pageerror", (error) => page.failures.push(String(error)));
    page.on("console", (message) => message.type() === "error" && page.failures.push(message.text()));
    page.on("request", (request) => page.requested.push(request.url()));
    await page.goto(`http://${address}/${fragment}`);
    await says(page, "Connected");
    await page.locator("#roster .you").nth(2).waitFor();
    return page;
  }

  const says = (page, text, timeout = waitMs) => page.locator("#state", { hasText: text }).waitFor({ timeout });
  const alert = (page, text) => page.locator(".alert", { hasText: text });
  const texts = (page) => page.locator(".alert .text").allTextContents();
  const notice = (page, kind, timeout = waitMs) => {
    const found = page.locator(`.notice.${kind}`).first();
    return found.waitFor({ timeout }).then(() => found.textContent());
  };

  it("shows what is published over HTTP, newest first", async () => {
    const page = await open();
    await node.publish("news", { text: "first" });
    await node.publish("deploys", { text: "second", level: "critical" });
    await alert(page, "second").waitFor();
    assert.deepEqual(await texts(page), ["second", "first"]);
    assert.match(await alert(page, "second").textContent(), /deploys.*critical.*#1/);
    await page.getByRole("button", { name: "news" }).first().click();
    assert.equal(await alert(page, "second").isVisible(), false);
    assert.equal(await alert(page, "first").isVisible(), true);
    assert.deepEqual(page.failures, []);
  });

  it("shows data that is no alert as JSON, and never as markup", async () => {
    const page = await open();
    await node.publish("news", { text: "<img src=x onerror=alert(1)>" });
    await node.publish("news", { amount: 12 });
    await page.locator(".alert .json").waitFor();
    assert.deepEqual(await texts(page), ["<img src=x onerror=alert(1)>"]);
    assert.equal(await page.locator(".alert img").count(), 0);
  });

  it("publishes by its form, and measures the way back", async () => {
    const page = await open();
    await page.getByLabel("Alert", { exact: true }).fill("from the form");
    await page.getByText("Warning", { exact: true }).click();
    await page.getByRole("button", { name: "Publish", exact: true }).click();
    await alert(page, "from the form").locator(".badge.own").waitFor();
    assert.match(await page.locator("#latency-last").textContent(), /^[\d.]+ ms$/);
    await page.getByRole("button", { name: "Send 20" }).click();
    await alert(page, "(20/20)").waitFor();
    const shown = (await texts(page)).reverse();
    assert.deepEqual(shown.slice(1), Array.from({ length: 20 }, (_, n) => `from the form (${n + 1}/20)`));
    await page.locator("#latency-chart rect").nth(20).waitFor({ state: "attached" });
  });

  it("recovers after its connection was cut, without a loss and without a double", async () => {
    const path = await Cable.lay(node.address);
    try {
      const page = await open({ address: path.address });
      await node.publish("news", { text: "before" });
      await alert(page, "before").waitFor();
      path.cut();
      await says(page, "Offline");
      await node.publish("news", { text: "missed one" });
      await node.publish("deploys", { text: "missed two" });
      path.mend();
      assert.match(await notice(page, "back", backMs), /Recovered 2 missed alerts: 1 in news and 1 in deploys/);
      await says(page, "Connected");
      await node.publish("news", { text: "after" });
      await alert(page, "after").waitFor();
      assert.deepEqual((await texts(page)).sort(), ["after", "before", "missed one", "missed two"]);
      assert.equal(await page.locator(".alert .badge.recovered").count(), 2);
      assert.equal(await page.locator(".gap-line").count(), 0);
    } finally {
      await path.remove();
    }
  });

  it("recovers after its own button cut it", async () => {
    const page = await open();
    await page.getByRole("button", { name: "Disconnect for 5 s" }).click();
    await says(page, "Offline: you cut the connection");
    await node.publish("news", { text: "meanwhile" });
    await page.getByRole("button", { name: "Connect now" }).click();
    assert.match(await notice(page, "back"), /Recovered 1 missed alert: 1 in news/);
    await alert(page, "meanwhile").waitFor();
  });

  it("says that nothing was missed when nothing was", async () => {
    const page = await open();
    await page.getByRole("button", { name: "Disconnect for 5 s" }).click();
    await page.getByRole("button", { name: "Connect now" }).click();
    assert.match(await notice(page, "back"), /Nothing was missed/);
  });

  it("says what it could not get after the node was killed and started again", async () => {
    const page = await open();
    await node.publish("news", { text: "before" });
    await alert(page, "before").waitFor();
    await node.kill();
    await says(page, "Offline");
    node = await DevNode.start(node.address);
    const text = await notice(page, "gap", backMs);
    assert.match(text, /Missed alerts could not be recovered in news, deploys, and incidents/);
    await page.locator(".gap-line").waitFor();
    assert.equal(await page.locator(".notice.back").count(), 0);
    await says(page, "Connected");
    await node.publish("news", { text: "after" });
    await alert(page, "after").waitFor();
    assert.deepEqual(await texts(page), ["after", "before"]);
    await page.screenshot({ path: `${pictures}gap.png`, animations: "disabled" });
  });

  it("shows who is there, and who has left", async () => {
    const page = await open();
    const people = page.locator('#roster [data-channel="news"] .person');
    assert.deepEqual((await people.allTextContents()).length, 1);
    const other = await open();
    await people.nth(1).waitFor();
    await other.close();
    await people.nth(1).waitFor({ state: "detached" });
    assert.match(await people.first().textContent(), /\(you\)/);
  });

  it("connects as a named user with the token that dev prints", async () => {
    const page = await open({ fragment: `#token=${node.token}` });
    assert.doesNotMatch(await page.locator("#roster .you").first().textContent(), /guest/);
    assert.doesNotMatch(page.url(), /token/);
  });

  it("subscribes to another channel, and says why it may not", async () => {
    const page = await open();
    const add = async (channel) => {
      await page.getByLabel("Subscribe to another channel").fill(channel);
      await page.getByRole("button", { name: "Subscribe", exact: true }).click();
    };
    await add("orders");
    await page.locator('#roster [data-channel="orders"] .you').waitFor();
    await node.publish("orders", { text: "one more" });
    await alert(page, "one more").waitFor();
    await add("x".repeat(250) + " é");
    assert.match(await notice(page, "problem"), /bad request \(107\)/);
    await page.getByRole("button", { name: "Unsubscribe from orders" }).click();
    await page.locator('#roster [data-channel="orders"]').waitFor({ state: "detached" });
  });

  it("has a curl line that works as it is copied", async () => {
    const page = await open({ permissions: ["clipboard-read", "clipboard-write"] });
    await page.getByLabel("Alert", { exact: true }).fill("it's $HOME & `more`");
    await page.getByRole("button", { name: "Copy" }).click();
    const line = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(line, await page.locator("#curl").textContent());
    // The line goes through a real shell; where there is no curl, a stand-in shows what it would have got.
    const hasCurl = await run("sh", ["-c", "command -v curl"]).then(() => true, () => false);
    const { stdout } = await run("sh", ["-c", hasCurl ? line : line.replace(/^curl/, "printf '%s\\n'")]);
    if (hasCurl) await alert(page, "it's $HOME & `more`").waitFor();
    else assert.ok(stdout.includes(`{"text":"it's $HOME & \`more\`"}`));
  });

  it("loads nothing from elsewhere, and could not", async () => {
    const page = await open();
    const elsewhere = page.requested.filter((url) => new URL(url).host !== node.address);
    assert.deepEqual(elsewhere, []);
    assert.deepEqual(page.failures, []);
    const blocked = await page.evaluate(() => {
      const told = new Promise((tell) => addEventListener("securitypolicyviolation", tell, { once: true }));
      document.body.append(Object.assign(new Image(), { src: "http://localhost:1/picture.png" }));
      return told.then(({ effectiveDirective }) => effectiveDirective);
    });
    assert.equal(blocked, "img-src");
  });

  for (const colorScheme of ["light", "dark"]) {
    it(`can be used by everybody: ${colorScheme}`, async () => {
      const page = await open({ colorScheme, reducedMotion: "reduce" });
      for (const level of ["info", "warning", "critical"]) await node.publish("news", { text: level, level });
      await page.getByRole("button", { name: "Disconnect for 5 s" }).click();
      await node.publish("news", { text: "meanwhile" });
      await page.getByRole("button", { name: "Connect now" }).click();
      await alert(page, "meanwhile").waitFor();
      await node.kill();
      node = await DevNode.start(node.address);
      await notice(page, "gap", backMs);
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), []);
    });
  }

  for (const [name, options] of Object.entries({
    light: { colorScheme: "light" },
    dark: { colorScheme: "dark" },
    phone: { viewport: phone, isMobile: true, deviceScaleFactor: 2 },
    narrow: { viewport: { width: 320, height: 640 }, isMobile: true },
  })) {
    it(`fits its window: ${name}`, async () => {
      const page = await open(options);
      await node.publish("incidents", { text: `a word without an end: ${"x".repeat(300)}`, level: "warning" });
      await node.publish("news", { id: 1, list: ["y".repeat(200)] });
      await alert(page, "a word").waitFor();
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `${overflow} px too wide`);
      await page.screenshot({ path: `${pictures}${name}.png`, animations: "disabled" });
    });
  }
});
