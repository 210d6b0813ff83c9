import assert from "node:assert/strict";
import { test } from "node:test";
import { Attachment } from "../src/terminal/attachment";
import { Connection } from "../src/terminal/connection";
import { NoticeKind } from "../src/terminal/frames";

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

/** Return the states that a page shows after a notice, and the reasons for which it asks the user to sign in. */
async function notify(kind: NoticeKind, text: string): Promise<{ states: string[]; signOuts: string[] }> {
  const nothing = (): void => undefined;
  const sockets: FakeSocket[] = [];
  class FakeSocket {
    static readonly CONNECTING = 0;
    static readonly OPEN = 1;
    readonly readyState = FakeSocket.OPEN;
    readonly send = nothing;
    readonly close = nothing;
    onopen = nothing;
    onmessage = (_: { data: ArrayBuffer }): void => undefined;

    constructor() {
      sockets.push(this);
      queueMicrotask(() => this.onopen());
    }
  }
  Object.assign(globalThis, {
    WebSocket: FakeSocket,
    addEventListener: nothing,
    document: { addEventListener: nothing, hidden: false },
    fetch: async () => ({ status: 200, json: async () => ({ ticket: "t" }) }),
    location: { href: "https://gateway/" },
    setInterval: nothing,
    setTimeout: (act: () => void, ms: number) => ms === 0 && queueMicrotask(act),
  });
  AbortSignal.timeout = () => new AbortController().signal;
  const states: string[] = [];
  const signOuts: string[] = [];
  const listener = {
    handleEvent: nothing,
    showState: (state: string) => void states.push(state),
    handleSignOut: (why: string) => void signOuts.push(why),
  };
  new Connection("", { what: "ticket", body: {} }, new Attachment("main"), listener).reconnect();
  await new Promise((done) => setImmediate(done));
  const said = new TextEncoder().encode(text);
  sockets[0]?.onmessage({ data: Uint8Array.of(0x89, kind, 0, said.length, ...said).buffer });
  return { states, signOuts };
}

test("the kind of a notice decides what the page does, and not its text", async () => {
  for (const text of ["sign in again", "taken over by alice", ""]) {
    const over = { states: ["connecting", "over"], signOuts: [] };
    for (const kind of [NoticeKind.Denied, NoticeKind.Revoked, NoticeKind.TakenOver]) assert.deepEqual(await notify(kind, text), over);
    assert.deepEqual(await notify(NoticeKind.SignedOut, text), { ...over, signOuts: [text] });
    assert.deepEqual(await notify(NoticeKind.Fault, text), { states: ["connecting", "lost"], signOuts: [] });
    assert.deepEqual(await notify(NoticeKind.Drained, text), { states: ["connecting"], signOuts: [] });
  }
});
