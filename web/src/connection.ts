/** The line to the gateway: opened, cut, and opened again for as long as the page is there. */

import { Attachment, type Event } from "./attachment";
import { decode, encode, SUBPROTOCOL, Word, type Downstream } from "./frames";

const RETRY_MS = [100, 300, 1000, 2000, 5000];
/** Silence for so long is broken by a PING: proxies drop what is idle for 60 s. */
const PING_MS = 20_000;
/** A PING that nothing follows for so long means that the line is cut; not while output waits to be drawn. */
const PONG_MS = 30_000;

export type State = "connecting" | "open" | "lost" | "over";

/** How a ticket is asked for; `admitted` is told what came with it, before the first frame. */
export interface Entry {
  what: string;
  asked: object;
  admitted?(said: object): void;
}

export interface Listener {
  /** Output and words, in order. */
  happened(event: Event): void;
  /** `why` is for the person. */
  state(state: State, why: string): void;
  /** The browser's sign-in is over. After another, `revive`. */
  signedOut(why: string): void;
}

export class Connection {
  private socket: WebSocket | undefined;
  private tries = 0;
  private timer: number | undefined;
  private over = false;
  private lastHeard = 0;
  private lastPing = 0;
  private busy: () => boolean = () => false;

  constructor(
    private readonly path: string,
    private readonly entry: Entry,
    private readonly attachment: Attachment,
    private readonly listener: Listener,
  ) {
    addEventListener("online", () => this.again());
    addEventListener("offline", () => this.lost("this device is offline"));
    // From the back-forward cache the page comes back whole, with its line cut; it is never loaded anew.
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.again();
    });
    addEventListener("pagehide", (event) => {
      // Whoever loads the page anew comes as somebody else. This one would be waited for, and an ended shell kept for him.
      if (!event.persisted) this.send({ kind: "detach" });
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.socket === undefined) this.again();
    });
    setInterval(() => this.keepAlive(), 5000);
  }

  /** `busy` says whether output waits to be drawn: then silence is our own. */
  start(busy: () => boolean): void {
    this.busy = busy;
    void this.open();
  }

  /** Send what may be sent of what was typed. */
  flush(): void {
    for (const frame of this.attachment.sendable()) this.send(frame);
  }

  send(frame: Downstream): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(encode(frame));
  }

  /** Ask whether the terminal is there, and whether a job runs in its foreground. */
  ping(): void {
    this.lastPing = performance.now();
    this.send({ kind: "ping", number: Math.round(this.lastPing) });
  }

  /** Try at once, if nothing is open. */
  again(): void {
    if (this.over || this.socket !== undefined) return;
    this.tries = 0;
    this.plan(0);
  }

  /** Cut the line until `revive`; what is typed meanwhile is kept. Whether there was one to cut. */
  pause(): boolean {
    if (this.over) return false;
    this.over = true;
    this.drop();
    clearTimeout(this.timer);
    this.listener.state("lost", "signing in");
    return true;
  }

  /** Come back, to the same terminal. */
  revive(): void {
    this.over = false;
    this.again();
  }

  /** No more tries; `start` begins anew. */
  private finish(why: string): void {
    this.over = true;
    this.drop();
    clearTimeout(this.timer);
    this.listener.state("over", why);
  }

  private async open(): Promise<void> {
    this.listener.state(this.attachment.window ? "lost" : "connecting", "");
    let ticket: string;
    try {
      const answer = await fetch(`${this.path}/api/${this.entry.what}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(this.entry.asked),
        cache: "no-store",
        signal: AbortSignal.timeout(15_000),
      });
      const said = (await answer.json()) as { ticket?: string; message?: string };
      if (answer.status === 401) {
        this.finish(said.message ?? "");
        return this.listener.signedOut(said.message ?? "");
      }
      if (answer.status === 403 || answer.status === 404 || answer.status === 400)
        return this.finish(said.message ?? `refused (${answer.status})`);
      if (said.ticket === undefined) return this.lost(said.message ?? `the gateway answers ${answer.status}`);
      ticket = said.ticket;
      this.entry.admitted?.(said);
    } catch {
      return this.lost("the gateway does not answer");
    }
    if (this.over || this.socket !== undefined) return;
    const url = new URL(`${this.path}/terminal`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.lastHeard = this.lastPing = performance.now();
    socket.onopen = () => this.send(this.attachment.hello(ticket));
    socket.onmessage = (message: MessageEvent<ArrayBuffer>) => {
      if (socket === this.socket) this.heard(new Uint8Array(message.data));
    };
    socket.onclose = () => {
      if (socket === this.socket) this.lost("the line was cut");
    };
  }

  private heard(data: Uint8Array): void {
    this.lastHeard = performance.now();
    try {
      const frame = decode(data);
      const events = this.attachment.received(frame);
      if (frame.kind === "welcome") {
        this.tries = 0;
        this.listener.state("open", "");
        // The window may have changed while nobody could be told.
        this.send({ kind: "resize", size: this.attachment.size });
      }
      for (const event of events) {
        this.listener.happened(event);
        if (event.do === "said") this.minded(event.word, event.text);
        if (event.do === "ended") {
          // Whoever goes without a word is waited for, and another could not begin under this name meanwhile.
          this.send({ kind: "detach" });
          this.finish(event.signal ? `The shell was ended by ${event.signal}.` : `The shell has ended (${event.code}).`);
        }
      }
    } catch (error) {
      return this.lost(error instanceof Error ? error.message : String(error));
    }
    this.flush();
  }

  private minded(word: Word, text: string): void {
    if (word === Word.Revoked && text.includes("sign in again")) {
      this.finish(text);
      this.listener.signedOut(text);
    } else if (word === Word.Denied || word === Word.Revoked) this.finish(text);
    // By somebody who took over: coming back at once would take it from him. A gateway that stops is
    // followed by another.
    else if (word === Word.Detached && text.startsWith("taken over")) this.finish(text);
    else if (word === Word.Fault) this.lost(text);
  }

  private lost(why: string): void {
    if (this.over) return;
    this.drop();
    this.listener.state("lost", why);
    this.plan(RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)] ?? 0);
    this.tries += 1;
  }

  private plan(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.open(), ms);
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = undefined;
    this.attachment.attached = false;
    socket?.close();
  }

  private keepAlive(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    // By the PING, not by the clock alone: a page in the background, or in a lid that was closed, has no timers.
    if (this.lastHeard < this.lastPing) {
      if (now - this.lastPing > PONG_MS && !this.busy()) this.lost("the gateway has fallen silent");
    } else if (now - this.lastHeard >= PING_MS) {
      this.ping();
    }
  }
}
