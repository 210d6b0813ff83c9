/** How the time of a step is written. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { elapsed } from "../src/terminal/starting";

test("a step's time is in tenths of a second, and from a minute on in minutes", () => {
  assert.equal(elapsed(-1), "0.0 s");
  assert.equal(elapsed(3240), "3.2 s");
  assert.equal(elapsed(65_900), "1 min 05 s");
});
