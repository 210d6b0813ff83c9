import assert from "node:assert/strict";
import { test } from "node:test";
import { coast, Finger } from "../src/terminal/swipe";

test("a finger that hardly moves taps", () => {
  const finger = new Finger(100, 0);
  assert.equal(finger.move(104, 10), 0);
  assert.equal(finger.move(95, 20), 0);
  assert.equal(finger.swipes, false);
  assert.equal(finger.release(30), 0);
});

test("what it goes adds up to its way, from where it came down", () => {
  const finger = new Finger(100, 0);
  const ways = [97, 90, 60, 70, 20].map((y, i) => finger.move(y, i * 10));
  assert.deepEqual(ways, [0, 10, 30, -10, 50]);
  assert.equal(ways.reduce((sum, way) => sum + way, 0), 80);
});

test("it goes on as fast as it was let go, unless it was held still", () => {
  const finger = new Finger(100, 0);
  finger.move(80, 10);
  finger.move(40, 30);
  assert.equal(finger.release(40), 2);
  assert.equal(finger.release(90), 0);
});

test("what is left to itself comes to rest, and not far from where its speed leads", () => {
  for (const frame of [4, 16, 100]) {
    let [speed, far, turns] = [-2, 0, 0];
    while (speed !== 0) {
      const [more, left] = coast(speed, frame);
      assert.ok(more <= 0 && left <= 0 && left > speed);
      [speed, far, turns] = [left, far + more, turns + 1];
      assert.ok(turns < 2000);
    }
    assert.ok(Math.abs(far + 2 * 325) < 15, `${far} px in frames of ${frame} ms`);
  }
});
