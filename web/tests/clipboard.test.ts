import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeCopy, describeCopy, makeHarmless, countLines, MAX_COPY_BYTES, toOneLine, hasSeveralLines } from "../src/terminal/clipboard";

const base64 = (text: string): string => Buffer.from(text).toString("base64");

test("OSC 52 copies text, also as tmux writes it", () => {
  assert.equal(decodeCopy(`c;${base64("你好 é")}`), "你好 é");
  assert.equal(decodeCopy(`;${base64("tmux")}`), "tmux");
});

test("OSC 52 is never answered, and never copies what is broken or too long", () => {
  for (const sequence of ["c;?", "?", "", "c", "zz;QQ==", "c;%%%", `c;${base64("x".repeat(MAX_COPY_BYTES + 4))}`])
    assert.equal(decodeCopy(sequence), undefined, sequence.slice(0, 20));
  assert.equal(decodeCopy(`c;${Buffer.from([0xff, 0xfe]).toString("base64")}`), undefined);
  assert.equal(decodeCopy(`c;${base64("x".repeat(MAX_COPY_BYTES))}`)?.length, MAX_COPY_BYTES);
});

test("a paste cannot end its own brackets", () => {
  assert.equal(makeHarmless("a\x1b[201~; rm -rf /\n").includes("\x1b"), false);
  assert.equal(makeHarmless("tabs\tand\nlines"), "tabs\tand\nlines");
});

test("several lines are worth a question, one with its end is not", () => {
  assert.deepEqual(["a", "a\n", "a\r\n", "a\nb", "a\rb"].map(hasSeveralLines), [false, false, false, true, true]);
});

test("an end of line at the end of a paste is no further line", () => {
  assert.deepEqual(["a", "a\n", "a\nb", "a\r\nb\r\n", "a\rb\rc\r", "\n\n"].map(countLines), [1, 1, 2, 2, 3, 2]);
});

test("a title is one line of plain text", () => {
  assert.equal(toOneLine("a\n\u202eb\x07<b>"), "ab<b>");
  assert.equal(toOneLine("x".repeat(1000)).length, 200);
});

test("what a program has copied is told in one short line", () => {
  assert.equal(describeCopy("x"), "The terminal copied 1 character to your clipboard: x");
  assert.equal(describeCopy("rm -rf /\n\x1b[2J\u202eone"), "The terminal copied 17 characters to your clipboard: rm -rf / [2Jone");
  assert.ok(describeCopy("y".repeat(1000)).endsWith(`: ${"y".repeat(40)}…`));
});
