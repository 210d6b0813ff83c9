import assert from "node:assert/strict";
import { test } from "node:test";
import { copied, copiedWords, harmless, lineCount, MAX_COPY_BYTES, oneLine, severalLines } from "../src/terminal/clipboard";

const base64 = (text: string): string => Buffer.from(text).toString("base64");

test("OSC 52 copies text, also as tmux writes it", () => {
  assert.equal(copied(`c;${base64("你好 é")}`), "你好 é");
  assert.equal(copied(`;${base64("tmux")}`), "tmux");
});

test("OSC 52 is never answered, and never copies what is broken or too long", () => {
  for (const sequence of ["c;?", "?", "", "c", "zz;QQ==", "c;%%%", `c;${base64("x".repeat(MAX_COPY_BYTES + 4))}`])
    assert.equal(copied(sequence), undefined, sequence.slice(0, 20));
  assert.equal(copied(`c;${Buffer.from([0xff, 0xfe]).toString("base64")}`), undefined);
  assert.equal(copied(`c;${base64("x".repeat(MAX_COPY_BYTES))}`)?.length, MAX_COPY_BYTES);
});

test("a paste cannot end its own brackets", () => {
  assert.equal(harmless("a\x1b[201~; rm -rf /\n").includes("\x1b"), false);
  assert.equal(harmless("tabs\tand\nlines"), "tabs\tand\nlines");
});

test("several lines are worth a question, one with its end is not", () => {
  assert.deepEqual(["a", "a\n", "a\r\n", "a\nb", "a\rb"].map(severalLines), [false, false, false, true, true]);
});

test("an end of line at the end of a paste is no further line", () => {
  assert.deepEqual(["a", "a\n", "a\nb", "a\r\nb\r\n", "a\rb\rc\r", "\n\n"].map(lineCount), [1, 1, 2, 2, 3, 2]);
});

test("a title is one line of plain text", () => {
  assert.equal(oneLine("a\n\u202eb\x07<b>"), "ab<b>");
  assert.equal(oneLine("x".repeat(1000)).length, 200);
});

test("what a program has copied is told in one short line", () => {
  assert.equal(copiedWords("x"), "The terminal copied 1 character to your clipboard: x");
  assert.equal(copiedWords("rm -rf /\n\x1b[2J\u202eone"), "The terminal copied 17 characters to your clipboard: rm -rf / [2Jone");
  assert.ok(copiedWords("y".repeat(1000)).endsWith(`: ${"y".repeat(40)}…`));
});
