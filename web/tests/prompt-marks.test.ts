/** Prompts by OSC 133, as bash, zsh and fish send it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import headless from "@xterm/headless";
import type { Terminal } from "@xterm/xterm";
import { parseExitCode, findPrompt, markPrompts } from "../src/terminal/prompt-marks";

test("an exit code is read, and what is none is not", () => {
  for (const [sequence, code] of [["D;0", 0], ["D;127", 127], ["D;1;err=x", 1], ["D", undefined], ["D;x", undefined], ["D;12345", undefined], ["A", undefined]] as const)
    assert.equal(parseExitCode(sequence), code);
});

test("a program that repeats the end of one command makes one mark", async () => {
  const term = new headless.Terminal({ allowProposedApi: true });
  let marks = 0;
  markPrompts(Object.assign(term, { registerDecoration: () => void marks++ }) as unknown as Terminal);
  await new Promise<void>((done) => term.write(`\x1b]133;A\x07${"\x1b]133;C\x07\x1b]133;D;1\x07".repeat(5000)}`, done));
  assert.equal(marks, 1);
});

test("the next prompt is the nearest on that side", () => {
  assert.equal(findPrompt([-1, 2, 9, 20], 9, true), 2);
  assert.equal(findPrompt([-1, 2, 9, 20], 9, false), 20);
  assert.equal(findPrompt([-1, 2], 2, true), undefined);
});

test("a key goes from prompt to prompt, and a command that failed has a mark", async () => {
  const term = new headless.Terminal({ allowProposedApi: true, cols: 40, rows: 5, scrollback: 100 });
  const failed: number[] = [];
  const marked = Object.assign(term, {
    registerDecoration: ({ marker }: { marker: { line: number } }) => void failed.push(marker.line),
  }) as unknown as Terminal;
  const jump = markPrompts(marked);
  assert.equal(jump(true), false, "no prompt, no key of the page");
  const command = (output: number, code: number) => `\x1b]133;A\x07$ \x1b]133;B\x07run\r\n\x1b]133;C\x07${"x\r\n".repeat(output)}\x1b]133;D;${code}\x07`;
  await new Promise<void>((done) => term.write(`${command(10, 0)}${command(10, 3)}\x1b]133;A\x07$ `, done));
  assert.deepEqual(failed, [11]);
  assert.equal(jump(true), true);
  assert.equal(term.buffer.active.viewportY, 11);
  jump(true);
  assert.equal(term.buffer.active.viewportY, 0);
  jump(false);
  assert.equal(term.buffer.active.viewportY, 11);
  // A full-screen program's own marks are none.
  await new Promise<void>((done) => term.write("\x1b[?1049h\x1b]133;A\x07", done));
  assert.equal(jump(true), false);
});
