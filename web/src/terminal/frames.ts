/**
 * The encoding of the terminal protocol's frames as bytes, and back, as in `stagedoor.wire.terminal.codec`.
 * `stagedoor.wire.terminal.frames` has their meaning, and `tests/wire/frames.json` tests both encodings.
 */

import { copyBytes } from "../bytes";

export const SUBPROTOCOL = "stagedoor.terminal.v2";
export const MAX_DATA_BYTES = 64 * 1024;
const MAX_FRAME_BYTES = MAX_DATA_BYTES + 64;
const MAX_TEXT_BYTES = 4096;
const MAX_SIZE = 10_000;

export class FrameError extends Error {}

export interface Size {
  columns: number;
  rows: number;
  xPixels: number;
  yPixels: number;
}

export enum Mode {
  Mirror = 0,
  TakeOver = 1,
  Watch = 2,
}

/** The subject of a NOTICE: see `NoticeKind` in `stagedoor.wire.terminal.frames`. */
export enum NoticeKind {
  Progress = 0,
  Denied = 1,
  Revoked = 2,
  TakenOver = 3,
  Recorded = 4,
  Fault = 5,
  Ending = 6,
  Drained = 7,
  SignedOut = 8,
}

/** The level at which a person's identity is known: see `IdentityLevel` in `stagedoor.wire.terminal.frames`. */
export enum IdentityLevel {
  Claimed = 0,
  User = 1,
  Guest = 2,
  Ssh = 3,
}

/** A person at the terminal. `number` identifies their connection. */
export interface Person {
  number: number;
  name: string;
  mode: Mode;
  level: IdentityLevel;
  typed: boolean;
  forS: number;
}

/** The features of the protocol that the page reads: all of `Feature` in `stagedoor.wire.terminal.frames`. */
export const FEATURES = 3;

export interface Hello {
  kind: "hello";
  mode: Mode;
  seen: number;
  size: Size;
  ticket: string;
  terminal: string;
  attachment: string;
  term: string;
  lang: string;
  command: string;
  features: number;
}

export type ClientFrame =
  | Hello
  | { kind: "in"; at: number; data: Uint8Array }
  | { kind: "ack"; to: number }
  | { kind: "resize"; size: Size }
  | { kind: "ping"; number: number }
  | { kind: "detach" }
  | { kind: "remove"; number: number }
  | { kind: "lock"; on: boolean };

export type HolderFrame =
  | { kind: "welcome"; attachment: string; outAt: number; inAt: number; window: number; mode: Mode; features: number }
  | { kind: "out"; at: number; data: Uint8Array }
  | { kind: "inack"; to: number }
  | { kind: "gap"; start: number; end: number }
  | { kind: "snapshot"; data: Uint8Array }
  | { kind: "exit"; code: number; signal: string }
  | { kind: "pong"; number: number; busy: boolean }
  | { kind: "sized"; size: Size }
  | { kind: "notice"; notice: NoticeKind; text: string }
  | { kind: "people"; you: number; mayRule: boolean; locked: boolean; people: Person[] };

const TYPE = {
  hello: 0x01, in: 0x02, ack: 0x03, resize: 0x04, ping: 0x05, detach: 0x06, remove: 0x07, lock: 0x08,
  welcome: 0x81, out: 0x82, inack: 0x83, gap: 0x84, snapshot: 0x85, exit: 0x86, pong: 0x87, size: 0x88,
  notice: 0x89, people: 0x8a,
} as const;

/** Return the bytes of a frame. Throws FrameError if a field is out of its range. */
export function encode(frame: ClientFrame): Uint8Array<ArrayBuffer> {
  const out = new Writer();
  switch (frame.kind) {
    case "hello":
      out.byte(TYPE.hello);
      out.byte(frame.mode);
      out.u32(frame.features);
      out.offset(frame.seen);
      out.size(frame.size);
      for (const text of [frame.ticket, frame.terminal, frame.attachment, frame.term, frame.lang, frame.command])
        out.text(text);
      break;
    case "in":
      if (frame.data.length < 1 || frame.data.length > MAX_DATA_BYTES)
        throw new FrameError(`${frame.data.length} bytes in one frame`);
      out.byte(TYPE.in);
      out.offset(frame.at);
      out.bytes(frame.data);
      break;
    case "ack":
      out.byte(TYPE.ack);
      out.offset(frame.to);
      break;
    case "resize":
      out.byte(TYPE.resize);
      out.size(frame.size);
      break;
    case "ping":
      out.byte(TYPE.ping);
      out.offset(frame.number);
      break;
    case "detach":
      out.byte(TYPE.detach);
      break;
    case "remove":
      out.byte(TYPE.remove);
      out.offset(frame.number);
      break;
    case "lock":
      out.byte(TYPE.lock);
      out.byte(frame.on ? 1 : 0);
      break;
  }
  return out.done();
}

/** Return the frame in `data`, which must hold nothing else. Throws only FrameError. */
export function decode(data: Uint8Array): HolderFrame {
  if (data.length === 0) throw new FrameError("an empty frame");
  if (data.length > MAX_FRAME_BYTES) throw new FrameError(`a frame of ${data.length} bytes`);
  const fields = new Reader(data);
  const frame = read(fields, fields.byte());
  fields.end();
  return frame;
}

function read(fields: Reader, type: number): HolderFrame {
  switch (type) {
    case TYPE.welcome: {
      const [outAt, inAt, window, mode] = [fields.offset(), fields.offset(), fields.u32(), fields.byte()];
      if (!(mode in Mode)) throw new FrameError(`${mode} is not a mode`);
      return { kind: "welcome", outAt, inAt, window, mode, features: fields.u32(), attachment: fields.text() };
    }
    case TYPE.out:
      return { kind: "out", at: fields.offset(), data: fields.rest(1) };
    case TYPE.inack:
      return { kind: "inack", to: fields.offset() };
    case TYPE.gap: {
      const [start, end] = [fields.offset(), fields.offset()];
      if (start >= end) throw new FrameError("a gap without an extent");
      return { kind: "gap", start, end };
    }
    case TYPE.snapshot:
      return { kind: "snapshot", data: fields.rest(0) };
    case TYPE.exit:
      return { kind: "exit", code: fields.i32(), signal: fields.text() };
    case TYPE.pong:
      return { kind: "pong", number: fields.offset(), busy: fields.flag() };
    case TYPE.size:
      return { kind: "sized", size: fields.size() };
    case TYPE.notice: {
      const notice = fields.byte();
      if (!(notice in NoticeKind)) throw new FrameError(`${notice} is not a notice kind`);
      return { kind: "notice", notice, text: fields.text() };
    }
    case TYPE.people: {
      const [you, mayRule, locked] = [fields.offset(), fields.flag(), fields.flag()];
      return { kind: "people", you, mayRule, locked, people: Array.from({ length: fields.byte() }, () => readPerson(fields)) };
    }
    default:
      throw new FrameError(`an unknown frame, 0x${type.toString(16)}`);
  }
}

function readPerson(fields: Reader): Person {
  const [number, mode, level, typed, forS] = [fields.offset(), fields.byte(), fields.byte(), fields.flag(), fields.u32()];
  if (!(mode in Mode)) throw new FrameError(`${mode} is not a mode`);
  if (!(level in IdentityLevel)) throw new FrameError(`${level} is not an identity level`);
  return { number, mode, level, typed, forS, name: fields.text() };
}

class Writer {
  private parts: Uint8Array[] = [];

  byte(value: number): void {
    this.parts.push(Uint8Array.of(value));
  }

  u32(value: number): void {
    const part = new DataView(new ArrayBuffer(4));
    part.setUint32(0, value);
    this.parts.push(new Uint8Array(part.buffer));
  }

  bytes(value: Uint8Array): void {
    this.parts.push(value);
  }

  offset(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new FrameError(`${value} is not an offset`);
    const part = new DataView(new ArrayBuffer(8));
    part.setBigUint64(0, BigInt(value));
    this.parts.push(new Uint8Array(part.buffer));
  }

  size(size: Size): void {
    checkSize(size);
    const part = new DataView(new ArrayBuffer(8));
    [size.columns, size.rows, size.xPixels, size.yPixels].forEach((value, at) => {
      if (!Number.isInteger(value) || value < 0 || value > 0xffff) throw new FrameError(`${value} is not a u16`);
      part.setUint16(at * 2, value);
    });
    this.parts.push(new Uint8Array(part.buffer));
  }

  text(text: string): void {
    const data = new TextEncoder().encode(text);
    if (data.length > MAX_TEXT_BYTES) throw new FrameError(`a text of ${data.length} bytes`);
    this.parts.push(Uint8Array.of(data.length >> 8, data.length & 0xff), data);
  }

  done(): Uint8Array<ArrayBuffer> {
    return copyBytes(this.parts);
  }
}

class Reader {
  private at = 0;
  private view: DataView;

  constructor(private data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  private take(count: number): number {
    if (this.at + count > this.data.length) throw new FrameError("a frame that is cut short");
    this.at += count;
    return this.at - count;
  }

  byte(): number {
    return this.view.getUint8(this.take(1));
  }

  flag(): boolean {
    const value = this.byte();
    if (value > 1) throw new FrameError(`${value} is neither yes nor no`);
    return value === 1;
  }

  u32(): number {
    return this.view.getUint32(this.take(4));
  }

  i32(): number {
    return this.view.getInt32(this.take(4));
  }

  offset(): number {
    const value = Number(this.view.getBigUint64(this.take(8)));
    if (!Number.isSafeInteger(value)) throw new FrameError(`an offset of ${value}`);
    return value;
  }

  size(): Size {
    const at = this.take(8);
    const size = {
      columns: this.view.getUint16(at),
      rows: this.view.getUint16(at + 2),
      xPixels: this.view.getUint16(at + 4),
      yPixels: this.view.getUint16(at + 6),
    };
    checkSize(size);
    return size;
  }

  text(): string {
    const length = this.view.getUint16(this.take(2));
    if (length > MAX_TEXT_BYTES) throw new FrameError(`a text of ${length} bytes`);
    const start = this.take(length);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.data.subarray(start, this.at));
    } catch {
      throw new FrameError("a text that is no UTF-8");
    }
  }

  rest(least: number): Uint8Array {
    const length = this.data.length - this.at;
    if (length < least || length > MAX_DATA_BYTES) throw new FrameError(`${length} bytes in one frame`);
    return this.data.subarray(this.take(length));
  }

  end(): void {
    if (this.at !== this.data.length) throw new FrameError(`${this.data.length - this.at} bytes too many`);
  }
}

function checkSize(size: Size): void {
  for (const value of [size.columns, size.rows])
    if (!(value > 0 && value <= MAX_SIZE)) throw new FrameError(`a window of ${size.columns} by ${size.rows}`);
}
