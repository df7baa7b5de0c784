// The browser that is installed on the machine; none is downloaded.

import { chromium } from "playwright-core";

// A browser in a test asks nobody for updates, and runs as whoever runs the suite, root included.
const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const desktop = { width: 1280, height: 960 };
export const phone = { width: 390, height: 844 };

export function launch() {
  return chromium.launch({ executablePath: process.env.SUITE_CHROMIUM ?? "/usr/bin/chromium", args });
}
