/** Local echo: its rules one by one, and that it never leaves a wrong letter over a real shell. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import headless from "@xterm/headless";
import { GRACE_MS, Prediction, SETTLE_MS, type Screen } from "../src/terminal/prediction";

/** A line of 50 ms each way to a program that echoes into one row, with a clock that only the test moves. */
class Row {
  readonly prediction = new Prediction();
  now = 0;
  x = 2;
  cells = [..."$ "];
  echoes = true;
  private end = 0;

  get screen(): Screen {
    return { columns: 20, x: this.x, y: 0, echoes: this.echoes, at: (x) => this.cells[x] ?? " " };
  }

  type(text: string): void {
    const data = new TextEncoder().encode(text);
    this.prediction.noteInput(data, (this.end += data.length), this.now, this.screen);
  }

  /** After the time of the line, the terminal has taken all input; then it echoes `text`. */
  answer(text: string, after = 100): void {
    this.now += after;
    this.prediction.noteTaken(this.end, this.now);
    for (const char of text) this.cells[this.x++] = char;
    this.prediction.noteOutput(this.now, this.screen);
  }

  /** Type letters on a slow line until one is shown at once. */
  prove(): this {
    for (const char of "prove") {
      this.type(char);
      this.answer(char);
    }
    return this;
  }

  rest(ms: number): void {
    this.now += ms;
    this.prediction.look(this.now, this.screen);
  }

  get shown(): string | undefined {
    return this.prediction.makeOverlay()?.text;
  }
}

test("a letter is shown at once when the line is slow and the program echoes", () => {
  const row = new Row();
  row.type("p");
  assert.equal(row.shown, undefined);
  row.answer("p");
  row.prove().type("d");
  assert.deepEqual(row.prediction.makeOverlay(), { x: 8, y: 0, text: "d", cursor: 9 });
  row.type("o");
  assert.equal(row.shown, "do");
  row.answer("do");
  assert.equal(row.shown, undefined);
});

test("a quick line shows nothing, and neither does one late answer", () => {
  const row = new Row();
  for (const char of "abcd") {
    row.type(char);
    row.answer(char, char === "c" ? 400 : 20);
  }
  row.type("e");
  assert.equal(row.shown, undefined);
});

test("a password is never shown", () => {
  const row = new Row().prove();
  row.type("\r");
  row.answer("");
  row.rest(SETTLE_MS);
  for (const char of "secret") {
    row.type(char);
    assert.equal(row.shown, undefined);
    row.answer("");
  }
  // Nor is it if letters before Enter are echoed after it was typed.
  const late = new Row().prove();
  late.type("ab");
  late.type("\r");
  late.answer("ab");
  late.rest(SETTLE_MS);
  late.type("c");
  assert.equal(late.shown, undefined);
  // Nor is it if letters before Enter wait for an earlier Enter until then.
  const ahead = new Row().prove();
  ahead.type("\r");
  ahead.type("ab");
  ahead.type("\r");
  ahead.now += 60;
  ahead.prediction.noteTaken(6, ahead.now);
  ahead.cells = [..."$ "];
  ahead.x = 2;
  ahead.prediction.noteOutput(ahead.now, ahead.screen);
  ahead.rest(SETTLE_MS);
  ahead.answer("ab");
  ahead.rest(SETTLE_MS);
  ahead.type("s");
  assert.equal(ahead.shown, undefined);
  // Nor is it if the program asks while letters are on their way.
  const other = new Row().prove();
  other.type("ab");
  other.x = 12;
  other.prediction.noteOutput(other.now, other.screen);
  other.type("c");
  assert.equal(other.shown, undefined);
});

test("stars in place of letters prove nothing", () => {
  const row = new Row();
  for (const char of "secret") {
    row.type(char);
    assert.equal(row.shown, undefined);
    row.answer("*");
  }
});

test("a letter that is not echoed is taken back", () => {
  const row = new Row().prove();
  row.type("x");
  assert.equal(row.shown, "x");
  row.now += 100;
  row.prediction.noteTaken(row.screen.x + 100, row.now);
  row.rest(GRACE_MS - 1);
  assert.equal(row.shown, "x");
  row.rest(1);
  assert.equal(row.shown, undefined);
});

test("a program that draws elsewhere hides the letters for a moment", () => {
  const row = new Row().prove();
  row.type("x");
  row.x = 15;
  row.prediction.noteOutput(row.now, row.screen);
  assert.equal(row.shown, undefined);
  row.x = 7;
  row.prediction.noteOutput(row.now, row.screen);
  assert.equal(row.shown, "x");
  row.x = 15;
  row.prediction.noteOutput(row.now, row.screen);
  row.rest(SETTLE_MS);
  row.x = 7;
  row.prediction.noteOutput(row.now, row.screen);
  assert.equal(row.shown, undefined);
});

test("Backspace erases what was typed, and never the prompt", () => {
  const row = new Row().prove();
  row.type("ab");
  row.type("\x7f");
  assert.deepEqual(row.prediction.makeOverlay(), { x: 7, y: 0, text: "a ", cursor: 8 });
  for (let back = 0; back < 9; back++) row.type("\x7f");
  assert.equal(row.prediction.makeOverlay()?.cursor, 2);
});

test("nothing is predicted in the middle of a line, in a full screen, and at the right edge", () => {
  const middle = new Row().prove();
  middle.x = 3;
  middle.prediction.noteOutput(middle.now, middle.screen);
  middle.type("z");
  assert.equal(middle.shown, undefined);
  const full = new Row().prove();
  full.echoes = false;
  full.type("z");
  assert.equal(full.shown, undefined);
  const edge = new Row().prove();
  edge.type("0123456789ab");
  edge.type("cdefgh");
  assert.equal(edge.shown?.length, 12);
});

test("letters behind Enter are predicted from where the prompt comes to rest", () => {
  const row = new Row().prove();
  row.type("\r");
  row.now += 60;
  row.type("l");
  row.now += 60;
  row.prediction.noteTaken(6, row.now);
  row.cells = [..."$ "];
  row.x = 2;
  row.prediction.noteOutput(row.now, row.screen);
  row.rest(SETTLE_MS);
  row.type("s");
  assert.equal(row.shown, undefined);
  row.answer("l", 10);
  row.x = 3;
  assert.equal(row.shown, "s");
});

// A real shell.

/** A terminal, its shell, and a line between them whose delay varies. */
class Shell {
  readonly prediction = new Prediction();
  readonly term = new headless.Terminal({ allowProposedApi: true, cols: 60, rows: 12 });
  /** Letters that were shown at once, of those that were typed. */
  atOnce = 0;
  typed = 0;
  private readonly folder = mkdtempSync(`${tmpdir()}/stagedoor-`);
  private readonly child;
  private readonly since = new Map<string, number>();
  private readonly due = { up: 0, down: 0 };
  private readonly queues: Record<"up" | "down", (() => void)[]> = { up: [], down: [] };
  private end = 0;
  private heardAt = 0;

  constructor(command: string, private readonly tmux: boolean, private readonly delay: () => number) {
    this.child = spawn("script", ["-qfec", `stty rows 12 cols 60 echo; ${command}`, "-E", "always", "/dev/null"], {
      cwd: this.folder,
      env: { PATH: process.env.PATH, HOME: this.folder, HISTFILE: "/dev/null", TMUX_TMPDIR: this.folder, TERM: "xterm-256color", LANG: "C.UTF-8" },
    });
    this.child.stdout.on("data", (data: Buffer) => this.later("down", () => {
      this.heardAt = performance.now();
      this.term.write(data, () => {
        this.prediction.noteOutput(performance.now(), this.screen);
        this.check();
      });
    }));
  }

  get screen(): Screen {
    const { active } = this.term.buffer;
    const { cols, modes } = this.term;
    return {
      columns: cols, x: active.cursorX, y: active.baseY + active.cursorY,
      echoes: active.type === "normal" || (this.tmux && modes.bracketedPasteMode),
      at: (x, y) => active.getLine(y)?.getCell(x)?.getChars() || " ",
    };
  }

  type(text: string): void {
    const data = new TextEncoder().encode(text);
    const end = (this.end += data.length);
    this.prediction.noteInput(data, end, performance.now(), this.screen);
    this.check();
    this.later("up", () => {
      this.child.stdin.write(data);
      this.later("down", () => {
        this.prediction.noteTaken(end, performance.now());
        this.check();
      });
    });
  }

  /** Type plain text as a person does, and count the letters that are shown at once. */
  async write(text: string, gap: number): Promise<void> {
    for (const char of text) {
      this.type(char);
      this.typed += 1;
      if (this.prediction.makeOverlay()?.text.endsWith(char)) this.atOnce += 1;
      await pause(gap);
    }
  }

  /** Wait until the text before the cursor is `text`. */
  async prompt(text: string): Promise<void> {
    for (let waited = 0; waited < 20_000; waited += 10) {
      const { x, y } = this.screen;
      if (this.term.buffer.active.getLine(y)?.translateToString(false, 0, x) === text) return;
      await pause(10);
    }
    const lines = Array.from({ length: this.term.rows }, (_, at) => this.term.buffer.active.getLine(at)?.translateToString(true));
    throw new Error(`no ${text} before the cursor: ${JSON.stringify([this.screen, lines])}`);
  }

  /** Wait until the shell has been silent, and look at the time that the prediction asks for. */
  async quiet(ms: number): Promise<void> {
    this.heardAt = performance.now();
    while (performance.now() - this.heardAt < ms || this.since.size > 0) {
      await pause(10);
      if ((this.prediction.wakeAt ?? Infinity) <= performance.now()) this.prediction.look(performance.now(), this.screen);
      this.check();
    }
  }

  async stop(): Promise<void> {
    const ended = new Promise((end) => this.child.once("exit", end));
    if (this.tmux) spawnSync("tmux", ["kill-server"], { env: { ...process.env, TMUX_TMPDIR: this.folder } });
    this.child.kill("SIGKILL");
    await ended;
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10 });
  }

  /** No predicted cell may stay longer than the line and the shell take together. */
  private check(): void {
    const [overlay, now] = [this.prediction.makeOverlay(), performance.now()];
    const cells = new Set([...(overlay?.text ?? "")].map((char, at) => `${(overlay?.x ?? 0) + at},${overlay?.y} ${char}`));
    for (const cell of this.since.keys()) if (!cells.has(cell)) this.since.delete(cell);
    for (const cell of cells) {
      const since = this.since.get(cell) ?? now;
      this.since.set(cell, since);
      assert.ok(now - since < STAYS_MS, `${cell} has been shown for ${now - since} ms`);
    }
  }

  /** In order, as on a connection. */
  private later(way: "up" | "down", act: () => void): void {
    this.queues[way].push(act);
    this.due[way] = Math.max(this.due[way], performance.now() + this.delay());
    setTimeout(() => this.queues[way].shift()?.(), this.due[way] - performance.now());
  }
}

const pause = (ms: number): Promise<void> => new Promise((over) => setTimeout(over, ms));
const MAX_MS = 80;
/** The line both ways, the program's time, and as much again for a busy machine. */
const STAYS_MS = 2 * (2 * MAX_MS + GRACE_MS);
const KEYS = [
  ..."jkqvxz jkqvxz ", "\x7f", "\x7f", "\x7f", "\r", "\x1b[D", "\x1b[C", "\x1b[A", "\x01", "\x05", "\x15", "\x17", "\x0c", "\t", "é", "中",
];
const SHELLS = { bash: "PS1='$ ' exec bash --norc --noprofile", tmux: `exec tmux -u -T bpaste -f /dev/null new-session "PS1='$ ' exec bash --norc --noprofile"` };

test("no wrong letter stays over a real shell, and plain typing is shown at once", { concurrency: true }, async (both) => {
  const stories = Object.entries(SHELLS).map(([name, command]) => both.test(name, async (context) => {
    if (spawnSync("sh", ["-c", `command -v ${name} script`]).status !== 0) return context.skip(`there is no ${name} here`);
    const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
    context.diagnostic(`SEED=${seed}`);
    let state = seed;
    const chance = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const shell = new Shell(command, name === "tmux", () => 45 + chance(MAX_MS - 45));
    try {
      await shell.prompt("$ ");
      await shell.quiet(200);
      await shell.write("echo the quick brown fox jumps over it", 40);
      assert.ok(shell.atOnce > 0.6 * shell.typed, `${shell.atOnce} of ${shell.typed} at once`);
      shell.type("\r");
      await shell.prompt("$ ");
      await shell.write("read -sp Password: x", 30);
      shell.type("\r");
      await shell.prompt("Password:");
      await shell.quiet(100);
      for (const char of "hunter2") {
        shell.type(char);
        assert.equal(shell.prediction.makeOverlay(), undefined, "a password is shown");
        await pause(30);
      }
      shell.type("\r");
      for (let count = 0; count < 60; count++) {
        shell.type(KEYS[chance(KEYS.length)] ?? "");
        await pause(chance(50));
      }
      await shell.quiet(GRACE_MS + 300);
      assert.equal(shell.prediction.makeOverlay(), undefined);
    } catch (error) {
      throw new Error(`SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    } finally {
      await shell.stop();
    }
  }));
  await Promise.all(stories);
});
