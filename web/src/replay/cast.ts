/**
 * Parsing of asciicast v2 from pieces of a file, and the marks of a timeline. Pure. The same format as in
 * `stagedoor.wire.terminal.asciicast`. (https://docs.asciinema.org/manual/asciicast/v2/)
 */

import { joinBytes } from "../bytes";

export class CastError extends Error {}

export interface Header {
  width: number;
  height: number;
  title: string;
}

/** An event; `next` is the offset of the line after it. Codes: o output, i input, r resize, m marker. */
export interface CastEvent {
  at: number;
  code: string;
  data: string;
  next: number;
}

/** The longest line, as in Python. Our recordings have no longer ones, so they are not kept in memory. */
const LINE_LIMIT = 4 * 1024 * 1024;
const MAX_SIDE = 1000;

/** A splitter of pieces into lines; `offset` is that of the first piece in the file. */
export class Lines {
  private rest: Uint8Array[] = [];
  private kept = 0;

  constructor(private offset = 0) {}

  /** Return the lines that end in this piece, each with the offset after it. */
  feed(piece: Uint8Array): { line: Uint8Array; next: number }[] {
    const lines: { line: Uint8Array; next: number }[] = [];
    let from = 0;
    for (;;) {
      const end = piece.indexOf(0x0a, from);
      if (end < 0) break;
      lines.push({ line: this.whole(piece.subarray(from, end)), next: this.offset + end + 1 });
      from = end + 1;
    }
    if (from < piece.length) {
      this.rest.push(piece.slice(from));
      this.kept += piece.length - from;
      if (this.kept > LINE_LIMIT) throw new CastError(`a line is longer than ${LINE_LIMIT} bytes`);
    }
    this.offset += piece.length;
    return lines;
  }

  private whole(end: Uint8Array): Uint8Array {
    const line = joinBytes([...this.rest, end]);
    this.rest = [];
    this.kept = 0;
    return line;
  }
}

const utf8 = new TextDecoder();

function parseJson(line: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(line));
  } catch {
    throw new CastError("a line is no JSON");
  }
}

/** Parse the header. Throws CastError. */
export function parseHeader(line: Uint8Array): Header {
  const fields = parseJson(line);
  if (typeof fields !== "object" || fields === null) throw new CastError("the header is not an object");
  const { version, width, height, title } = fields as Record<string, unknown>;
  if (version !== 2) throw new CastError(`asciicast version ${String(version)}, not 2`);
  return { width: parseSide(width), height: parseSide(height), title: typeof title === "string" ? title : "" };
}

function parseSide(value: unknown): number {
  if (typeof value !== "number" || !(value >= 1)) throw new CastError("the header has no size");
  return Math.min(MAX_SIDE, Math.floor(value));
}

/** Parse an event; return undefined for an empty line. Throws CastError. */
export function parseEvent(line: Uint8Array, next: number): CastEvent | undefined {
  if (line.length === 0) return undefined;
  const fields = parseJson(line);
  if (!Array.isArray(fields) || fields.length !== 3) throw new CastError("an event has a time, a code and data");
  const [at, code, data] = fields as unknown[];
  if (typeof at !== "number" || !(at >= 0) || typeof code !== "string" || typeof data !== "string")
    throw new CastError("an event has a time, a code and data");
  return { at, code, data, next };
}

/** Return the columns and rows of a resize, or undefined for other data. */
export function parseSize(data: string): [number, number] | undefined {
  const match = /^([1-9][0-9]{0,5})x([1-9][0-9]{0,5})$/.exec(data);
  if (match === null) return undefined;
  return [Math.min(MAX_SIDE, Number(match[1])), Math.min(MAX_SIDE, Number(match[2]))];
}

const SHOWN = /^\[\s*([0-9.eE+-]+)\s*,\s*"o"/;

/** Return the time of a line with output, without parsing the output, or undefined for any other line. */
export function findOutputTime(line: Uint8Array): number | undefined {
  const match = SHOWN.exec(utf8.decode(line.subarray(0, 40)));
  return match === null ? undefined : Number(match[1]);
}

/** A place on the timeline: input, or a marker of the recording. */
export interface Mark {
  at: number;
  label: string;
}

/** Marks closer than this become one, so that a while of typing makes one mark, seconds. */
const TYPING_S = 2;
const MAX_MARKS = 500;

/** The marks of the timeline, in bounded memory for a recording of any length. */
export class Marks {
  all: Mark[] = [];
  private apart = TYPING_S;
  private typed = -Infinity;

  /** Add an event. Events must come in the order of the file. */
  add(event: CastEvent): void {
    if (event.code === "m") this.put({ at: event.at, label: event.data.slice(0, 100) || "marker" });
    else if (event.code === "i") {
      if (event.at - this.typed >= this.apart) this.put({ at: event.at, label: "" });
      this.typed = event.at;
    }
  }

  private put(mark: Mark): void {
    this.all.push(mark);
    if (this.all.length <= MAX_MARKS) return;
    this.apart *= 2;
    let last = -Infinity;
    const apart = this.apart;
    this.all = this.all.filter(({ at }) => {
      const stays = at - last >= apart;
      if (stays) last = at;
      return stays;
    });
    // Marks at one time are thinned to one above. If too many are left, drop every second one.
    if (this.all.length > MAX_MARKS) this.all = this.all.filter((_, number) => number % 2 === 0);
  }
}

/** A check whether the output so far ends between sequences, so that a picture of the screen is complete. */
export class SequenceState {
  private open: "" | "escape" | "control" | "string" | "string escape" = "";

  get clean(): boolean {
    return this.open === "";
  }

  feed(text: string): void {
    let at = 0;
    while (at < text.length) {
      if (this.open === "") {
        const escape = text.indexOf("\x1b", at);
        if (escape < 0) {
          // The second half of a surrogate pair may be in the next output.
          const last = text.charCodeAt(text.length - 1);
          if (last >= 0xd800 && last <= 0xdbff) this.open = "escape";
          return;
        }
        this.open = "escape";
        at = escape + 1;
        continue;
      }
      const char = text.charCodeAt(at);
      at += 1;
      switch (this.open) {
        case "escape":
          if (char === 0x5b) this.open = "control";
          else if ([0x5d, 0x50, 0x58, 0x5e, 0x5f].includes(char)) this.open = "string";
          else if (char === 0x1b || (char >= 0x20 && char <= 0x2f)) break;
          else this.open = "";
          break;
        case "control":
          if (char === 0x1b) this.open = "escape";
          else if ((char >= 0x40 && char <= 0x7e) || char === 0x18 || char === 0x1a) this.open = "";
          break;
        case "string":
          if (char === 0x1b) this.open = "string escape";
          else if (char === 0x07 || char === 0x18 || char === 0x1a || char === 0x9c) this.open = "";
          break;
        case "string escape":
          // ST ends the string; any other sequence ends it as well, and begins here.
          if (char === 0x5c) this.open = "";
          else {
            this.open = "escape";
            at -= 1;
          }
          break;
      }
    }
  }
}

/** Return a duration as `3:07` or `1:02:03`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number: number): string => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
