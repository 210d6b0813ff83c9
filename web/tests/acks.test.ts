/** How often it is acknowledged what is drawn. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Acks, REST_MS } from "../src/terminal/acks";
import { ACK_BYTES } from "../src/terminal/attachment";

test("what is little is acknowledged together, after a moment, and what is much at once", ({ mock }) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const told: number[] = [];
  const acks = new Acks((to) => told.push(to));
  for (let to = 1; to <= 10; to++) acks.noteDrawn(to);
  assert.deepEqual(told, []);
  mock.timers.tick(REST_MS);
  assert.deepEqual(told, [10]);
  acks.noteDrawn(11);
  acks.noteDrawn(10 + ACK_BYTES);
  assert.deepEqual(told, [10, 10 + ACK_BYTES]);
  mock.timers.tick(10 * REST_MS);
  assert.deepEqual(told, [10, 10 + ACK_BYTES], "nothing is left to tell");
});

test("a terminal that counts anew is acknowledged as well", ({ mock }) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const told: number[] = [];
  const acks = new Acks((to) => told.push(to));
  acks.noteDrawn(5 * ACK_BYTES);
  acks.noteDrawn(3);
  mock.timers.tick(REST_MS);
  assert.deepEqual(told, [5 * ACK_BYTES, 3]);
});
