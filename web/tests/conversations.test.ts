/** The browser's part in every conversation: what it sends, and what it tells the page to draw. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Attachment, ProtocolError, type Event } from "../src/terminal/attachment";
import { decode, encode, type ClientFrame, type Size } from "../src/terminal/frames";

interface Step {
  who?: string;
  do?: string;
  up?: string;
  down?: string;
  lost?: boolean;
  refused?: boolean;
  events?: Record<string, unknown>[];
  hangs_up?: boolean | string;
  mode?: number;
  size?: number[];
  data?: string;
  number?: number;
}

const kept = JSON.parse(readFileSync("../tests/wire/conversations.json", "utf8")) as {
  name: string;
  sides: string[];
  steps: Step[];
}[];

/** The bytes that `runs` of `tests/wire/conversation.py` has written. */
function unrun(text: string): Uint8Array {
  const hex = text.split(" ").map((word) => {
    const [digits = "", count = "1"] = word.split("*");
    return digits.repeat(Number(count));
  });
  return Uint8Array.from(Buffer.from(hex.join(""), "hex"));
}

const hex = (data: Uint8Array): string => Buffer.from(data).toString("hex");

function size([columns = 0, rows = 0, xPixels = 0, yPixels = 0]: number[]): Size {
  return { columns, rows, xPixels, yPixels };
}

/** An event by the names that stand in the file; what is to be shown is held to the frame's own bytes. */
function told(event: Event): Record<string, unknown> {
  if (event.do === "show") return { do: "show", counts: event.counts };
  if (event.do === "sized") return { do: "sized", size: [event.size.columns, event.size.rows, event.size.xPixels, event.size.yPixels] };
  return { ...event };
}

class Replay {
  private readonly clients = new Map<string, Attachment>();
  /** What each person's client has sent, until a step says so. */
  private readonly sent = new Map<string, ClientFrame[]>();

  constructor(private readonly steps: Step[]) {}

  run(): void {
    this.steps.forEach((step, at) => {
      if (step.who === undefined) return;
      const client = this.client(step.who, at);
      if (step.do !== undefined) {
        this.rests(step);
        this.say(step.who, this.does(client, step));
      } else if (step.up !== undefined) {
        const frame = this.sent.get(step.who)?.shift();
        assert.ok(frame, `nothing was sent where this was to be: ${JSON.stringify(step)}`);
        assert.equal(hex(encode(frame)), hex(unrun(step.up)));
      } else if (step.down !== undefined && step.lost !== true) {
        this.rests(step);
        this.hears(step.who, client, unrun(step.down), step);
      } else if (step.hangs_up === true) {
        client.attached = false;
      }
    });
    this.rests({});
  }

  private client(who: string, at: number): Attachment {
    let client = this.clients.get(who);
    if (client === undefined) {
      client = new Attachment("main");
      client.mode = this.steps.slice(at).find((step) => step.who === who && step.do === "connects")?.mode ?? 0;
      this.clients.set(who, client);
    }
    return client;
  }

  private rests(step: Step): void {
    for (const [who, sent] of this.sent) assert.deepEqual(sent, [], `${who} sent more before ${JSON.stringify(step)}`);
  }

  private say(who: string, frames: ClientFrame[]): void {
    this.sent.set(who, [...(this.sent.get(who) ?? []), ...frames]);
  }

  private does(client: Attachment, step: Step): ClientFrame[] {
    switch (step.do) {
      case "connects":
        client.size = size(step.size ?? []);
        return [client.makeHello("ticket")];
      case "cut":
        client.attached = false;
        return [];
      case "typed":
        client.type(unrun(step.data ?? ""));
        return client.takeSendable();
      case "drawn": {
        const ack = client.noteDrawn(client.seen);
        return ack === undefined ? [] : [ack];
      }
      case "resized":
        client.size = size(step.size ?? []);
        return [{ kind: "resize", size: client.size }];
      case "pings":
        return [{ kind: "ping", number: step.number ?? 0 }];
      case "detaches":
        return [{ kind: "detach" }];
      default:
        throw new Error(`nobody can do that: ${JSON.stringify(step)}`);
    }
  }

  private hears(who: string, client: Attachment, data: Uint8Array, step: Step): void {
    const frame = decode(data);
    if (step.refused === true) {
      assert.throws(() => client.handleFrame(frame), ProtocolError);
      return;
    }
    // What was taken is of use for the page's local echo alone.
    const events = client.handleFrame(frame).filter((event) => event.do !== "taken");
    assert.deepEqual(events.map(told), step.events);
    for (const event of events)
      if (event.do === "show") assert.ok("data" in frame && Buffer.from(event.data).equals(frame.data));
    if (frame.kind === "pong") assert.equal(client.hasForegroundJob, frame.busy);
    this.say(who, client.takeSendable());
  }
}

for (const { name, sides, steps } of kept)
  if (sides.includes("client")) test(`the browser has its part in: ${name}`, () => new Replay(steps).run());
