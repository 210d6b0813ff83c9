/** Letters drawn over a terminal before the program echoes them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import headless from "@xterm/headless";
import type { Terminal } from "@xterm/xterm";
import { LocalEcho } from "../src/terminal/local-echo";

test("lines that scroll by cost nothing while no letter is drawn", async () => {
  const drawn = { hidden: false };
  Object.assign(globalThis, { document: { createElement: () => drawn } });
  const term = new headless.Terminal({ allowProposedApi: true, rows: 5 });
  let lookups = 0;
  Object.defineProperty(term, "element", { get: () => void (lookups += 1) });
  const echo = new LocalEcho(term as unknown as Terminal, { localEcho: true }, () => true);
  let scrolled = 0;
  term.onScroll(() => void (scrolled += 1));
  echo.noteInput(new TextEncoder().encode("\r"), 1);
  echo.noteTaken(1);
  await new Promise<void>((done) => term.write("y\r\n".repeat(1000), done));
  assert.ok(scrolled > 900);
  assert.equal(lookups, 0);
  echo.reset();
});
