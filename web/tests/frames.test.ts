/** The codec, against the transcript that the Python side wrote. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decode, encode, FrameError, MAX_DATA_BYTES, type ClientFrame, type Size } from "../src/terminal/frames";

interface Entry {
  from: "terminal" | "developer";
  frame: string;
  fields: Record<string, unknown>;
  hex: string;
}

const kept = JSON.parse(readFileSync("../tests/wire/frames.json", "utf8")) as {
  frames: Entry[];
  broken: string[];
  most_data_bytes: number;
};
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");
const size = (value: unknown): Size => {
  const { columns, rows, x_pixels, y_pixels } = value as Record<string, number>;
  return { columns: columns ?? 0, rows: rows ?? 0, xPixels: x_pixels ?? 0, yPixels: y_pixels ?? 0 };
};

const person = ({ for_s, ...rest }: Record<string, unknown>): unknown => ({ ...rest, forS: for_s });

/** The fields by the names that TypeScript has for them. */
function expected({ frame, fields: f }: Entry): unknown {
  switch (frame) {
    case "Welcome":
      return { kind: "welcome", attachment: f.attachment, outAt: f.out_at, inAt: f.in_at, window: f.window, mode: f.mode, features: f.features };
    case "Out":
      return { kind: "out", at: f.at, data: f.data };
    case "InAck":
      return { kind: "inack", to: f.to };
    case "Gap":
      return { kind: "gap", start: f.start, end: f.end };
    case "Snapshot":
      return { kind: "snapshot", data: f.data };
    case "Exit":
      return { kind: "exit", code: f.code, signal: f.signal };
    case "Pong":
      return { kind: "pong", number: f.number, busy: f.busy };
    case "Sized":
      return { kind: "sized", size: size(f.size) };
    case "Notice":
      return { kind: "notice", notice: f.kind, text: f.text };
    case "Hello":
      return { kind: "hello", ...f, size: size(f.size) };
    case "In":
      return { kind: "in", at: f.at, data: bytes(String(f.data)) };
    case "Ack":
      return { kind: "ack", to: f.to };
    case "Resize":
      return { kind: "resize", size: size(f.size) };
    case "Ping":
      return { kind: "ping", number: f.number };
    case "Detach":
      return { kind: "detach" };
    case "Remove":
      return { kind: "remove", number: f.number };
    case "Lock":
      return { kind: "lock", on: f.on };
    case "People":
      return { kind: "people", you: f.you, mayRule: f.may_rule, locked: f.locked, people: (f.people as Record<string, unknown>[]).map(person) };
    default:
      throw new Error(`the transcript has an unknown ${frame}`);
  }
}

test("the transcript has every frame", () => {
  assert.equal(new Set(kept.frames.map((one) => one.frame)).size, 18);
  assert.equal(kept.most_data_bytes, MAX_DATA_BYTES);
});

for (const [at, entry] of kept.frames.entries())
  test(`${entry.frame} (${at})`, () => {
    if (entry.from === "developer") return assert.equal(hex(encode(expected(entry) as ClientFrame)), entry.hex);
    const frame = decode(bytes(entry.hex));
    assert.deepEqual("data" in frame ? { ...frame, data: hex(frame.data) } : frame, expected(entry));
  });

for (const broken of kept.broken)
  test(`broken: ${broken.slice(0, 24) || "empty"}`, () => assert.throws(() => decode(bytes(broken)), FrameError));

test("every frame that is cut short or longer is refused", () => {
  for (const { from, hex: whole, frame } of kept.frames.filter((one) => one.from === "terminal")) {
    assert.equal(from, "terminal");
    if (frame === "Out" || frame === "Snapshot") continue; // their data has no length of its own
    for (let end = 0; end < whole.length; end += 2)
      assert.throws(() => decode(bytes(whole.slice(0, end))), FrameError, `${frame} at ${end / 2}`);
    assert.throws(() => decode(bytes(`${whole}00`)), FrameError);
  }
});

test("any bytes give a frame or a FrameError", () => {
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  for (let round = 0; round < 20_000; round++) {
    const data = Uint8Array.from({ length: random(40) }, () => random(256));
    if (data.length > 0) data[0] = 0x80 + random(12);
    try {
      decode(data);
    } catch (error) {
      assert.ok(error instanceof FrameError, String(error));
    }
  }
});
