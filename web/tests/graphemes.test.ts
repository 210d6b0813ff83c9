/** Widths and cells as tmux 3.3a counts them; `tests/web/browser/test_tmux.py` asks a real tmux. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import headless from "@xterm/headless";
import type { IUnicodeVersionProvider, Terminal } from "@xterm/xterm";
import { joinEmoji, modifiedEmoji } from "../src/terminal/graphemes";

async function drawn(text: string): Promise<{ column: number; cells: string[] }> {
  const term = new headless.Terminal({ allowProposedApi: true, cols: 40, rows: 2 });
  joinEmoji(term as unknown as Terminal);
  await new Promise<void>((done) => term.write(text, done));
  const line = term.buffer.active.getLine(0);
  const cells = Array.from({ length: 40 }, (_, x) => line?.getCell(x)?.getChars() ?? "").filter((chars) => chars !== "");
  return { column: term.buffer.active.cursorX, cells };
}

for (const [what, text, width] of [
  ["a family, joined by ZWJ", "👨‍👩‍👧", 2],
  ["a profession", "👩‍💻", 2],
  ["a heart with VS16, joined to fire", "❤️‍🔥", 1],
  ["a flag of two letters", "🇩🇪", 2],
  ["a rainbow flag", "🏳️‍🌈", 1],
  ["a keycap", "1️⃣", 1],
  ["a sign with VS16", "⚠️", 1],
  ["a sign with VS15", "⌛︎", 2],
  ["a plain emoji", "😀", 2],
  ["an ideograph with an accent", "漢\u0301", 2],
  ["kana with a combining mark", "か\u3099", 2],
  ["a letter with an accent", "e\u0301", 1],
] as const)
  test(`${what} is ${width} wide, and what follows stands behind it`, async () => {
    const { column, cells } = await drawn(`${text}|`);
    assert.equal(column, width + 1);
    assert.equal(cells.join(""), `${text}|`);
    if (text.includes("\u200d")) assert.equal(cells.length, 2);
  });

test("an emoji with a skin tone is one cluster, whatever it is joined to", () => {
  for (const cluster of ["👩🏽‍💻", "👍🏿", "🧑🏻‍🤝‍🧑🏿", "👩🏽‍❤️‍👨🏿"])
    assert.deepEqual(modifiedEmoji(`a ${cluster}|`), [[2, 2 + cluster.length]], cluster);
  assert.deepEqual(modifiedEmoji("👩‍💻 🏽 a 漢 ❤️ 1️⃣"), []);
});

test("a joiner joins emoji only, in one write or in several", async () => {
  assert.deepEqual((await drawn("👩\u200d|")).cells, ["👩\u200d", "|"]);
  assert.deepEqual((await drawn("\u200d👩")).cells.at(-1), "👩");
  assert.deepEqual((await drawn("क\u200dष")).cells, ["क\u200d", "ष"]);
  const term = new headless.Terminal({ allowProposedApi: true, cols: 40, rows: 2 });
  joinEmoji(term as unknown as Terminal);
  for (const piece of ["👩\u200d", "💻", "|"]) await new Promise<void>((done) => term.write(piece, done));
  assert.equal(term.buffer.active.cursorX, 3);
});

/** The provider that `made` gives to a terminal. */
function registered(made: (term: Terminal) => void): IUnicodeVersionProvider {
  let found: IUnicodeVersionProvider | undefined;
  made({ unicode: { register: (one: IUnicodeVersionProvider) => (found = one), activeVersion: "" } } as unknown as Terminal);
  assert(found);
  return found;
}

test("a character of ASCII is what Unicode 11 says, whatever it follows", () => {
  const [ours, base] = [registered(joinEmoji), registered((term) => new Unicode11Addon().activate(term))];
  const before = ["a", "漢", "\u0301", "👩", "\u200d"].map((text) => base.charProperties(text.codePointAt(0) ?? 0, 0));
  for (let code = 0; code < 0x80; code++)
    for (const preceding of [0, ...before]) assert.equal(ours.charProperties(code, preceding), base.charProperties(code, preceding), `${code} after ${preceding}`);
  const joiner = ours.charProperties(0x200d, ours.charProperties("👩".codePointAt(0) ?? 0, 0));
  for (const text of "1#*a") assert.equal(ours.charProperties(text.charCodeAt(0), joiner), base.charProperties(text.charCodeAt(0), 0), text);
});
