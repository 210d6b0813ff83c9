/** Which apps the home page's filter lets through, and what it says of them; and how times are written. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { counted, matches } from "../src/account/filter";
import { formatInstant, localizeTimes } from "../src/local-time";

test("an app is seen that has each of the words, in any order and case", () => {
  assert(matches("billing-api.staging", ""));
  assert(matches("billing-api.staging", "  "));
  assert(matches("billing-api.staging", "STAG bill"));
  assert(matches("billing-api.staging", "g-api.s"));
  assert(!matches("billing-api.staging", "bill prod"));
  assert(!matches("a.b", "a*b"), "no pattern: what is typed is what is looked for");
});

test("the person is told how many are seen", () => {
  assert.equal(counted(500, 500), "500 apps");
  assert.equal(counted(12, 500), "12 of 500 apps");
  assert.equal(counted(0, 500), "none of 500 apps");
});

test("a time is that of the person's zone, and as wide as every other", () => {
  const at = new Date("2026-03-02T23:05:00Z");
  assert.equal(formatInstant(at, "UTC"), "2026-03-02 23:05");
  assert.equal(formatInstant(at, "Asia/Shanghai"), "2026-03-03 07:05");
  assert.equal(formatInstant(at, "America/St_Johns"), "2026-03-02 19:35");
});

test("so is each that a message names in UTC", () => {
  const said = "token t1 ended at 2026-03-02 23:05 UTC; app01 moved on at 2026-03-02 23:06 UTC";
  assert.equal(localizeTimes(said, "Asia/Kathmandu"), "token t1 ended at 2026-03-03 04:50; app01 moved on at 2026-03-03 04:51");
  assert.equal(localizeTimes("2026-99-02 23:05 UTC, 23:05 UTC", "Asia/Kathmandu"), "2026-99-02 23:05 UTC, 23:05 UTC");
});
