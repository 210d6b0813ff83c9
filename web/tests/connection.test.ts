import assert from "node:assert/strict";
import { test } from "node:test";
import { Attachment } from "../src/terminal/attachment";
import { Connection } from "../src/terminal/connection";

/** Return how long each of the first four tries may take, at a gateway that never answers. */
async function bounds(attachment: Attachment): Promise<number[]> {
  const bounds: number[] = [];
  const nothing = (): void => undefined;
  Object.assign(globalThis, {
    addEventListener: nothing,
    document: { addEventListener: nothing, hidden: false },
    fetch: () => Promise.reject(new Error("no answer")),
    setInterval: nothing,
    setTimeout: (act: () => void) => bounds.length < 4 && queueMicrotask(act),
  });
  AbortSignal.timeout = (ms) => (bounds.push(ms), new AbortController().signal);
  const entry = { what: "ticket", body: {} };
  new Connection("", entry, attachment, { handleEvent: nothing, showState: nothing, handleSignOut: nothing }).reconnect();
  await new Promise((done) => setImmediate(done));
  return bounds;
}

test("the first tries to come back are short, since another worker may answer the next", async () => {
  assert.deepEqual(await bounds(new Attachment("main")), [15_000, 15_000, 15_000, 15_000]);
  const back = new Attachment("main");
  back.window = 1;
  assert.deepEqual(await bounds(back), [4000, 4000, 4000, 15_000]);
});
