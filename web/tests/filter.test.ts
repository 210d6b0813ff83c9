/** Which apps the home page's filter lets through, and what it says of them; and how times are written. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { filterRows, describeCount, listGroups, makeMatcher, type Row } from "../src/account/filter";
import { formatAgo, formatInstant, localizeTimes } from "../src/local-time";

test("an app is seen that has each of the words, in any order and case", () => {
  assert(makeMatcher("")("billing-api.staging"));
  assert(makeMatcher("  ")("billing-api.staging"));
  assert(makeMatcher("STAG bill")("billing-api.staging"));
  assert(makeMatcher("g-api.s")("billing-api.staging"));
  assert(!makeMatcher("bill prod")("billing-api.staging"));
  assert(!makeMatcher("a*b")("a.b"), "no pattern: what is typed is what is looked for");
});

test("the person is told how many are seen", () => {
  assert.equal(describeCount(500, 500), "500 apps");
  assert.equal(describeCount(12, 500), "12 of 500 apps");
  assert.equal(describeCount(0, 500), "none of 500 apps");
});

const ROWS: Row[] = [
  { name: "shop.staging", environment: "staging", state: "ready", used: true },
  { name: "shop.production", environment: "production", state: "absent", used: false },
  { name: "docs", environment: "", state: "absent", used: false },
  { name: "api.production", environment: "production", state: "absent", used: false },
];

test("groups have rows in them, and the environment with most apps comes first", () => {
  const shown = listGroups(ROWS, new Set(["docs"])).map(({ label, count }) => `${label} ${count}`);
  assert.deepEqual(shown, ["All 4", "Recent and pinned 2", "Running 1", "production 2", "staging 1"]);
  assert.deepEqual(listGroups([{ ...ROWS[2]! }], new Set()).map(({ label }) => label), ["All"]);
});

test("pinned apps come first, else the order stays", () => {
  const [all] = listGroups(ROWS, new Set());
  const names = (typed: string, pinned: string[]): string[] => filterRows(ROWS, typed, all!, new Set(pinned)).map(({ name }) => name);
  assert.deepEqual(names("", ["docs"]), ["docs", "shop.staging", "shop.production", "api.production"]);
  assert.deepEqual(names("prod", ["api.production"]), ["api.production", "shop.production"]);
  assert.deepEqual(names("nothing", []), []);
});

test("a time ago is in the largest unit that says enough", () => {
  const now = new Date("2026-03-02T12:00:00Z");
  const before = (minutes: number): string => formatAgo(new Date(now.getTime() - minutes * 60_000), now);
  assert.deepEqual([before(-3), before(0.5), before(1), before(59)], ["now", "now", "1 min ago", "59 min ago"]);
  assert.deepEqual([before(60), before(1439), before(1440), before(2880)], ["1 h ago", "23 h ago", "yesterday", "2 days ago"]);
  assert.match(before(60 * 24 * 40), /^2026-01-\d\d$/);
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
