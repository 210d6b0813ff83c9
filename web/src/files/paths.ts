/** Paths of files in the shell, and the sequences by which programs name them. Pure. */

/** A path as percent-encoded bytes, since not every name is UTF-8, and as text for the user. */
export interface Path {
  encoded: string;
  shown: string;
}

/** PATH_MAX of Linux. */
const MAX_PATH_BYTES = 4096;
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const OFFER = "StagedoorGet=";

function encodeBytes(bytes: Uint8Array): Path {
  const text = new TextDecoder().decode(bytes);
  return {
    encoded: Array.from(bytes, (byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""),
    shown: text.replace(CONTROLS, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`),
  };
}

export function encodePath(text: string): Path {
  return encodeBytes(new TextEncoder().encode(text));
}

/** Return an absolute path, or undefined for all else. */
function encodeAbsolute(bytes: Uint8Array): Path | undefined {
  if (bytes.length > MAX_PATH_BYTES || bytes[0] !== 0x2f || bytes.includes(0)) return undefined;
  return encodeBytes(bytes);
}

/**
 * Return the path that `stagedoor-get` offers by OSC 1337 ; StagedoorGet= and hexadecimal digits. Any output can have
 * this sequence, so it is never more than an offer. Undefined for another sequence.
 */
export function parseOffer(sequence: string): Path | undefined {
  if (!sequence.startsWith(OFFER) || sequence.length > OFFER.length + 2 * MAX_PATH_BYTES) return undefined;
  const digits = sequence.slice(OFFER.length);
  if (!/^(?:[0-9a-f]{2})+$/.test(digits)) return undefined;
  const path = encodeAbsolute(Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16)));
  // `stagedoor-get` writes no `..` in a path; a program that does may want it to look like another path.
  return path !== undefined && /(?:^|\/)\.\.(?:\/|$)/.test(path.shown) ? undefined : path;
}

/** Return the working directory that a shell reports by OSC 7 ; file://HOST/PATH. */
export function parseFolder(sequence: string): Path | undefined {
  const match = /^file:\/\/[^/]*(\/.*)$/.exec(sequence);
  if (match?.[1] === undefined || match[1].length > 3 * MAX_PATH_BYTES) return undefined;
  const bytes: number[] = [];
  for (const piece of match[1].match(/%[0-9a-fA-F]{2}|[^%]+|%/g) ?? []) {
    if (/^%..$/.test(piece)) bytes.push(parseInt(piece.slice(1), 16));
    else bytes.push(...new TextEncoder().encode(piece));
  }
  return encodeAbsolute(Uint8Array.from(bytes));
}

/** Return a number of bytes in the unit that suits it. */
export function formatSize(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${unit > 0 && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit] ?? ""}`;
}
