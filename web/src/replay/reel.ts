/** A recording on the gateway, read in pieces: only a few of them are in memory at a time. */

import { CastError, event, Lines, type CastEvent } from "./cast";

export const PIECE_BYTES = 1024 * 1024;
/** Of these the last few stay: what is read ahead for the timeline is often what is played next. */
const KEPT = 8;
/** To find the last event, which says how long the recording is. */
const TAIL_BYTES = 64 * 1024;
const MAX_TAIL_BYTES = 4 * 1024 * 1024;

/** The answer was not the bytes asked for; `message` is for the person. */
export class ReelError extends Error {}

export type Fetch = (first: number, last: number) => Promise<Uint8Array>;

/** How the bytes `first` to `last` of `url` are asked for (RFC 9110 §14). */
export function ranged(url: string): Fetch {
  return async (first, last) => {
    const answer = await fetch(url, {
      headers: { range: `bytes=${first}-${last}` },
      cache: "no-store",
      redirect: "error",
    }).catch(() => {
      throw new ReelError("The gateway does not answer.");
    });
    if (answer.status !== 206) throw new ReelError((await answer.text()).trim().slice(0, 300) || `refused (${answer.status})`);
    return new Uint8Array(await answer.arrayBuffer());
  };
}

export class Reel {
  private pieces = new Map<number, Promise<Uint8Array>>();

  constructor(
    private readonly fetch: Fetch,
    readonly size: number,
  ) {}

  /** The piece that holds `offset`: its bytes from there on; undefined at the end. */
  async from(offset: number): Promise<Uint8Array | undefined> {
    if (offset >= this.size) return undefined;
    const number = Math.floor(offset / PIECE_BYTES);
    const piece = await this.piece(number);
    const part = piece.subarray(offset - number * PIECE_BYTES);
    return part.length > 0 ? part : undefined;
  }

  /** When the last event was, in seconds; 0 for a recording without any. */
  async duration(): Promise<number> {
    for (let length = TAIL_BYTES; ; length *= 4) {
      const first = Math.max(0, this.size - length);
      const tail = this.size === 0 ? new Uint8Array() : await this.fetch(first, this.size - 1);
      const lines = new Lines(first).feed(tail);
      // The first of them is not whole, or is the header.
      for (const { line, next } of lines.slice(1).reverse()) {
        const found = event(line, next);
        if (found !== undefined) return found.at;
      }
      if (first === 0) return 0;
      if (length >= MAX_TAIL_BYTES) throw new CastError("a line is too long");
    }
  }

  private piece(number: number): Promise<Uint8Array> {
    const kept = this.pieces.get(number);
    if (kept !== undefined) {
      this.pieces.delete(number);
      this.pieces.set(number, kept); // the one that was asked for last goes last
      return kept;
    }
    const first = number * PIECE_BYTES;
    const asked = this.fetch(first, Math.min(first + PIECE_BYTES, this.size) - 1);
    asked.catch(() => this.pieces.delete(number));
    this.pieces.set(number, asked);
    for (const oldest of this.pieces.keys()) {
      if (this.pieces.size <= KEPT) break;
      this.pieces.delete(oldest);
    }
    return asked;
  }
}

/** Events one after the other, from an offset on at which a line begins. */
export class Head {
  private lines: Lines;
  private waiting: { line: Uint8Array; next: number }[] = [];
  private index = 0;
  private read: number;
  private ahead: CastEvent | undefined;
  /** Where the next event's line begins. */
  offset: number;

  constructor(
    private readonly reel: Reel,
    offset: number,
  ) {
    this.offset = this.read = offset;
    this.lines = new Lines(offset);
  }

  /** The next event, which stays the next one; undefined at the end. */
  async peek(): Promise<CastEvent | undefined> {
    while (this.ahead === undefined) {
      const line = await this.line();
      if (line === undefined) return undefined;
      this.ahead = event(line.line, line.next);
      if (this.ahead === undefined) this.offset = line.next;
    }
    return this.ahead;
  }

  /** The same, if it is there without waiting. */
  get near(): CastEvent | undefined {
    while (this.ahead === undefined && this.index < this.waiting.length) {
      const line = this.waiting[this.index++];
      if (line === undefined) break;
      this.ahead = event(line.line, line.next);
      if (this.ahead === undefined) this.offset = line.next;
    }
    return this.ahead;
  }

  /** Past the event that `peek` gave. */
  skip(): void {
    if (this.ahead !== undefined) this.offset = this.ahead.next;
    this.ahead = undefined;
  }

  /** The next line as bytes; undefined at the end, where one that was cut off is passed over. */
  async line(): Promise<{ line: Uint8Array; next: number } | undefined> {
    while (this.index >= this.waiting.length) {
      const piece = await this.reel.from(this.read);
      if (piece === undefined) return undefined;
      this.read += piece.length;
      this.waiting = this.lines.feed(piece);
      this.index = 0;
    }
    return this.waiting[this.index++];
  }
}
