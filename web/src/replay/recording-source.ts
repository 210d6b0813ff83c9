/** A recording on the gateway, read in pieces, of which only a few are in memory. */

import { CastError, parseEvent, Lines, type CastEvent } from "./cast";
import { t } from "../language";

export const PIECE_BYTES = 1024 * 1024;
/** The number of pieces in memory: those read for the timeline are often played next. */
const KEPT = 8;
/** The first read at the end of the file, to find the last event, whose time is the recording's length. */
const TAIL_BYTES = 64 * 1024;
const MAX_TAIL_BYTES = 4 * 1024 * 1024;

export type Fetch = (first: number, last: number) => Promise<Uint8Array>;

/** Return a function that fetches a range of bytes of `url` (RFC 9110 §14). */
export function makeFetch(url: string): Fetch {
  return async (first, last) => {
    const answer = await fetch(url, {
      headers: { range: `bytes=${first}-${last}` },
      cache: "no-store",
      redirect: "error",
    }).catch(() => {
      throw new Error(t`The gateway does not answer.`);
    });
    if (answer.status !== 206) throw new Error((await answer.text()).trim().slice(0, 300) || t`refused (${answer.status})`);
    return new Uint8Array(await answer.arrayBuffer());
  };
}

export class RecordingSource {
  private pieces = new Map<number, Promise<Uint8Array>>();

  constructor(
    private readonly fetch: Fetch,
    readonly size: number,
  ) {}

  /** Return the bytes from `offset` to the end of its piece, or undefined at the end of the file. */
  async from(offset: number): Promise<Uint8Array | undefined> {
    if (offset >= this.size) return undefined;
    const number = Math.floor(offset / PIECE_BYTES);
    const piece = await this.piece(number);
    const part = piece.subarray(offset - number * PIECE_BYTES);
    return part.length > 0 ? part : undefined;
  }

  /** Return the time of the last event in seconds, or 0 for a recording without events. */
  async duration(): Promise<number> {
    for (let length = TAIL_BYTES; ; length *= 4) {
      const first = Math.max(0, this.size - length);
      const tail = this.size === 0 ? new Uint8Array() : await this.fetch(first, this.size - 1);
      const lines = new Lines(first).feed(tail);
      // The first line is incomplete, or is the header.
      for (const { line, next } of lines.slice(1).reverse()) {
        const last = parseEvent(line, next);
        if (last !== undefined) return last.at;
      }
      if (first === 0) return 0;
      if (length >= MAX_TAIL_BYTES) throw new CastError("a line is too long");
    }
  }

  private piece(number: number): Promise<Uint8Array> {
    const kept = this.pieces.get(number);
    if (kept !== undefined) {
      this.pieces.delete(number);
      this.pieces.set(number, kept); // the piece that was used last is dropped last
      return kept;
    }
    const first = number * PIECE_BYTES;
    const piece = this.fetch(first, Math.min(first + PIECE_BYTES, this.size) - 1);
    piece.catch(() => this.pieces.delete(number));
    this.pieces.set(number, piece);
    for (const oldest of this.pieces.keys()) {
      if (this.pieces.size <= KEPT) break;
      this.pieces.delete(oldest);
    }
    return piece;
  }
}

/** A reader of events in order, from an offset at which a line begins. */
export class EventReader {
  private lines: Lines;
  private waiting: { line: Uint8Array; next: number }[] = [];
  private index = 0;
  private read: number;
  private ahead: CastEvent | undefined;
  /** The offset of the next event's line. */
  offset: number;

  constructor(
    private readonly source: RecordingSource,
    offset: number,
  ) {
    this.offset = this.read = offset;
    this.lines = new Lines(offset);
  }

  /** Return the next event without skipping it, or undefined at the end. */
  async peek(): Promise<CastEvent | undefined> {
    while (this.near === undefined) if (!(await this.fill())) return undefined;
    return this.near;
  }

  /** The next event, or undefined if it is not read yet. */
  get near(): CastEvent | undefined {
    while (this.ahead === undefined && this.index < this.waiting.length) {
      const line = this.waiting[this.index++];
      if (line === undefined) break;
      this.ahead = parseEvent(line.line, line.next);
      if (this.ahead === undefined) this.offset = line.next;
    }
    return this.ahead;
  }

  /** Skip the event that `peek` returned. */
  skip(): void {
    if (this.ahead !== undefined) this.offset = this.ahead.next;
    this.ahead = undefined;
  }

  /** Return the next line as bytes, or undefined at the end. An incomplete last line is ignored. */
  async line(): Promise<{ line: Uint8Array; next: number } | undefined> {
    while (this.index >= this.waiting.length) if (!(await this.fill())) return undefined;
    return this.waiting[this.index++];
  }

  /** Read the next piece. Return whether there is one. */
  private async fill(): Promise<boolean> {
    const piece = await this.source.from(this.read);
    if (piece === undefined) return false;
    this.read += piece.length;
    this.waiting = this.lines.feed(piece);
    this.index = 0;
    return true;
  }
}
