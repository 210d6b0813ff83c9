/** What a program, or a selection, may put on the clipboard, and what may be pasted. */

/** A program that sends more gets none of it: a screenful is some 20 KiB. */
export const MAX_COPY_BYTES = 1024 * 1024;

/**
 * The text that an OSC 52 sequence wants copied; undefined for a question, which is never answered, and
 * for what is too long or broken. tmux names no selection (`;BASE64`). (XTerm Control Sequences, OSC 52)
 */
export function copied(sequence: string): string | undefined {
  const at = sequence.indexOf(";");
  if (at < 0 || !/^[cpqs0-7]*$/.test(sequence.slice(0, at))) return undefined;
  const base64 = sequence.slice(at + 1);
  if (base64 === "?" || base64.length > (MAX_COPY_BYTES / 3) * 4 + 4) return undefined;
  try {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

const SHOWN_CHARS = 40;

/** What somebody is told whose clipboard a program has written: how much, and how it begins. */
export function copiedWords(text: string): string {
  const begins = oneLine(text.replace(/\s+/g, " ")).trim();
  const shown = begins.length > SHOWN_CHARS ? `${begins.slice(0, SHOWN_CHARS)}…` : begins;
  return `The terminal copied ${text.length} character${text.length === 1 ? "" : "s"} to your clipboard: ${shown}`;
}

/**
 * A paste that cannot end its own brackets: an escape sequence in it (`CSI 201 ~`) would make the rest be
 * taken as typed. Escapes stay visible.
 */
export function harmless(text: string): string {
  return text.replaceAll("\x1b", "␛").replaceAll("\x9b", "");
}

/** Return how many lines a paste has. An end of line at its end begins no further one. */
export function lineCount(text: string): number {
  return text.replace(/(\r\n|\r|\n)$/, "").split(/\r\n|\r|\n/).length;
}

/** Return whether so many lines are pasted that it is worth a question. */
export function severalLines(text: string): boolean {
  return /[\r\n][^\r\n]/.test(text);
}

/** A title as a program sets it: text of one line. */
export function oneLine(title: string): string {
  // Bidirectional controls could make it read as something else.
  return title.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "").slice(0, 200);
}
