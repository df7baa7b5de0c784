// Takes the README's picture: the page with a few alerts of a morning, one connection cut and recovered.

import { mkdirSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { launch } from "./chromium.js";
import { DevNode } from "./dev_node.js";

const picture = fileURLToPath(new URL("../../../docs/images/demo.png", import.meta.url));
const bytesMax = 200_000;

const alerts = [
  ["news", { text: "The autumn release is out: read what changed" }],
  ["deploys", { text: "web 214 is live in all regions" }],
  ["deploys", { service: "billing", version: "9f31c02", took_seconds: 41 }],
  ["incidents", { text: "Checkout answers slowly: 2 % of requests take over a second", level: "warning" }],
  ["incidents", { text: "Payments fail in eu-west", level: "critical" }],
];
const missed = [
  ["incidents", { text: "Payments in eu-west are back to normal" }],
  ["deploys", { text: "billing was rolled back to 1c77d40", level: "warning" }],
];

mkdirSync(fileURLToPath(new URL("../../../docs/images/", import.meta.url)), { recursive: true });
const node = await DevNode.start("127.0.0.1:8000");
const browser = await launch();
try {
  const page = await browser.newPage({ viewport: { width: 1160, height: 1040 }, colorScheme: "light" });
  await page.goto(`http://${node.address}/#token=${node.token}`);
  const other = await browser.newPage();
  await other.goto(`http://${node.address}/`);
  await page.locator('#roster [data-channel="incidents"] .person').nth(1).waitFor();
  for (let n = 1; n <= 30; n++) await publish(page, `Canary of web 214: ${n} %`);
  for (const [channel, data] of alerts) await node.publish(channel, data);
  await page.getByRole("button", { name: "Disconnect for 5 s" }).click();
  for (const [channel, data] of missed) await node.publish(channel, data);
  await page.waitForTimeout(2400);
  await page.getByRole("button", { name: "Connect now" }).click();
  await page.locator(".badge.recovered").nth(1).waitFor();
  await publish(page, "All clear");
  await page.locator("h1").click();
  await page.waitForTimeout(1000);
  await page.screenshot({ path: picture, animations: "disabled" });
} finally {
  await browser.close();
  await node.kill();
}

const { size } = statSync(picture);
if (size > bytesMax) throw new Error(`${picture} has ${size} bytes, ${bytesMax} at most`);
console.log(`${picture}: ${size} bytes`);

async function publish(page, text) {
  const before = await page.locator(".badge.own").count();
  await page.getByLabel("Alert", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Publish", exact: true }).click();
  await page.locator(".badge.own").nth(before).waitFor();
  // The page has to be at rest, or the time that drawing takes is measured too.
  await page.waitForTimeout(300);
}
