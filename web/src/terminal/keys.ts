/** Keys that a browser keeps for itself, and keys that a phone does not have. */

/** What reaches a terminal for a key of the bar. */
export function barKey(name: string, applicationCursor: boolean): string {
  const cursor = applicationCursor ? "\x1bO" : "\x1b[";
  switch (name) {
    case "Esc":
      return "\x1b";
    case "Tab":
      return "\t";
    case "↑":
      return `${cursor}A`;
    case "↓":
      return `${cursor}B`;
    case "→":
      return `${cursor}C`;
    case "←":
      return `${cursor}D`;
    default:
      return name;
  }
}

/** Of Ctrl and a slash, as xterm(1) and VTE have it: undo in Emacs and readline. */
const SLASH = "\x1f";

/** What the next key means while Ctrl of the bar is held: as ECMA-48 has it, 0x40 to 0x5f without bit 6. */
export function withControl(text: string): string {
  if (text.length !== 1) return text;
  const code = text.toUpperCase().charCodeAt(0);
  if (text === "?") return "\x7f";
  if (text === " ") return "\0";
  if (text === "/") return SLASH;
  return code >= 0x40 && code <= 0x5f ? String.fromCharCode(code & 0x1f) : text;
}

/** What Ctrl and a slash send, for which xterm.js sends nothing; on many keyboards a slash needs Shift. */
export function controlSlash({ key, ctrlKey, altKey, metaKey }: Pick<KeyboardEvent, "key" | "ctrlKey" | "altKey" | "metaKey">): string | undefined {
  return key === "/" && ctrlKey && !altKey && !metaKey ? SLASH : undefined;
}

/**
 * Alt-Shift-M is the page's own: it opens the menu, for which a terminal leaves no other key.
 * Alt-Shift-W, -T and -N stand for Ctrl-W, -T and -N, which a browser's tab never gives away. By the key's
 * place, since Alt makes other letters of them on a Mac.
 */
export function chord(event: Pick<KeyboardEvent, "altKey" | "shiftKey" | "ctrlKey" | "metaKey" | "code">): string | undefined {
  if (!event.altKey || !event.shiftKey || event.ctrlKey || event.metaKey) return undefined;
  return { KeyW: "\x17", KeyT: "\x14", KeyN: "\x0e", KeyM: "menu" }[event.code];
}

/**
 * What was put in without a key that xterm.js knows (by dictation, a text expander, a phone's keyboard), where it
 * would lose the line ends: "\r" for one alone. Undefined for all else, which xterm.js takes. (W3C Input Events 2)
 */
export function inserted({ inputType, data }: Pick<InputEvent, "inputType" | "data">): string | undefined {
  if (inputType === "insertLineBreak" || inputType === "insertParagraph") return "\r";
  if (inputType !== "insertText" || data === null || !/[\r\n]/.test(data)) return undefined;
  return /^(\r\n|\r|\n)$/.test(data) ? "\r" : data;
}
