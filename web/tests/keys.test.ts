import assert from "node:assert/strict";
import { test } from "node:test";
import { barKey, chord, controlSlash, inserted, withControl, withHeld } from "../src/terminal/keys";

test("keys of the bar, and Ctrl held there", () => {
  assert.deepEqual([barKey("↑", false), barKey("↑", true), barKey("Esc", false)], ["\x1b[A", "\x1bOA", "\x1b"]);
  assert.deepEqual([withControl("c"), withControl("["), withControl(" "), withControl("?"), withControl("ab")], ["\x03", "\x1b", "\0", "\x7f", "ab"]);
});

test("keys of the bar with others held, as xterm sends them", () => {
  const [alt, both] = [{ control: false, alt: true }, { control: true, alt: true }];
  assert.deepEqual(["PgUp", "PgDn"].map((name) => barKey(name, false)), ["\x1b[5~", "\x1b[6~"]);
  assert.deepEqual([barKey("←", true, alt), barKey("↑", false, both), barKey("PgDn", false, alt)], ["\x1b[1;3D", "\x1b[1;7A", "\x1b[6;3~"]);
  assert.deepEqual([barKey("Esc", false, alt), barKey("|", false, alt)], ["\x1b\x1b", "\x1b|"]);
  assert.deepEqual([withHeld("b", alt), withHeld("c", both), withHeld("x", { control: false, alt: false })], ["\x1bb", "\x1b\x03", "x"]);
});

test("Alt-Shift stands in for what a tab keeps", () => {
  const event = { altKey: true, shiftKey: true, ctrlKey: false, metaKey: false };
  assert.deepEqual(["KeyW", "KeyT", "KeyN", "KeyX"].map((code) => chord({ ...event, code })), ["\x17", "\x14", "\x0e", undefined]);
  assert.deepEqual(["KeyM", "KeyP"].map((code) => chord({ ...event, code })), ["menu", "palette"]);
  assert.equal(chord({ ...event, ctrlKey: true, code: "KeyW" }), undefined);
});

test("Ctrl and a slash send 0x1f, by the key or by the bar, whatever makes the slash", () => {
  const event = { key: "/", ctrlKey: true, altKey: false, metaKey: false };
  assert.equal(controlSlash(event), "\x1f");
  assert.equal(controlSlash({ ...event, altKey: true }), undefined); // AltGr
  assert.equal(controlSlash({ ...event, ctrlKey: false }), undefined);
  assert.equal(withControl("/"), "\x1f");
});

test("line ends that no key made are not lost", () => {
  assert.equal(inserted({ inputType: "insertLineBreak", data: null }), "\r");
  assert.equal(inserted({ inputType: "insertParagraph", data: null }), "\r");
  for (const data of ["\n", "\r", "\r\n"]) assert.equal(inserted({ inputType: "insertText", data }), "\r");
  assert.equal(inserted({ inputType: "insertText", data: "one\ntwo" }), "one\ntwo");
});

test("what xterm.js takes itself is left to it", () => {
  assert.equal(inserted({ inputType: "insertText", data: "one" }), undefined);
  assert.equal(inserted({ inputType: "insertText", data: null }), undefined);
  assert.equal(inserted({ inputType: "insertCompositionText", data: "a\nb" }), undefined);
  assert.equal(inserted({ inputType: "deleteContentBackward", data: null }), undefined);
});
