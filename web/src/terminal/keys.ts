/** Keys that a browser keeps for itself, and keys that a phone lacks. */

/** Return the input for a key of the bar. */
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

/** The input for Ctrl and a slash in xterm(1) and VTE: undo in Emacs and readline. */
const SLASH = "\x1f";

/** Return the input for a key with the bar's Ctrl: as in ECMA-48, 0x40 to 0x5f without bit 6. */
export function withControl(text: string): string {
  if (text.length !== 1) return text;
  const code = text.toUpperCase().charCodeAt(0);
  if (text === "?") return "\x7f";
  if (text === " ") return "\0";
  if (text === "/") return SLASH;
  return code >= 0x40 && code <= 0x5f ? String.fromCharCode(code & 0x1f) : text;
}

/** Return the input for Ctrl and a slash, for which xterm.js sends nothing. On many keyboards a slash needs Shift. */
export function controlSlash({ key, ctrlKey, altKey, metaKey }: Pick<KeyboardEvent, "key" | "ctrlKey" | "altKey" | "metaKey">): string | undefined {
  return key === "/" && ctrlKey && !altKey && !metaKey ? SLASH : undefined;
}

/**
 * Return the meaning of a chord of the page. Alt-Shift-M opens the menu, for which a terminal leaves no other key.
 * Alt-Shift-W, -T and -N stand for Ctrl-W, -T and -N, which a browser's tab keeps. They go by the key's position,
 * since Alt types other letters on a Mac.
 */
export function chord(event: Pick<KeyboardEvent, "altKey" | "shiftKey" | "ctrlKey" | "metaKey" | "code">): string | undefined {
  if (!event.altKey || !event.shiftKey || event.ctrlKey || event.metaKey) return undefined;
  return { KeyW: "\x17", KeyT: "\x14", KeyN: "\x0e", KeyM: "menu" }[event.code];
}

/**
 * Return text with line ends that was entered without a key (by dictation, a text expander, a phone's keyboard), since
 * xterm.js would lose the line ends: "\r" for a single one. Undefined for all else, which xterm.js handles.
 * (W3C Input Events 2)
 */
export function inserted({ inputType, data }: Pick<InputEvent, "inputType" | "data">): string | undefined {
  if (inputType === "insertLineBreak" || inputType === "insertParagraph") return "\r";
  if (inputType !== "insertText" || data === null || !/[\r\n]/.test(data)) return undefined;
  return /^(\r\n|\r|\n)$/.test(data) ? "\r" : data;
}
