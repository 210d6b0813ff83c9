/** Paths of files in the shell, and what a program in the terminal may say of them. Pure. */

/** A path: percent-encoded bytes, since not every name is UTF-8, and text for a person. */
export interface Path {
  encoded: string;
  shown: string;
}

/** PATH_MAX of Linux. */
const MAX_PATH_BYTES = 4096;
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const OFFER = "StagedoorGet=";

export function ofBytes(bytes: Uint8Array): Path {
  const text = new TextDecoder().decode(bytes);
  return {
    encoded: Array.from(bytes, (byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""),
    shown: text.replace(CONTROLS, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`),
  };
}

export function ofText(text: string): Path {
  return ofBytes(new TextEncoder().encode(text));
}

/** A whole path from the root, of which nothing is to be guessed; undefined for all else. */
function whole(bytes: Uint8Array): Path | undefined {
  if (bytes.length > MAX_PATH_BYTES || bytes[0] !== 0x2f || bytes.includes(0)) return undefined;
  return ofBytes(bytes);
}

/**
 * The file that `stagedoor-get` offers: OSC 1337 ; StagedoorGet= its path in hexadecimal digits. Any
 * output can hold one, so it is never more than an offer. Undefined for what is none.
 */
export function offered(sequence: string): Path | undefined {
  if (!sequence.startsWith(OFFER) || sequence.length > OFFER.length + 2 * MAX_PATH_BYTES) return undefined;
  const digits = sequence.slice(OFFER.length);
  if (!/^(?:[0-9a-f]{2})+$/.test(digits)) return undefined;
  const path = whole(Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16)));
  // `stagedoor-get` leaves no way up in a path; a program that does wants it to look like another.
  return path !== undefined && /(?:^|\/)\.\.(?:\/|$)/.test(path.shown) ? undefined : path;
}

/** Where a shell says that it is: OSC 7 ; file://HOST/PATH. */
export function folderOf(sequence: string): Path | undefined {
  const found = /^file:\/\/[^/]*(\/.*)$/.exec(sequence);
  if (found?.[1] === undefined || found[1].length > 3 * MAX_PATH_BYTES) return undefined;
  const bytes: number[] = [];
  for (const piece of found[1].match(/%[0-9a-fA-F]{2}|[^%]+|%/g) ?? []) {
    if (/^%..$/.test(piece)) bytes.push(parseInt(piece.slice(1), 16));
    else bytes.push(...new TextEncoder().encode(piece));
  }
  return whole(Uint8Array.from(bytes));
}

/** A number of bytes for a person. */
export function sizeOf(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit > 0 && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit] ?? ""}`;
}
