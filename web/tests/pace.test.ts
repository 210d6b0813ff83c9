import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import type { Terminal } from "@xterm/xterm";
import { pace } from "../src/terminal/pace";

interface Frames {
  requestAnimationFrame(draw: (at: number) => void): number;
}

const frames: ((at: number) => void)[] = [];
let now = 1000;

beforeEach(() => {
  frames.length = 0;
  now = 1000;
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(performance, "now", () => now);
  Object.assign(globalThis, { requestAnimationFrame: (draw: (at: number) => void) => frames.push(draw) });
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

function terminal() {
  const done: string[] = [];
  const selection = { hasSelection: false, refresh: () => done.push("selection") };
  const debouncer: { _coreBrowserService: { window: Frames } } = {
    _coreBrowserService: { window: { requestAnimationFrame: () => 0 } },
  };
  const core = {
    _selectionService: selection,
    _renderService: { _renderDebouncer: debouncer },
    _syncTextArea: () => void done.push("input"),
  };
  const { noteOutput, noteInput } = pace({ _core: core } as unknown as Terminal);
  const draw = () => debouncer._coreBrowserService.window.requestAnimationFrame(() => void done.push("drawn"));
  const frame = () => frames.splice(0).forEach((each) => each(now));
  return { core, selection, noteOutput, noteInput, draw, frame, done };
}

test("what is little is drawn at the next frame, however soon after the last", () => {
  const { noteOutput, draw, frame, done } = terminal();
  for (let at = 0; at < 2; at++) {
    noteOutput(100);
    draw();
    frame();
  }
  assert.deepEqual(done, ["drawn", "drawn"]);
});

test("in a flood a picture waits, and comes", () => {
  const { noteOutput, draw, frame, done } = terminal();
  draw();
  frame();
  noteOutput(100_000);
  draw();
  frame();
  assert.deepEqual(done, ["drawn"]);
  mock.timers.tick(50);
  frame();
  assert.deepEqual(done, ["drawn", "drawn"]);
});

test("after a key nothing waits, for a while", () => {
  const { noteOutput, noteInput, draw, frame, done } = terminal();
  const flood = () => {
    noteOutput(100_000);
    draw();
    frame();
  };
  flood();
  flood();
  assert.deepEqual(done, ["drawn"], "the second waits");
  noteInput();
  frame();
  assert.deepEqual(done, ["drawn", "drawn"], "not beyond a key");
  flood();
  assert.equal(done.length, 3);
  mock.timers.tick(50);
  frame();
  assert.equal(done.length, 3, "and none is drawn twice");
  now += 250;
  flood();
  now += 1;
  flood();
  assert.equal(done.length, 4, "then they wait again");
});

test("the hidden input is moved with a picture, and only if the cursor has moved", () => {
  const { core, draw, frame, done } = terminal();
  core._syncTextArea();
  core._syncTextArea();
  draw();
  frame();
  draw();
  frame();
  assert.deepEqual(done, ["drawn", "input", "drawn"]);
});

test("a selection is drawn while there is one, and once more when it has gone", () => {
  const { selection, done } = terminal();
  selection.refresh();
  assert.deepEqual(done, []);
  selection.hasSelection = true;
  selection.refresh();
  selection.hasSelection = false;
  selection.refresh();
  selection.refresh();
  assert.deepEqual(done, ["selection", "selection"]);
});

test("another xterm.js draws as it likes", () => {
  for (const other of [{}, { _core: {} }]) {
    const { noteOutput, noteInput } = pace(other as unknown as Terminal);
    noteOutput(1);
    noteInput();
  }
});
