import assert from "node:assert/strict";
import { test } from "node:test";
import { Dial } from "../src/terminal/dial";

async function refused(status: number): Promise<unknown> {
  globalThis.fetch = () => Promise.resolve(new Response(JSON.stringify({ message: "no" }), { status }));
  return new Dial("", { what: "ticket", body: {} }, () => false, 1000).reached;
}

test("an app that does not exist is distinguished from a refusal that may be lifted", async () => {
  assert.deepEqual(await refused(404), { end: "no", isUnknown: true });
  assert.deepEqual(await refused(403), { end: "no", isUnknown: false });
  assert.deepEqual(await refused(401), { signedOut: "no" });
  assert.deepEqual(await refused(503), { why: "no" });
});
