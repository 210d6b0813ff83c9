/** Keys that a browser keeps for itself, and keys that a phone lacks. */

/** The keys that are held in the bar for the next key. */
export interface Held {
  control: boolean;
  alt: boolean;
}

const CURSOR: Partial<Record<string, string>> = { "↑": "A", "↓": "B", "→": "C", "←": "D" };
const PAGE: Partial<Record<string, string>> = { PgUp: "5", PgDn: "6" };

/** Return the input for a key of the bar, with the held keys as xterm(1) adds them to it. */
export function encodeBarKey(name: string, applicationCursor: boolean, held: Held = { control: false, alt: false }): string {
  const modifier = 1 + (held.alt ? 2 : 0) + (held.control ? 4 : 0);
  const [cursor, page] = [CURSOR[name], PAGE[name]];
  if (cursor !== undefined) return modifier > 1 ? `\x1b[1;${modifier}${cursor}` : `${applicationCursor ? "\x1bO" : "\x1b["}${cursor}`;
  if (page !== undefined) return modifier > 1 ? `\x1b[${page};${modifier}~` : `\x1b[${page}~`;
  return applyHeld({ Esc: "\x1b", Tab: "\t" }[name] ?? name, held);
}

/** Return the input for text that is typed while keys of the bar are held. */
export function applyHeld(text: string, held: Held): string {
  const typed = held.control ? applyControl(text) : text;
  return held.alt ? `\x1b${typed}` : typed;
}

/** The input for Ctrl and a slash in xterm(1) and VTE: undo in Emacs and readline. */
const SLASH = "\x1f";

/** Return the input for a key with the bar's Ctrl: as in ECMA-48, 0x40 to 0x5f without bit 6. */
function applyControl(text: string): string {
  if (text.length !== 1) return text;
  const code = text.toUpperCase().charCodeAt(0);
  if (text === "?") return "\x7f";
  if (text === " ") return "\0";
  if (text === "/") return SLASH;
  return code >= 0x40 && code <= 0x5f ? String.fromCharCode(code & 0x1f) : text;
}

/** Return the input for Ctrl and a slash, for which xterm.js sends nothing. On many keyboards a slash needs Shift. */
export function encodeControlSlash({ key, ctrlKey, altKey, metaKey }: Pick<KeyboardEvent, "key" | "ctrlKey" | "altKey" | "metaKey">): string | undefined {
  return key === "/" && ctrlKey && !altKey && !metaKey ? SLASH : undefined;
}

/**
 * Return the meaning of a chord of the page. Alt-Shift-M opens the settings and Alt-Shift-P the command palette, for which a
 * terminal leaves no other keys. Alt-Shift-W, -T and -N stand for Ctrl-W, -T and -N, which a browser's tab keeps. They go by the key's position,
 * since Alt types other letters on a Mac.
 */
export function findChord(event: Pick<KeyboardEvent, "altKey" | "shiftKey" | "ctrlKey" | "metaKey" | "code">): string | undefined {
  if (!event.altKey || !event.shiftKey || event.ctrlKey || event.metaKey) return undefined;
  return { KeyW: "\x17", KeyT: "\x14", KeyN: "\x0e", KeyM: "settings", KeyP: "palette" }[event.code];
}

/**
 * Return text with line ends that was entered without a key (by dictation, a text expander, a phone's keyboard), since
 * xterm.js would lose the line ends: "\r" for a single one. Undefined for all else, which xterm.js handles.
 * (W3C Input Events 2)
 */
export function findInsertedText({ inputType, data }: Pick<InputEvent, "inputType" | "data">): string | undefined {
  if (inputType === "insertLineBreak" || inputType === "insertParagraph") return "\r";
  if (inputType !== "insertText" || data === null || !/[\r\n]/.test(data)) return undefined;
  return /^(\r\n|\r|\n)$/.test(data) ? "\r" : data;
}
