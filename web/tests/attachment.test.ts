/** What a cut line does to offsets: nothing is lost, nothing comes twice. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ACK_BYTES, Attachment, ProtocolError } from "../src/terminal/attachment";
import { Mode, NoticeKind, type HolderFrame } from "../src/terminal/frames";

const WINDOW = 128 * 1024;
const welcome = (attachment: string, outAt: number, inAt: number): HolderFrame => ({
  kind: "welcome", attachment, outAt, inAt, window: WINDOW, mode: Mode.Mirror, features: 1,
});
const out = (at: number, length: number): HolderFrame => ({ kind: "out", at, data: new Uint8Array(length) });
const typed = (text: string): Uint8Array => new TextEncoder().encode(text);

function fresh(): Attachment {
  const attachment = new Attachment("main");
  attachment.handleFrame(welcome("a1", 0, 0));
  return attachment;
}

test("a newcomer says so, and one who comes back says how far he got", () => {
  const attachment = new Attachment("main");
  assert.equal(attachment.makeHello("t").attachment, "");
  attachment.handleFrame(welcome("a1", 10, 0));
  attachment.handleFrame(out(10, 5));
  const hello = attachment.makeHello("u");
  assert.deepEqual([hello.ticket, hello.attachment, hello.seen], ["u", "a1", 15]);
});

test("who took over does not do it again when his line was cut, and who watches goes on watching", () => {
  for (const [mode, then] of [[Mode.TakeOver, Mode.Mirror], [Mode.Watch, Mode.Watch]] as const) {
    const attachment = new Attachment("main");
    attachment.mode = mode;
    assert.equal(attachment.makeHello("t").mode, mode);
    attachment.handleFrame({ kind: "welcome", attachment: "a1", outAt: 0, inAt: 0, window: WINDOW, mode, features: 1 });
    assert.equal(attachment.makeHello("u").mode, then);
  }
});

test("output that leaves something out, or comes twice, is refused", () => {
  assert.throws(() => fresh().handleFrame(out(1, 1)), ProtocolError);
  const attachment = fresh();
  attachment.handleFrame(out(0, 4));
  assert.throws(() => attachment.handleFrame(out(0, 4)), ProtocolError);
});

test("what was typed is kept until it was taken, and sent again from there", () => {
  const attachment = fresh();
  attachment.type(typed("hello"));
  assert.deepEqual(attachment.takeSendable(), [{ kind: "in", at: 0, data: typed("hello") }]);
  assert.deepEqual(attachment.takeSendable(), []);
  attachment.handleFrame({ kind: "inack", to: 2 });
  attachment.makeHello("t");
  attachment.type(typed(" you"));
  assert.deepEqual(attachment.takeSendable(), [], "nothing is sent before a welcome");
  attachment.handleFrame(welcome("a1", 0, 3));
  assert.deepEqual(attachment.takeSendable(), [{ kind: "in", at: 3, data: typed("lo you") }]);
  attachment.handleFrame({ kind: "inack", to: 9 });
  assert.equal(attachment.untakenBytes, 0);
});

test("no more is sent than there is room for, in frames that fit", () => {
  const attachment = fresh();
  attachment.type(new Uint8Array(1_000_000));
  const sent = attachment.takeSendable();
  assert.deepEqual(sent.map((frame) => (frame.kind === "in" ? frame.data.length : 0)), [65536, 65536]);
  attachment.handleFrame({ kind: "inack", to: 1000 });
  const more = attachment.takeSendable();
  assert.deepEqual(more.map((frame) => (frame.kind === "in" ? [frame.at, frame.data.length] : [])), [[131072, 1000]]);
});

test("input that was never sent cannot be taken", () => {
  assert.throws(() => fresh().handleFrame({ kind: "inack", to: 1 }), ProtocolError);
});

test("it is acknowledged what is drawn, each 32 KiB and at the end", () => {
  const attachment = fresh();
  for (let at = 0; at < 4; at++) attachment.handleFrame(out(at * 20_000, 20_000));
  assert.equal(attachment.noteDrawn(20_000), undefined);
  assert.deepEqual(attachment.noteDrawn(40_000), { kind: "ack", to: 40_000 });
  assert.equal(attachment.noteDrawn(60_000), undefined);
  assert.deepEqual(attachment.noteDrawn(80_000), { kind: "ack", to: 80_000 });
  assert.ok(ACK_BYTES * 2 < WINDOW, "an acknowledgement comes before the sender has to wait");
});

test("what is drawn while nobody is there is acknowledged by coming back", () => {
  const attachment = fresh();
  attachment.handleFrame(out(0, 100));
  attachment.makeHello("t");
  assert.equal(attachment.noteDrawn(100), undefined);
  attachment.handleFrame(welcome("a1", 100, 0));
  attachment.handleFrame(out(100, 1));
  assert.deepEqual(attachment.noteDrawn(101), { kind: "ack", to: 101 });
});

test("a gap is told, and counting goes on behind it", () => {
  const attachment = fresh();
  assert.deepEqual(attachment.handleFrame({ kind: "gap", start: 0, end: 500 }), [{ do: "skipped", count: 500 }]);
  attachment.handleFrame(out(500, 1));
  assert.equal(attachment.seen, 501);
  assert.throws(() => attachment.handleFrame({ kind: "gap", start: 1, end: 2 }), ProtocolError);
});

test("a terminal that has forgotten us is drawn anew, and nothing typed before goes twice", () => {
  const attachment = fresh();
  attachment.type(typed("rm x"));
  attachment.takeSendable();
  attachment.type(typed("later"));
  attachment.makeHello("t");
  assert.deepEqual(attachment.handleFrame(welcome("b2", 7, 0)), [{ do: "skipped", count: 0 }]);
  assert.deepEqual(attachment.takeSendable(), [{ kind: "in", at: 0, data: typed("later") }]);
  assert.equal(attachment.seen, 7);
});

test("words and the end are handed on", () => {
  const attachment = fresh();
  assert.deepEqual(attachment.handleFrame({ kind: "notice", notice: NoticeKind.Progress, text: "pulling" }), [
    { do: "said", word: NoticeKind.Progress, text: "pulling" },
  ]);
  assert.deepEqual(attachment.handleFrame({ kind: "exit", code: 3, signal: "" }), [{ do: "ended", code: 3, signal: "" }]);
});

test("cut at any byte, both ways: the sums agree", () => {
  let state = 7;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  const attachment = fresh();
  const input = Uint8Array.from({ length: 50_000 }, () => random(256));
  attachment.type(input);
  const taken: number[] = [];
  let shown = 0;
  for (let round = 0; taken.length < input.length; round++) {
    if (round > 0) attachment.handleFrame(welcome("a1", attachment.makeHello("t").seen, taken.length));
    for (const frame of attachment.takeSendable()) {
      if (frame.kind !== "in") continue;
      const came = random(frame.data.length + 1);
      const fresh = Array.from(frame.data.subarray(0, came)).slice(Math.max(taken.length - frame.at, 0));
      taken.push(...fresh);
      if (came < frame.data.length) break;
    }
    const length = 1 + random(1000);
    attachment.handleFrame(out(shown, length));
    shown += length;
  }
  assert.deepEqual(Uint8Array.from(taken), input);
  assert.equal(attachment.seen, shown);
});
