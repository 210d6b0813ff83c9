import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Liveness } from "../src/terminal/liveness";

type Step = ["heard"] | ["sent" | "ping", number] | ["tick", number, boolean, number, boolean];
const table = JSON.parse(readFileSync("../tests/wire/liveness.json", "utf8")) as { about: string; steps: Step[] }[];

for (const { about, steps } of table)
  test(about, () => {
    const line = new Liveness();
    for (const step of steps) {
      if (step[0] === "heard") line.noteAnswer();
      else if (step[0] === "tick") {
        const [, now, probe, silentS, dial] = step;
        assert.deepEqual(line.tick(now * 1000), { probe, silentS, dial }, JSON.stringify(step));
      } else line.noteSent(step[1] * 1000, step[0] === "ping");
    }
  });

test("while output waits to be drawn, the silence is our own", () => {
  const line = new Liveness();
  line.noteSent(0);
  for (let at = 0; at < 60_000; at += 500) assert.deepEqual(line.tick(at, true), { probe: false, silentS: 0, dial: false });
});
