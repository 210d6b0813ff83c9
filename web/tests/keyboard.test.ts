import assert from "node:assert/strict";
import { test } from "node:test";
import headless from "@xterm/headless";
import { Keyboard, encodeKey, encodeModified, type Key } from "../src/terminal/keyboard";

/** Return the event of a key such as "ctrl+shift+A", at the place `code` of an American keyboard. */
function press(chord: string, code = "", more: Partial<Key> & { locks?: string[] } = {}): Key {
  const held = chord.split("+").slice(0, -1);
  const key = chord.endsWith("++") ? "+" : chord.split("+").at(-1) ?? "";
  const [shiftKey, altKey, ctrlKey, metaKey] = ["shift", "alt", "ctrl", "meta"].map((name) => held.includes(name)) as [boolean, boolean, boolean, boolean];
  const at = code || (/^[a-z]$/i.test(key) ? `Key${key.toUpperCase()}` : /^\d$/.test(key) ? `Digit${key}` : key);
  const getModifierState = (name: string) => more.locks?.includes(name) ?? false;
  return { type: "keydown", key, code: at, location: 0, repeat: false, shiftKey, altKey, ctrlKey, metaKey, getModifierState, ...more };
}

const release = { type: "keyup" };

test("keys that had one code are told apart, and text stays text", () => {
  const all: [string, string | undefined][] = [
    ["a", undefined], ["shift+A", undefined], ["é", undefined], ["Enter", undefined], ["Tab", undefined], ["Backspace", undefined],
    ["Escape", "\x1b[27u"], ["shift+Enter", "\x1b[13;2u"], ["ctrl+Enter", "\x1b[13;5u"], ["shift+Tab", "\x1b[9;2u"], ["ctrl+Backspace", "\x1b[127;5u"],
    ["ctrl+c", "\x1b[99;5u"], ["ctrl+i", "\x1b[105;5u"], ["ctrl+shift+C", "\x1b[99;6u"], ["alt+a", "\x1b[97;3u"], ["ctrl+alt+a", "\x1b[97;7u"],
    ["ArrowUp", "\x1b[A"], ["ctrl+ArrowUp", "\x1b[1;5A"], ["Home", "\x1b[H"], ["Delete", "\x1b[3~"], ["shift+Delete", "\x1b[3;2~"],
    ["F1", "\x1b[P"], ["F3", "\x1b[13~"], ["alt+F5", "\x1b[15;3~"], ["Shift", undefined], ["Dead", undefined], ["Process", undefined],
  ];
  for (const [chord, input] of all) assert.equal(encodeKey(press(chord), 1), input, chord);
  assert.equal(encodeKey(press("ctrl+shift+:", "Semicolon"), 1), "\x1b[59;6u");
  assert.equal(encodeKey(press("ctrl+shift++", "Equal"), 1), "\x1b[61;6u");
  assert.equal(encodeKey(press("ctrl+ ", "Space"), 1), "\x1b[32;5u");
});

test("a keyboard of other letters sends those of the place with Ctrl and Alt, and AltGr writes", () => {
  assert.equal(encodeKey(press("ctrl+с", "KeyC"), 1), "\x1b[99;5u");
  assert.equal(encodeKey(press("alt+å", "KeyA"), 1), "\x1b[97;3u");
  assert.equal(encodeKey(press("с", "KeyC"), 1), undefined);
  assert.equal(encodeKey(press("ctrl+alt+@", "KeyQ", { locks: ["AltGraph"] }), 1), undefined);
});

test("what the page, the browser and the desktop use stays theirs", () => {
  for (const chord of ["shift+Insert", "ctrl+Insert", "shift+PageUp", "meta+c", "meta+ArrowLeft"]) assert.equal(encodeKey(press(chord), 1), undefined, chord);
});

test("repeats and releases are reported if asked for", () => {
  assert.equal(encodeKey(press("ctrl+a", "", { repeat: true }), 3), "\x1b[97;5:2u");
  assert.equal(encodeKey(press("a", "", release), 3), "\x1b[97;1:3u");
  assert.equal(encodeKey(press("ArrowUp", "", release), 3), "\x1b[1;1:3A");
  assert.equal(encodeKey(press("a", "", release), 1), undefined);
  assert.equal(encodeKey(press("Enter", "", release), 3), "");
  assert.equal(encodeKey(press("Enter", "", release), 11), "\x1b[13;1:3u");
  assert.equal(encodeKey(press("ctrl+a"), 2), undefined);
});

test("all keys as codes, with their text and their other characters", () => {
  assert.equal(encodeKey(press("a"), 8), "\x1b[97u");
  assert.equal(encodeKey(press("Enter"), 8), "\x1b[13u");
  assert.equal(encodeKey(press("a", "", { locks: ["NumLock"] }), 8), "\x1b[97;129u");
  assert.equal(encodeKey(press("ArrowUp", "", { locks: ["NumLock"] }), 1), "\x1b[A");
  assert.equal(encodeKey(press("shift+Shift", "ShiftLeft"), 8), "\x1b[57441;2u");
  assert.equal(encodeKey(press("a"), 24), "\x1b[97;;97u");
  assert.equal(encodeKey(press("shift+A"), 28), "\x1b[97:65;2;65u");
  assert.equal(encodeKey(press("с", "KeyC"), 12), "\x1b[1089::99u");
  assert.equal(encodeKey(press("ctrl+a"), 24), "\x1b[97;5u");
});

test("the keypad has codes of its own where it writes nothing", () => {
  const keypad = { location: 3 };
  assert.equal(encodeKey(press("5", "Numpad5", keypad), 1), undefined);
  assert.equal(encodeKey(press("5", "Numpad5", keypad), 8), "\x1b[57404u");
  assert.equal(encodeKey(press("ArrowLeft", "Numpad4", keypad), 1), "\x1b[57417u");
  assert.equal(encodeKey(press("Enter", "NumpadEnter", keypad), 1), undefined);
  assert.equal(encodeKey(press("Enter", "NumpadEnter", keypad), 8), "\x1b[57414u");
});

test("programs push, set, ask for and pop the flags, on each screen apart", async () => {
  const term = new headless.Terminal({ allowProposedApi: true });
  const keyboard = new Keyboard(term as unknown as ConstructorParameters<typeof Keyboard>[0]);
  const answers: string[] = [];
  term.onData((data) => answers.push(data));
  const flags = async (output: string): Promise<string> => {
    await new Promise<void>((done) => term.write(`${output}\x1b[?u`, done));
    return answers.pop() ?? "";
  };
  assert.equal(await flags(""), "\x1b[?0u");
  assert.equal(await flags("\x1b[>1u"), "\x1b[?1u");
  assert.equal(await flags("\x1b[=4;2u"), "\x1b[?5u");
  assert.equal(await flags("\x1b[=1;3u"), "\x1b[?4u");
  assert.equal(await flags("\x1b[?1049h"), "\x1b[?0u");
  assert.equal(await flags("\x1b[>31u"), "\x1b[?31u");
  assert.equal(await flags("\x1b[?1049l"), "\x1b[?4u");
  assert.equal(await flags("\x1b[?1049h"), "\x1b[?0u");
  assert.equal(await flags("\x1b[?1049l\x1b[<u"), "\x1b[?0u");
  assert.equal(await flags("\x1b[>3u\x1b[<9u"), "\x1b[?0u");
  assert.equal(await flags("\x1b[=9u"), "\x1b[?9u");
  assert.equal(await flags("\x1bc"), "\x1b[?0u");
  await flags("\x1b[>1u");
  assert.equal(keyboard.encode(press("shift+Enter")), "\x1b[13;2u");
  await flags("\x1b[<u");
  assert.equal(keyboard.encode(press("shift+Enter")), undefined);
});

test("modifyOtherKeys 1 encodes what has no code of its own, 2 all but text", () => {
  const all: [string, string, string | undefined, string | undefined][] = [
    ["a", "", undefined, undefined], ["shift+A", "", undefined, undefined], ["shift+ ", "Space", undefined, undefined], ["Enter", "", undefined, undefined],
    ["shift+Enter", "", "\x1b[27;2;13~", "\x1b[27;2;13~"], ["ctrl+Enter", "", "\x1b[27;5;13~", "\x1b[27;5;13~"], ["alt+Enter", "", undefined, "\x1b[27;3;13~"],
    ["ctrl+Tab", "", "\x1b[27;5;9~", "\x1b[27;5;9~"], ["shift+Tab", "", undefined, undefined], ["Escape", "", undefined, undefined],
    ["shift+Escape", "", undefined, "\x1b[27;2;27~"], ["ctrl+Backspace", "", undefined, "\x1b[27;5;127~"], ["ctrl+ArrowUp", "", undefined, undefined],
    ["ctrl+c", "", undefined, "\x1b[27;5;99~"], ["ctrl+shift+C", "", "\x1b[27;6;67~", "\x1b[27;6;67~"], ["alt+a", "", undefined, "\x1b[27;3;97~"],
    ["ctrl+1", "", "\x1b[27;5;49~", "\x1b[27;5;49~"], ["ctrl+2", "", undefined, "\x1b[27;5;50~"], ["ctrl+;", "Semicolon", "\x1b[27;5;59~", "\x1b[27;5;59~"],
    ["ctrl+ ", "Space", undefined, "\x1b[27;5;32~"], ["ctrl+/", "Slash", undefined, "\x1b[27;5;47~"], ["ctrl+shift+_", "Minus", undefined, "\x1b[27;6;95~"],
    ["ctrl+shift+:", "Semicolon", "\x1b[27;6;58~", "\x1b[27;6;58~"], ["ctrl+shift+С", "KeyC", "\x1b[27;6;67~", "\x1b[27;6;67~"], ["meta+c", "", undefined, undefined],
    ["ctrl+Control", "ControlLeft", undefined, undefined], ["ctrl+shift+Insert", "", undefined, undefined],
  ];
  for (const [chord, code, one, two] of all) {
    assert.equal(encodeModified(press(chord, code), 1), one, `${chord}, 1`);
    assert.equal(encodeModified(press(chord, code), 2), two, `${chord}, 2`);
    assert.equal(encodeModified(press(chord, code), 0), undefined);
  }
  assert.equal(encodeModified(press("ctrl+alt+@", "KeyQ", { locks: ["AltGraph"] }), 2), undefined);
  assert.equal(encodeModified(press("shift+Enter", "", release), 2), undefined);
});

test("programs set modifyOtherKeys, ask for it and undo it, and kitty's protocol goes before it", async () => {
  const term = new headless.Terminal({ allowProposedApi: true });
  const keyboard = new Keyboard(term as unknown as ConstructorParameters<typeof Keyboard>[0]);
  let answer = "";
  term.onData((data) => (answer = data));
  const after = async (output: string): Promise<[string, string | undefined]> => {
    await new Promise<void>((done) => term.write(`${output}\x1b[?4m`, done));
    return [answer, keyboard.encode(press("ctrl+c"))];
  };
  assert.deepEqual(await after(""), ["\x1b[>4;0m", undefined]);
  assert.deepEqual(await after("\x1b[>4;1m"), ["\x1b[>4;1m", undefined]);
  assert.deepEqual(await after("\x1b[>4;2m\x1b[>1;2m"), ["\x1b[>4;2m", "\x1b[27;5;99~"]);
  assert.deepEqual(await after("\x1b[>1u"), ["\x1b[>4;2m", "\x1b[99;5u"]);
  for (const undo of ["\x1b[>4m", "\x1b[>4;0m", "\x1b[>m", "\x1bc"]) {
    await after("\x1b[<u\x1b[>4;2m");
    assert.deepEqual(await after(undo), ["\x1b[>4;0m", undefined], undo);
  }
});
