/** The line to the gateway: opened, cut, and opened again for as long as the page is there. */

import { Attachment, type Event } from "./attachment";
import { Dial, type Entry, type Reached } from "./dial";
import { decode, encode, Word, type Downstream } from "./frames";
import { Liveness, TICK_MS } from "./liveness";

const RETRY_MS = [100, 300, 1000, 2000, 5000];
/** Silence for so long is broken by a PING: proxies drop what is idle for 60 s. */
const PING_MS = 20_000;

const ANSWER_MS = 15_000;
/** A browser may ask by a connection that it has kept, and that is dead as well; the next try takes another one. */
const BESIDE_MS = 4000;

export type State = "connecting" | "open" | "silent" | "lost" | "over";

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
  private liveness = new Liveness();
  private silent = false;
  /** Another line, tried while ours keeps silent. */
  private beside: Dial | undefined;
  private besideAt = 0;
  private busy: () => boolean = () => false;

  constructor(
    private readonly path: string,
    private readonly entry: Entry,
    private readonly attachment: Attachment,
    private readonly listener: Listener,
  ) {
    addEventListener("online", () => this.again());
    addEventListener("offline", () => this.lost("this device is offline"));
    // From the back-forward cache the page comes back whole, with its line cut; it is never loaded again.
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.again();
    });
    addEventListener("pagehide", (event) => {
      // A page that is loaded again is another client. This one would be waited for, and an ended shell kept for it.
      if (!event.persisted) this.send({ kind: "detach" });
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.socket === undefined) this.again();
    });
    setInterval(() => this.keepAlive(), TICK_MS);
  }

  /** `busy` says whether output waits to be drawn: then silence is our own. */
  start(busy: () => boolean): void {
    this.busy = busy;
    void this.open();
  }

  /** Send what may be sent of what was typed. */
  flush(): void {
    for (const frame of this.attachment.sendable()) {
      this.send(frame);
      this.liveness.sent(performance.now());
    }
  }

  send(frame: Downstream): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(encode(frame));
  }

  /** Ask whether the terminal is there, and whether a job runs in its foreground. */
  ping(): void {
    const now = performance.now();
    this.liveness.sent(now, true);
    this.send({ kind: "ping", number: Math.round(now) });
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

  /** No more tries; `start` begins again. */
  private finish(why: string): void {
    this.over = true;
    this.drop();
    clearTimeout(this.timer);
    this.listener.state("over", why);
  }

  private async open(): Promise<void> {
    this.listener.state(this.attachment.window ? "lost" : "connecting", "");
    const dial = new Dial(this.path, this.entry, () => this.over || this.socket !== undefined, ANSWER_MS);
    const reached = await dial.reached;
    if (this.over || this.socket !== undefined) return dial.giveUp();
    this.adopt(reached, dial);
  }

  /** What has become of a dial: a line, which is ours from now on, or none. */
  private adopt(reached: Reached, dial: Dial): void {
    if (reached.signedOut !== undefined) {
      this.finish(reached.signedOut);
      return this.listener.signedOut(reached.signedOut);
    }
    if (reached.end !== undefined) return this.finish(reached.end);
    if (reached.socket === undefined) return this.lost(reached.why ?? "");
    const { socket } = reached;
    if (socket.readyState !== WebSocket.OPEN) return this.lost("the line was cut");
    this.drop();
    this.socket = socket;
    this.answered();
    if (this.attachment.window) this.liveness.sent(this.lastHeard, true);
    socket.onmessage = (message: MessageEvent<ArrayBuffer>) => {
      if (socket === this.socket) this.receive(new Uint8Array(message.data));
    };
    socket.onclose = () => {
      if (socket === this.socket) this.lost("the line was cut");
    };
    this.send(this.attachment.hello(dial.ticket));
  }

  private receive(data: Uint8Array): void {
    this.answered();
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
        if (event.do === "said") this.heedNotice(event.word, event.text);
        if (event.do === "ended") {
          // A client that goes without a word is waited for, and another could not begin under this name meanwhile.
          this.send({ kind: "detach" });
          this.finish(event.signal ? `The shell was ended by ${event.signal}.` : `The shell has ended (${event.code}).`);
        }
      }
    } catch (error) {
      return this.lost(error instanceof Error ? error.message : String(error));
    }
    this.flush();
  }

  private heedNotice(word: Word, text: string): void {
    if (word === Word.Revoked && text.includes("sign in again")) {
      this.finish(text);
      this.listener.signedOut(text);
    } else if (word === Word.Denied || word === Word.Revoked) this.finish(text);
    // By somebody who took over: coming back at once would take it from them. A gateway that stops is
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
    this.answered();
    socket?.close();
  }

  /** Our line has answered, or there is none: nobody waits for an answer, nor for another line. */
  private answered(): void {
    this.lastHeard = performance.now();
    this.liveness.heard();
    this.beside?.giveUp();
    this.beside = undefined;
    this.besideAt = 0;
    if (this.attachment.attached) this.tries = 0;
    if (this.silent && this.attachment.attached) this.listener.state("open", "");
    this.silent = false;
  }

  private keepAlive(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    const { probe, silentS, dial } = this.liveness.tick(now, this.busy());
    if (probe || (!this.liveness.waits && now - this.lastHeard >= PING_MS)) this.ping();
    if (silentS === 0) return;
    this.silent = true;
    this.listener.state("silent", `for ${silentS} s`);
    if (dial && this.beside === undefined && now >= this.besideAt) void this.dialBeside();
  }

  /** Whichever answers first, the silent line or another one, is the one that goes on. */
  private async dialBeside(): Promise<void> {
    const dial = new Dial(this.path, this.entry, () => this.over, BESIDE_MS);
    this.beside = dial;
    const reached = await dial.reached;
    if (dial !== this.beside) return; // ours has answered
    this.beside = undefined;
    this.besideAt = performance.now() + (RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)] ?? 0);
    this.tries += 1;
    if (reached.socket !== undefined || reached.end !== undefined) this.adopt(reached, dial);
  }
}
