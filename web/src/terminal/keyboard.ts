/**
 * Keys as programs ask for them, since a terminal's usual input has one code for several keys: by the keyboard protocol
 * of kitty (https://sw.kovidgoyal.net/kitty/keyboard-protocol/), or by xterm's modifyOtherKeys, which is all that tmux
 * knows (https://invisible-island.net/xterm/modified-keys.html). `encodeKey` and `encodeModified` are pure.
 */

import type { Terminal } from "@xterm/xterm";

export type Key = Pick<KeyboardEvent, "type" | "key" | "code" | "location" | "repeat" | "shiftKey" | "altKey" | "ctrlKey" | "metaKey" | "getModifierState">;

/** The flags of kitty's protocol. */
const DISAMBIGUATE = 1;
const EVENTS = 2;
const ALTERNATES = 4;
const ALL = 8;
const TEXT = 16;
const MAX_PUSHED = 16;

/** The number and the last letter of a key that writes no text. Before a letter but `u` and `~` the number is left out. */
const FUNCTIONAL: Partial<Record<string, [number, string]>> = {
  Escape: [27, "u"], Enter: [13, "u"], Tab: [9, "u"], Backspace: [127, "u"], Insert: [2, "~"], Delete: [3, "~"], PageUp: [5, "~"], PageDown: [6, "~"],
  ArrowUp: [1, "A"], ArrowDown: [1, "B"], ArrowRight: [1, "C"], ArrowLeft: [1, "D"], Home: [1, "H"], End: [1, "F"],
  F1: [1, "P"], F2: [1, "Q"], F3: [13, "~"], F4: [1, "S"], F5: [15, "~"], F6: [17, "~"], F7: [18, "~"], F8: [19, "~"], F9: [20, "~"], F10: [21, "~"], F11: [23, "~"], F12: [24, "~"],
  CapsLock: [57358, "u"], ScrollLock: [57359, "u"], NumLock: [57360, "u"], PrintScreen: [57361, "u"], Pause: [57362, "u"], ContextMenu: [57363, "u"],
};
/** Modifier keys, by their place on the keyboard. */
const MODIFIERS: Partial<Record<string, number>> = {
  ShiftLeft: 57441, ControlLeft: 57442, AltLeft: 57443, MetaLeft: 57444, ShiftRight: 57447, ControlRight: 57448, AltRight: 57449, MetaRight: 57450,
};
/** Keys of the keypad: with NumLock by their place, without it by what they do. */
const KEYPAD: Partial<Record<string, number>> = {
  NumpadDecimal: 57409, NumpadDivide: 57410, NumpadMultiply: 57411, NumpadSubtract: 57412, NumpadAdd: 57413, NumpadEnter: 57414, NumpadEqual: 57415,
  ArrowLeft: 57417, ArrowRight: 57418, ArrowUp: 57419, ArrowDown: 57420, PageUp: 57421, PageDown: 57422, Home: 57423, End: 57424, Insert: 57425, Delete: 57426, Clear: 57427,
};
const ON_KEYPAD = 3;
/** The characters of keys without Shift on a US keyboard, where the event names only the one with Shift. */
const PLACES: Partial<Record<string, string>> = {
  Minus: "-", Equal: "=", BracketLeft: "[", BracketRight: "]", Backslash: "\\", Semicolon: ";", Quote: "'", Backquote: "`", Comma: ",", Period: ".", Slash: "/", Space: " ",
};

function findPlace(code: string): string | undefined {
  return /^(?:Key|Digit)(.)$/.exec(code)?.[1]?.toLowerCase() ?? PLACES[code];
}

/** Return the modifiers as the protocol counts them: 1 for none. The locks count for all keys or for none. */
function encodeModifiers(key: Key, locks: boolean): number {
  // Windows reports AltGr as Ctrl and Alt.
  const grave = key.getModifierState("AltGraph");
  const locked = (locks && key.getModifierState("CapsLock") ? 64 : 0) + (locks && key.getModifierState("NumLock") ? 128 : 0);
  return 1 + (key.shiftKey ? 1 : 0) + (key.altKey && !grave ? 2 : 0) + (key.ctrlKey && !grave ? 4 : 0) + (key.metaKey ? 8 : 0) + locked;
}

/** Return the character of a key without Shift. With Ctrl or Alt on a keyboard of other letters it goes by the key's place. */
function findUnshifted(key: Key): string {
  const here = findPlace(key.code);
  if ((key.ctrlKey || key.altKey) && here !== undefined && key.key > "~") return here;
  const lower = key.key.toLowerCase();
  return lower !== key.key.toUpperCase() || !key.shiftKey ? lower : here ?? key.key;
}

/** Return the input for a key with these flags: "" for none, undefined to leave the key to xterm.js. */
export function encodeKey(key: Key, flags: number): string | undefined {
  const released = key.type === "keyup";
  if (released ? !(flags & EVENTS) : !(flags & (DISAMBIGUATE | ALL))) return undefined;
  const all = (flags & ALL) !== 0;
  const modifier = MODIFIERS[key.code];
  // With the Super or Command key, keys are the browser's and the desktop's.
  if (modifier === undefined ? key.metaKey : !all) return undefined;
  const held = encodeModifiers(key, all);
  const event = flags & EVENTS ? (released ? ":3" : key.repeat ? ":2" : "") : "";
  const second = held > 1 || event ? `${held}${event}` : "";
  const form = (number: string, last = "u", text = "") => `\x1b[${[number, second || (text ? "" : undefined), text || undefined].filter((field) => field !== undefined).join(";")}${last}`;
  if (modifier !== undefined) return form(String(modifier));

  const writes = [...key.key].length === 1;
  const keypad = key.location === ON_KEYPAD ? KEYPAD[key.code] ?? KEYPAD[key.key] ?? (/^Numpad\d$/.test(key.code) ? 57399 + Number(key.code.slice(-1)) : undefined) : undefined;
  if (writes) {
    const character = findUnshifted(key);
    if (!all && !released && ((held - 1) & ~1) === 0) return undefined;
    const code = (text: string) => text.codePointAt(0) ?? 0;
    const here = findPlace(key.code);
    const alternates = flags & ALTERNATES ? [key.shiftKey && key.key !== character ? code(key.key) : "", here !== undefined && here !== character ? code(here) : ""] : [];
    const number = [keypad !== undefined && all ? keypad : code(character), ...alternates].join(":").replace(/:+$/, "");
    const typed = flags & TEXT && all && !released && !((held - 1) & 6) ? String(code(key.key)) : "";
    return form(number, "u", typed);
  }
  const [number, last] = FUNCTIONAL[key.key] ?? [];
  // These are the page's: to paste, to copy, and to scroll back.
  const ours = (key.key === "Insert" && (key.shiftKey || key.ctrlKey)) || (/^Page/.test(key.key) && key.shiftKey);
  if (number === undefined || last === undefined || ours) return undefined;
  // So a user whose shell was left in this state can still type `reset`.
  if (!all && /^(?:Enter|Tab|Backspace)$/.test(key.key) && (released || held === 1)) return released ? "" : undefined;
  if (keypad !== undefined && (all || key.key !== "Enter")) return form(String(keypad));
  return last === "u" || last === "~" || second ? form(String(number), last) : `\x1b[${last}`;
}

/** The keys that give a control character with Ctrl. Level 1 of modifyOtherKeys leaves these as they are. */
const HAS_CONTROL = /^[ /2-8@-~]$/;
const LEVELS = 2;

/**
 * Return the input for a key by xterm's modifyOtherKeys, or undefined to leave it to xterm.js. Level 1 leaves all keys
 * that have a code of their own, level 2 only text and Shift-Tab. Unlike xterm, Shift alone never changes text.
 */
export function encodeModified(key: Key, level: number): string | undefined {
  const held = encodeModifiers(key, false);
  if (level === 0 || held === 1 || key.type !== "keydown" || key.metaKey) return undefined;
  const form = (code: number | undefined) => (code === undefined ? undefined : `\x1b[27;${held};${code}~`);
  const full = level === LEVELS;
  if ([...key.key].length > 1) {
    const own = held === 2 && key.key === "Tab" || !full && (key.altKey || !/^(?:Enter|Tab)$/.test(key.key));
    return own ? undefined : form({ Enter: 13, Tab: 9, Escape: 27, Backspace: 127 }[key.key]);
  }
  const plain = findUnshifted(key);
  const letter = plain.toUpperCase() !== plain;
  const shifted = letter ? plain.toUpperCase() : key.key > "~" ? plain : key.key;
  const character = key.shiftKey ? shifted : plain;
  const own = full ? held === 2 : !key.ctrlKey || key.altKey || (HAS_CONTROL.test(character) && !(letter && key.shiftKey));
  return own ? undefined : form(character.codePointAt(0));
}

/** The modes that programs have set. Each screen has flags of its own, and the alternate screen's end with it. */
export class Keyboard {
  private stacks = { normal: [0], alternate: [0] };
  private modifyOtherKeys = 0;

  constructor(private term: Pick<Terminal, "parser" | "buffer" | "input">) {
    const { parser } = term;
    const first = (params: (number | number[])[]) => Number(params[0] ?? 0);
    const does = (act: (params: (number | number[])[]) => void) => (params: (number | number[])[]) => {
      act(params);
      return true;
    };
    parser.registerCsiHandler({ prefix: ">", final: "u" }, does((params) => this.push(first(params))));
    parser.registerCsiHandler({ prefix: "<", final: "u" }, does((params) => this.pop(first(params))));
    parser.registerCsiHandler({ prefix: "=", final: "u" }, does(([flags = 0, mode = 1]) => this.set(Number(flags), Number(mode))));
    parser.registerCsiHandler({ prefix: "?", final: "u" }, does(() => term.input(`\x1b[?${this.flags}u`, false)));
    parser.registerCsiHandler({ prefix: ">", final: "m" }, does(([resource, level = 0]) => {
      if (resource === 4 || (resource === 0 && level === 0)) this.modifyOtherKeys = Math.min(Number(level), LEVELS);
    }));
    parser.registerCsiHandler({ prefix: "?", final: "m" }, does(([resource]) => {
      if (resource === 4) term.input(`\x1b[>4;${this.modifyOtherKeys}m`, false);
    }));
    parser.registerEscHandler({ final: "c" }, () => {
      this.stacks = { normal: [0], alternate: [0] };
      this.modifyOtherKeys = 0;
      return false;
    });
    term.buffer.onBufferChange(({ type }) => {
      if (type === "normal") this.stacks.alternate = [0];
    });
  }

  /** Return the input for a key, "" if it has none, or undefined to leave it to xterm.js. */
  encode(key: Key): string | undefined {
    return this.flags === 0 ? encodeModified(key, this.modifyOtherKeys) : encodeKey(key, this.flags);
  }

  private get stack(): number[] {
    return this.stacks[this.term.buffer.active.type];
  }

  private get flags(): number {
    return this.stack.at(-1) ?? 0;
  }

  private push(flags: number): void {
    this.stack.push(flags & 31);
    if (this.stack.length > MAX_PUSHED) this.stack.shift();
  }

  private pop(count: number): void {
    this.stack.splice(-Math.max(count, 1));
    if (this.stack.length === 0) this.stack.push(0);
  }

  private set(flags: number, mode: number): void {
    const before = this.stack.pop() ?? 0;
    this.stack.push((mode === 2 ? before | flags : mode === 3 ? before & ~flags : flags) & 31);
  }
}
