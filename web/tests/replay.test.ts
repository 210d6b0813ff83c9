/** A recording in pieces: read the same however it is cut, and sought in without being played from its start. */
import assert from "node:assert/strict";
import { test } from "node:test";
import serializeAddon from "@xterm/addon-serialize";
import headless from "@xterm/headless";
import type { Terminal } from "@xterm/xterm";
import { CastError, formatDuration, parseEvent, SequenceState, parseHeader, Lines, Marks, parseSize, findOutputTime } from "../src/replay/cast";
import { Painter } from "../src/replay/picture";
import { Player, type PlayerState } from "../src/replay/player";
import { EventReader, PIECE_BYTES, RecordingSource } from "../src/replay/recording-source";

const utf8 = new TextEncoder();

/** The same numbers each time (mulberry32). */
function random(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below | 0;
  };
}

function cast(events: [number, string, string][]): Uint8Array {
  const lines = [JSON.stringify({ version: 2, width: 80, height: 24 }), ...events.map((one) => JSON.stringify(one))];
  return utf8.encode(lines.join("\n") + "\n");
}

function makeSource(bytes: Uint8Array): { source: RecordingSource; asked: () => number } {
  let asked = 0;
  const source = new RecordingSource(async (first, last) => {
    asked += 1;
    return bytes.slice(first, last + 1);
  }, bytes.length);
  return { source, asked: () => asked };
}

test("lines are the same however the bytes are cut", () => {
  const bytes = cast([[0.5, "o", "é你😀"], [1, "i", "x"], [2, "o", "end"]]);
  const whole = new Lines().feed(bytes).map(({ line, next }) => [Buffer.from(line).toString(), next]);
  const below = random(1);
  for (let round = 0; round < 200; round += 1) {
    const lines = new Lines();
    const found: unknown[] = [];
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + below(9);
      found.push(...lines.feed(bytes.subarray(at, end)).map(({ line, next }) => [Buffer.from(line).toString(), next]));
      at = end;
    }
    assert.deepEqual(found, whole);
  }
});

test("what is no recording is said to be none", () => {
  assert.throws(() => parseHeader(utf8.encode("{}")), CastError);
  assert.throws(() => parseHeader(utf8.encode('{"version": 3, "term": {}}')), CastError);
  assert.throws(() => parseHeader(utf8.encode('{"version": 2, "width": "a", "height": 2}')), CastError);
  assert.throws(() => parseEvent(utf8.encode("nonsense"), 0), CastError);
  assert.throws(() => parseEvent(utf8.encode('[1, "o"]'), 0), CastError);
  assert.throws(() => parseEvent(utf8.encode('[-1, "o", ""]'), 0), CastError);
  assert.throws(() => new Lines().feed(new Uint8Array(5 * 1024 * 1024)), CastError);
  assert.equal(parseHeader(utf8.encode('{"version": 2, "width": 1e9, "height": 2}')).width, 1000);
  assert.equal(parseSize("80x24")?.[0], 80);
  for (const none of ["0x1", "80", "80x24x1", "-1x2", ""]) assert.equal(parseSize(none), undefined);
});

test("a line that shows something is told by its beginning", () => {
  assert.equal(findOutputTime(utf8.encode('[12.5, "o", "[1, \\"i\\""]')), 12.5);
  assert.equal(findOutputTime(utf8.encode('[12.5, "i", "x"]')), undefined);
  assert.equal(findOutputTime(utf8.encode('[12.5,"m","x"]')), undefined);
});

test("somebody who types makes one mark for a while of typing; a million make few", () => {
  const marks = new Marks();
  for (const at of [1, 1.1, 1.2, 9, 9.5]) marks.add({ at, code: "i", data: "x", next: 0 });
  marks.add({ at: 10, code: "m", data: "here", next: 0 });
  assert.deepEqual(marks.all, [{ at: 1, label: "" }, { at: 9, label: "" }, { at: 10, label: "here" }]);
  for (let at = 20; at < 1_000_000; at += 7) marks.add({ at, code: "i", data: "x", next: 0 });
  for (let same = 0; same < 5000; same += 1) marks.add({ at: 2_000_000, code: "m", data: "x", next: 0 });
  assert.ok(marks.all.length <= 501, String(marks.all.length));
});

test("between sequences is told from within one, however the text is cut", () => {
  const sequences = ["plain", "\x1b[1;31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1bP1$r0m\x1b\\", "\x1b(0", "\x1b7", "😀"];
  const below = random(2);
  for (let round = 0; round < 300; round += 1) {
    const sequence = new SequenceState();
    const text = Array.from({ length: 5 }, () => sequences[below(sequences.length)] ?? "").join("");
    for (let at = 0; at < text.length; ) {
      const end = at + 1 + below(4);
      sequence.feed(text.slice(at, end));
      at = end;
    }
    assert.ok(sequence.clean, JSON.stringify(text));
    const last = text.lastIndexOf("\x1b");
    if (last < 0) continue;
    const cut = new SequenceState();
    cut.feed(text.slice(0, last + 1));
    assert.ok(!cut.clean);
  }
});

test("times are read as people write them", () => {
  assert.deepEqual([0, 59.9, 187, 3723, -1].map(formatDuration), ["0:00", "0:59", "3:07", "1:02:03", "0:00"]);
});

test("the last event says how long it is, even if the last line was cut off", async () => {
  const bytes = cast([[1, "o", "x"], [61.5, "o", "y".repeat(300_000)]]);
  assert.equal(await makeSource(bytes).source.duration(), 61.5);
  assert.equal(await makeSource(bytes.subarray(0, bytes.length - 10)).source.duration(), 1);
  assert.equal(await makeSource(cast([])).source.duration(), 0);
});

test("a recording larger than a piece is read once, and few pieces are kept", async () => {
  const bytes = cast(Array.from({ length: 30 }, (_, at) => [at, "o", "z".repeat(PIECE_BYTES / 2)]));
  const { source, asked } = makeSource(bytes);
  const reader = new EventReader(source, 0);
  let lines = 0;
  while ((await reader.line()) !== undefined) lines += 1;
  assert.equal(lines, 31);
  assert.equal(asked(), Math.ceil(bytes.length / PIECE_BYTES));
  const pieces = (source as unknown as { pieces: Map<number, unknown> }).pieces;
  assert.ok(pieces.size <= 8);
});

/** A session with all that a picture of a screen has to hold: colours, regions, the other screen, wide cells. */
function busySession(bytes: number): [number, string, string][] {
  const below = random(3);
  const events: [number, string, string][] = [];
  let length = 0;
  for (let at = 0.1; length < bytes; at += 0.1) {
    let text = "";
    switch (below(8)) {
      case 0: text = `\x1b[${1 + below(20)};${1 + below(60)}H\x1b[38;5;${below(256)}mcolour ${below(100)}`; break;
      case 1: text = `\x1b[${2 + below(5)};${15 + below(6)}r\x1b[15;1H\n\n`; break;
      case 2: text = below(2) ? "\x1b[?1049h\x1b[2Jother" : "\x1b[?1049l"; break;
      case 3: text = `你好 é😀 ${"wide ".repeat(below(20))}\r\n`; break;
      case 4: text = below(2) ? "\x1b(0lqqk\x1b(B" : "\x1b[7;4m"; break;
      case 5: text = "\x1b[0m\x1b[r\x1b[H"; break;
      case 6: text = `\x1b[${below(3)}J\x1b[${below(3)}K`; break;
      default: text = `${"line of text ".repeat(1 + below(200))}\r\n`;
    }
    // Sequences are cut between events, as a terminal's reads cut them.
    const cut = below(text.length);
    events.push([at, "o", text.slice(0, cut)], [at + 0.01, "o", text.slice(cut)]);
    if (below(400) === 0) events.push([at + 0.02, "r", `${60 + below(60)}x${20 + below(20)}`]);
    length += text.length;
  }
  return events;
}

interface Stage {
  player: Player;
  term: Terminal;
  states: PlayerState[];
}

async function stage(bytes: Uint8Array): Promise<Stage> {
  const term = new headless.Terminal({ cols: 80, rows: 24, allowProposedApi: true, scrollback: 1000 }) as unknown as Terminal;
  const addon = new serializeAddon.SerializeAddon();
  term.loadAddon(addon as never);
  const { source } = makeSource(bytes);
  const first = await new EventReader(source, 0).line();
  assert.ok(first);
  const states: PlayerState[] = [];
  const watcher = { time: () => undefined, state: (now: PlayerState) => states.push(now), mark: () => undefined, handleFailure: (error: unknown) => { throw error; } };
  const player = new Player(source, new Painter(term, addon), watcher, parseHeader(first.line), first.next, await source.duration());
  return { player, term, states };
}

/** What is seen: each row with its cells' colours, and where the cursor is. */
function seen(term: Terminal): string[] {
  const buffer = term.buffer.active;
  const rows = [`${term.cols}x${term.rows} ${buffer.type} ${buffer.cursorX},${buffer.cursorY}`];
  for (let y = 0; y < term.rows; y += 1) {
    const line = buffer.getLine(buffer.baseY + y);
    let row = "";
    for (let x = 0; line !== undefined && x < term.cols; x += 1) {
      const cell = line.getCell(x);
      row += `${cell?.getChars() || " "}${cell?.getFgColor() ?? ""}${cell?.isInverse() ? "!" : ""}`;
    }
    rows.push(row);
  }
  return rows;
}

test("to seek shows what playing from the start shows, back and forth", { timeout: 120_000 }, async () => {
  const bytes = cast(busySession(7 * 1024 * 1024));
  const { player, term } = await stage(bytes);
  await player.seek(0);
  await player.seek(player.duration);
  const frames = (player as unknown as { keyframes: unknown[] }).keyframes;
  assert.ok(frames.length >= 3, `${frames.length} screens were kept`);
  const below = random(4);
  for (let round = 0; round < 3; round += 1) {
    const at = (player.duration * (10 + below(90))) / 100;
    await player.seek(at);
    const fresh = await stage(bytes);
    await fresh.player.seek(at);
    assert.deepEqual(seen(term), seen(fresh.term), `at ${at} s`);
  }
});

test("it plays, skips pauses, pauses, ends, and begins again", async () => {
  const { player, term, states } = await stage(cast([[0, "o", "one "], [0.05, "o", "two "], [900, "o", "three "], [900.05, "r", "100x30"], [900.1, "o", "four"]]));
  const until = async (state: PlayerState): Promise<void> => {
    const deadline = performance.now() + 20_000;
    while (player.state !== state) {
      assert.ok(performance.now() < deadline, `never ${state}: ${states.join(", ")}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await player.seek(0);
  player.pace(8, true);
  player.play();
  await until("ended");
  assert.equal(term.buffer.active.getLine(0)?.translateToString(true), "one two three four");
  assert.equal(term.cols, 100);
  assert.equal(player.at, 900.1);
  player.play();
  await until("playing");
  player.pause();
  await player.seek(1);
  assert.equal(player.state, "paused");
  assert.equal(term.buffer.active.getLine(0)?.translateToString(true), "one two ");
  assert.equal(term.cols, 80);
});

test("who seeks again before it is there gets the last of it", async () => {
  const { player } = await stage(cast(busySession(1024 * 1024)));
  await player.seek(0);
  const all = [0.9, 0.2, 0.7, 0.4].map((part) => player.seek(player.duration * part));
  await Promise.all(all);
  assert.ok(Math.abs(player.at - player.duration * 0.4) < 0.001);
  assert.equal(player.state, "paused");
});
