import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeBarKey, findChord, encodeControlSlash, findInsertedText, applyHeld } from "../src/terminal/keys";

test("keys of the bar, and Ctrl held there", () => {
  assert.deepEqual([encodeBarKey("↑", false), encodeBarKey("↑", true), encodeBarKey("Esc", false)], ["\x1b[A", "\x1bOA", "\x1b"]);
  const control = { control: true, alt: false };
  assert.deepEqual(["c", "[", " ", "?", "ab"].map((text) => applyHeld(text, control)), ["\x03", "\x1b", "\0", "\x7f", "ab"]);
});

test("keys of the bar with others held, as xterm sends them", () => {
  const [alt, both] = [{ control: false, alt: true }, { control: true, alt: true }];
  assert.deepEqual(["PgUp", "PgDn"].map((name) => encodeBarKey(name, false)), ["\x1b[5~", "\x1b[6~"]);
  assert.deepEqual([encodeBarKey("←", true, alt), encodeBarKey("↑", false, both), encodeBarKey("PgDn", false, alt)], ["\x1b[1;3D", "\x1b[1;7A", "\x1b[6;3~"]);
  assert.deepEqual([encodeBarKey("Esc", false, alt), encodeBarKey("|", false, alt)], ["\x1b\x1b", "\x1b|"]);
  assert.deepEqual([applyHeld("b", alt), applyHeld("c", both), applyHeld("x", { control: false, alt: false })], ["\x1bb", "\x1b\x03", "x"]);
});

test("Alt-Shift stands in for what a tab keeps", () => {
  const event = { altKey: true, shiftKey: true, ctrlKey: false, metaKey: false };
  assert.deepEqual(["KeyW", "KeyT", "KeyN", "KeyX"].map((code) => findChord({ ...event, code })), ["\x17", "\x14", "\x0e", undefined]);
  assert.deepEqual(["KeyM", "KeyP"].map((code) => findChord({ ...event, code })), ["settings", "palette"]);
  assert.equal(findChord({ ...event, ctrlKey: true, code: "KeyW" }), undefined);
});

test("Ctrl and a slash send 0x1f, by the key or by the bar, whatever makes the slash", () => {
  const event = { key: "/", ctrlKey: true, altKey: false, metaKey: false };
  assert.equal(encodeControlSlash(event), "\x1f");
  assert.equal(encodeControlSlash({ ...event, altKey: true }), undefined); // AltGr
  assert.equal(encodeControlSlash({ ...event, ctrlKey: false }), undefined);
  assert.equal(applyHeld("/", { control: true, alt: false }), "\x1f");
});

test("line ends that no key made are not lost", () => {
  assert.equal(findInsertedText({ inputType: "insertLineBreak", data: null }), "\r");
  assert.equal(findInsertedText({ inputType: "insertParagraph", data: null }), "\r");
  for (const data of ["\n", "\r", "\r\n"]) assert.equal(findInsertedText({ inputType: "insertText", data }), "\r");
  assert.equal(findInsertedText({ inputType: "insertText", data: "one\ntwo" }), "one\ntwo");
});

test("what xterm.js takes itself is left to it", () => {
  assert.equal(findInsertedText({ inputType: "insertText", data: "one" }), undefined);
  assert.equal(findInsertedText({ inputType: "insertText", data: null }), undefined);
  assert.equal(findInsertedText({ inputType: "insertCompositionText", data: "a\nb" }), undefined);
  assert.equal(findInsertedText({ inputType: "deleteContentBackward", data: null }), undefined);
});
