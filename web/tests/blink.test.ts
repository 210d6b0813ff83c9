import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { blink } from "../src/terminal/blink";

type Heard = () => void;

beforeEach(() => mock.timers.enable({ apis: ["setInterval"] }));
afterEach(() => mock.timers.reset());

function terminal() {
  const classes = new Set<string>();
  const heard: Record<string, Heard> = {};
  const still = { matches: false };
  const hear = (what: string) => (listener: Heard) => {
    heard[what] = listener;
    return { dispose: () => undefined };
  };
  const marked = {
    contains: (name: string) => classes.has(name),
    remove: (name: string) => void classes.delete(name),
    toggle: (name: string, on: boolean) => void (on ? classes.add(name) : classes.delete(name)),
  };
  const textarea = { addEventListener: (what: string, listener: Heard) => void (heard[what] = listener) };
  Object.assign(globalThis, { document: { activeElement: textarea } });
  const term = { element: { classList: marked }, textarea, onKey: hear("key"), onCursorMove: hear("move") };
  blink(term as unknown as Parameters<typeof blink>[0], still);
  return { still, hear: (what: string) => heard[what]?.(), seen: () => classes.size === 0 };
}

/** What is seen after each half second. */
function phases(seen: () => boolean, count: number): boolean[] {
  return Array.from({ length: count }, () => {
    mock.timers.tick(500);
    return seen();
  });
}

test("it comes and goes twice a second", () => {
  const { seen } = terminal();
  assert.equal(seen(), true);
  assert.deepEqual(phases(seen, 4), [false, true, false, true]);
});

test("a key, and a cursor that moves, show it for a whole phase", () => {
  for (const what of ["key", "move"]) {
    const { seen, hear } = terminal();
    mock.timers.tick(900);
    assert.equal(seen(), false);
    hear(what);
    assert.equal(seen(), true);
    mock.timers.tick(499);
    assert.equal(seen(), true);
    mock.timers.tick(1);
    assert.equal(seen(), false);
  }
});

test("without focus it is steady, whatever moves it", () => {
  const { seen, hear } = terminal();
  mock.timers.tick(500);
  hear("blur");
  hear("move");
  assert.deepEqual(phases(seen, 3), [true, true, true]);
  hear("focus");
  assert.deepEqual(phases(seen, 2), [false, true]);
});

test("it is steady for whom it disturbs, from the next phase on", () => {
  const { seen, still } = terminal();
  mock.timers.tick(500);
  still.matches = true;
  assert.deepEqual(phases(seen, 2), [true, true]);
});
