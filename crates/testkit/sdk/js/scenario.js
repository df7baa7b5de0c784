// Tests that put away what they opened, whether they pass or not.

import { it } from "node:test";

// A function that declares a test, and the list of what is to be called after each.
export function scenarios() {
  const cleanups = [];
  const scenario = (title, run) =>
    it(title, { timeout: 60_000 }, async () => {
      try {
        await run();
      } finally {
        for (const cleanup of cleanups.splice(0)) await cleanup();
      }
    });
  return { scenario, cleanups };
}
