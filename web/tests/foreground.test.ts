/** When the page asks whether a job runs: after what may have changed it, and never much. */
import assert from "node:assert/strict";
import { mock, test, type TestContext } from "node:test";
import { Foreground } from "../src/terminal/foreground";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** One that counts how often it has asked, under a clock that `pass` moves, in steps of 1 ms. */
function watched(context: TestContext): { foreground: Foreground; asked: () => number; pass: (ms: number) => void } {
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  context.after(() => mock.timers.reset());
  let count = 0;
  return {
    foreground: new Foreground(() => (count += 1)),
    asked: () => count,
    pass: (ms) => {
      for (let each = 0; each < ms; each++) mock.timers.tick(1);
    },
  };
}

test("it asks once things have come to rest, and no more while nothing happens", (context) => {
  const { foreground, asked, pass } = watched(context);
  foreground.noteInput(bytes("\r"));
  pass(200);
  foreground.noteOutput(bytes("\r\n"), false);
  pass(200);
  assert.equal(asked(), 0);
  pass(100);
  assert.equal(asked(), 1);
  pass(60_000);
  assert.equal(asked(), 1);
});

test("typing on a line, and its echo, is no reason", (context) => {
  const { foreground, asked, pass } = watched(context);
  for (const key of "make all") {
    foreground.noteInput(bytes(key));
    foreground.noteOutput(bytes(key), false);
    pass(400);
  }
  assert.equal(asked(), 0);
  foreground.noteInput(bytes("pasted\nlines"));
  pass(300);
  assert.equal(asked(), 1);
});

test("while a job runs a prompt without a new line is seen", (context) => {
  const { foreground, asked, pass } = watched(context);
  foreground.noteOutput(bytes("$ "), true);
  pass(300);
  assert.equal(asked(), 1);
});

test("typing within a job asks once a second at most, and once more behind the last key", (context) => {
  const { foreground, asked, pass } = watched(context);
  for (let key = 0; key < 20; key++) {
    foreground.noteOutput(bytes("x"), true);
    pass(300);
  }
  assert.ok(asked() >= 5 && asked() <= 7, String(asked()));
  pass(2000);
  const after = asked();
  pass(60_000);
  assert.equal(asked(), after);
});

test("output that never rests is asked about now and then, and once more at its end", (context) => {
  const { foreground, asked, pass } = watched(context);
  for (let piece = 0; piece < 1000; piece++) {
    foreground.noteOutput(bytes("y\n"), true);
    pass(10);
  }
  assert.ok(asked() >= 9 && asked() <= 11, String(asked()));
  const before = asked();
  pass(2000);
  assert.equal(asked(), before + 1);
});
