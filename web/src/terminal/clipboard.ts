/** The rules for text that a program copies, and for text that is pasted. */
import { t } from "../language";

/** Longer text of a program is not copied. A screenful is about 20 KiB. */
export const MAX_COPY_BYTES = 1024 * 1024;

/**
 * Return the text that an OSC 52 sequence copies. Undefined for a query, which is never answered, and for text that
 * is too long or invalid. tmux names no selection (`;BASE64`). (XTerm Control Sequences, OSC 52)
 */
export function decodeCopy(sequence: string): string | undefined {
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

/** Return the notice after a program has written the clipboard: how much, and how the text begins. */
export function describeCopy(text: string): string {
  const begins = toOneLine(text.replace(/\s+/g, " ")).trim();
  const shown = begins.length > SHOWN_CHARS ? `${begins.slice(0, SHOWN_CHARS)}…` : begins;
  return text.length === 1
    ? t`The terminal copied 1 character to your clipboard: ${shown}`
    : t`The terminal copied ${text.length} characters to your clipboard: ${shown}`;
}

/**
 * Return a pasted text that cannot end its own brackets: with the escape sequence `CSI 201 ~` in it, the rest would
 * count as typed. Escapes stay visible.
 */
export function makeHarmless(text: string): string {
  return text.replaceAll("\x1b", "␛").replaceAll("\x9b", "");
}

/** Return the number of lines in a paste. A newline at its end begins no further line. */
export function countLines(text: string): number {
  return text.replace(/(\r\n|\r|\n)$/, "").split(/\r\n|\r|\n/).length;
}

/** Return whether a paste has more than one line, which is worth a question. */
export function hasSeveralLines(text: string): boolean {
  return /[\r\n][^\r\n]/.test(text);
}

/** Return a program's title as one line of text. */
export function toOneLine(title: string): string {
  // Bidirectional controls could make it look like another text.
  return title.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "").slice(0, 200);
}
