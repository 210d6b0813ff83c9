/** How the time of a step is written. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatElapsed } from "../src/terminal/starting";

test("a step's time is in tenths of a second, and from a minute on in minutes", () => {
  assert.equal(formatElapsed(-1), "0.0 s");
  assert.equal(formatElapsed(3240), "3.2 s");
  assert.equal(formatElapsed(65_900), "1 min 05 s");
});
