/** Who is at a terminal: what is news, and what they are called. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { IdentityLevel, Mode, type Person } from "../src/terminal/frames";
import { formatName, assignColours, listNews, listOthers, type People } from "../src/terminal/people";

const person = (number: number, name: string, rest: Partial<Person> = {}): Person => ({
  number, name, mode: Mode.Mirror, level: IdentityLevel.User, typed: false, forS: 0, ...rest,
});
const told = (...people: Person[]): People => ({ kind: "people", you: 1, mayRule: true, locked: false, people });
const me = person(1, "alice");

test("others are all but the reader, also of one name", () => {
  assert.deepEqual(listOthers(told(me, person(2, "alice"))).map((one) => one.number), [2]);
});

test("who comes and who leaves is news, and a line that was cut is none", () => {
  const bob = person(2, "bob");
  assert.deepEqual(listNews(told(me), told(me, bob)), [{ text: "bob types here now", came: true }]);
  assert.deepEqual(listNews(told(me, bob), told(me)), [{ text: "bob has left", came: false }]);
  assert.deepEqual(listNews(told(me, bob), told(me, person(7, "bob", { typed: true }))), []);
  assert.equal(listNews(told(me, bob), told(me, bob, person(3, "bob"))).length, 1);
});

test("one who watched and types now is news", () => {
  const watches = person(2, "ops", { mode: Mode.Watch });
  assert.deepEqual(listNews(told(me, watches), told(me, person(3, "ops"))).map((one) => one.text), [
    "ops types here now", "ops has left",
  ]);
});

test("a person is announced once their name is proved, or known not to be", () => {
  const claimed = person(2, "bob", { level: IdentityLevel.Claimed });
  assert.deepEqual(listNews(told(me), told(me, claimed)), []);
  assert.deepEqual(listNews(told(me, claimed), told(me, person(2, "bob"))), [{ text: "bob types here now", came: true }]);
  assert.deepEqual(listNews(told(me, claimed), told(me, person(2, "bob", { level: IdentityLevel.Ssh }))), [
    { text: "unverified ssh login as bob types here now", came: true },
  ]);
  assert.deepEqual(listNews(told(me, claimed), told(me)), []);
});

test("whom nobody let in is never called by a name alone", () => {
  assert.equal(formatName(person(2, "", { level: IdentityLevel.Ssh })), "unverified ssh login");
  assert.equal(formatName(person(2, "alice", { level: IdentityLevel.Ssh })), "unverified ssh login as alice");
  const ssh = person(2, "alice", { level: IdentityLevel.Ssh });
  assert.equal(assignColours([me, ssh])(ssh), "person-ssh");
});

test("a guest by a link is a kind of their own", () => {
  assert.equal(formatName(person(2, "bob", { level: IdentityLevel.Guest })), "bob by link");
});

test("each name has a colour of its own, and keeps it when others come", () => {
  const all = ["dev", "bob", "你😀", "ops", "eve", "mallory", "trent"].map((name, at) => person(at + 1, name));
  for (let count = 1; count <= all.length; count += 1) {
    const given = all.slice(0, count).map(assignColours(all.slice(0, count)));
    assert.equal(new Set(given).size, Math.min(count, 6));
    assert.deepEqual(given, all.slice(0, count).map(assignColours(all)));
    for (const one of given) assert.match(one, /^person-[0-5]$/);
  }
});
