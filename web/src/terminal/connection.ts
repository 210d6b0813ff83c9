/** The terminal's connection to the gateway, which reconnects for as long as the page is open. */

import { Attachment, type Event } from "./attachment";
import { Dial, type Entry, type Reached } from "./dial";
import { decode, encode, NoticeKind, type ClientFrame } from "./frames";
import { Liveness, TICK_MS } from "./liveness";
import { t } from "../language";
import { describeError } from "../page";

const RETRY_MS = [100, 300, 500, 1000, 1000, 2000, 2000, 5000];
/** How long the connection may be idle before a PING: proxies close connections that are idle for 60 s. */
const PING_MS = 20_000;

const ANSWER_MS = 15_000;
/**
 * The time limit for each step of a second connection, and of the first reconnect attempts. The browser may reuse a
 * dead HTTP connection, and the kernel may assign a new one to a worker that has died; a retry reaches another worker.
 */
const BESIDE_MS = 4000;
/** How many reconnect attempts have that short limit. A slow line may need more. */
const SHORT_TRIES = 2;

export type State = "connecting" | "open" | "silent" | "lost" | "over";

interface Listener {
  /** Called for each event of the attachment, in order. */
  handleEvent(event: Event): void;
  /** Called when the state changes; `why` is for the user. With `isUnknown` it is over since there is no such app. */
  showState(state: State, why: string, isUnknown?: boolean): void;
  /** Called when the browser's sign-in is over. Call `revive` after another sign-in. */
  handleSignOut(why: string): void;
}

export class Connection {
  private socket: WebSocket | undefined;
  private tries = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private over = false;
  private lastHeard = 0;
  private liveness = new Liveness();
  private silent = false;
  /** An attempt at another connection, while this one is silent. */
  private beside: Dial | undefined;
  private besideAt = 0;
  private isDrawing: () => boolean = () => false;

  constructor(
    private readonly path: string,
    private readonly entry: Entry,
    private readonly attachment: Attachment,
    private readonly listener: Listener,
  ) {
    addEventListener("online", () => this.reconnect());
    addEventListener("offline", () => this.handleLoss(t`this device is offline`));
    // A page from the back-forward cache is not reloaded, and its connection is cut.
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.reconnect();
    });
    addEventListener("pagehide", (event) => {
      // A reloaded page is another client. Without DETACH the holder would wait for this one, and keep an ended shell.
      if (!event.persisted) this.send({ kind: "detach" });
    });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.socket === undefined) this.reconnect();
    });
    setInterval(() => this.keepAlive(), TICK_MS);
  }

  /** Connect. `isDrawing` returns whether output waits to be drawn: then the page is what is silent. */
  start(isDrawing: () => boolean): void {
    this.isDrawing = isDrawing;
    void this.open();
  }

  /** Send the input that may be sent. */
  flush(): void {
    for (const frame of this.attachment.takeSendable()) {
      this.send(frame);
      this.liveness.noteSent(performance.now());
    }
  }

  send(frame: ClientFrame): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(encode(frame));
  }

  /** Send a PING, whose PONG says whether a job runs in the foreground. */
  ping(): void {
    const now = performance.now();
    this.liveness.noteSent(now, true);
    this.send({ kind: "ping", number: Math.round(now) });
  }

  /** Connect at once, unless connected. */
  reconnect(): void {
    if (this.over || this.socket !== undefined) return;
    this.tries = 0;
    this.plan(0);
  }

  /** Cut the connection until `revive`, and keep input meanwhile. Return whether there was one to cut. */
  pause(): boolean {
    if (this.over) return false;
    this.over = true;
    this.drop();
    clearTimeout(this.timer);
    this.listener.showState("lost", t`signing in`);
    return true;
  }

  /** Reconnect to the same terminal. */
  revive(): void {
    this.over = false;
    this.reconnect();
  }

  /** Stop reconnecting, until `revive`. */
  private finish(why: string, isUnknown = false): void {
    this.over = true;
    this.drop();
    clearTimeout(this.timer);
    this.listener.showState("over", why, isUnknown);
  }

  private async open(): Promise<void> {
    const comesBack = this.attachment.window > 0;
    this.listener.showState(comesBack ? "lost" : "connecting", "");
    const answerMs = comesBack && this.tries <= SHORT_TRIES ? BESIDE_MS : ANSWER_MS;
    const dial = new Dial(this.path, this.entry, () => this.over || this.socket !== undefined, answerMs);
    const reached = await dial.reached;
    if (this.over || this.socket !== undefined) return dial.giveUp();
    this.adopt(reached, dial);
  }

  /** Use the socket of a dial, or report why there is none. */
  private adopt(reached: Reached, dial: Dial): void {
    if (reached.signedOut !== undefined) {
      this.finish(reached.signedOut);
      return this.listener.handleSignOut(reached.signedOut);
    }
    if (reached.end !== undefined) return this.finish(reached.end, reached.isUnknown);
    if (reached.socket === undefined) return this.handleLoss(reached.why ?? "");
    const { socket } = reached;
    if (socket.readyState !== WebSocket.OPEN) return this.handleLoss(t`the connection was lost`);
    this.drop();
    this.socket = socket;
    this.stopWaiting();
    if (this.attachment.window) this.liveness.noteSent(this.lastHeard, true);
    socket.onmessage = (message: MessageEvent<ArrayBuffer>) => {
      if (socket === this.socket) this.receive(new Uint8Array(message.data));
    };
    socket.onclose = () => {
      if (socket === this.socket) this.handleLoss(t`the connection was lost`);
    };
    this.send(this.attachment.makeHello(dial.ticket));
  }

  private receive(data: Uint8Array): void {
    this.stopWaiting();
    try {
      const frame = decode(data);
      const events = this.attachment.handleFrame(frame);
      if (frame.kind === "welcome") {
        this.tries = 0;
        this.listener.showState("open", "");
        // The window may have changed while the connection was cut.
        this.send({ kind: "resize", size: this.attachment.size });
      }
      for (const event of events) {
        this.listener.handleEvent(event);
        if (event.do === "said") this.handleNotice(event.word, event.text);
        if (event.do === "ended") {
          // Without DETACH the holder would wait for this client, and no new terminal could begin under this name.
          this.send({ kind: "detach" });
          this.finish(event.signal ? t`The shell was ended by ${event.signal}.` : t`The shell has ended (${event.code}).`);
        }
      }
    } catch (error) {
      return this.handleLoss(describeError(error));
    }
    this.flush();
  }

  private handleNotice(notice: NoticeKind, text: string): void {
    switch (notice) {
      case NoticeKind.Denied:
      case NoticeKind.Revoked:
      case NoticeKind.TakenOver: // reconnecting would take the terminal back
        this.finish(text);
        break;
      case NoticeKind.SignedOut:
        this.finish(text);
        this.listener.handleSignOut(text);
        break;
      case NoticeKind.Fault:
        this.handleLoss(text);
        break;
    }
  }

  private handleLoss(why: string): void {
    if (this.over) return;
    this.drop();
    this.listener.showState("lost", why);
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
    this.stopWaiting();
    socket?.close();
  }

  /** Stop waiting for an answer and for another connection: this one has answered, or is gone. */
  private stopWaiting(): void {
    this.lastHeard = performance.now();
    this.liveness.noteAnswer();
    this.beside?.giveUp();
    this.beside = undefined;
    this.besideAt = 0;
    if (this.attachment.attached) this.tries = 0;
    if (this.silent && this.attachment.attached) this.listener.showState("open", "");
    this.silent = false;
  }

  private keepAlive(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    const { probe, silentS, dial } = this.liveness.tick(now, this.isDrawing());
    if (probe || (!this.liveness.hasUnanswered && now - this.lastHeard >= PING_MS)) this.ping();
    if (silentS === 0) return;
    this.silent = true;
    this.listener.showState("silent", t`for ${silentS} s`);
    if (dial && this.beside === undefined && now >= this.besideAt) void this.dialBeside();
  }

  /** Try another connection beside the silent one. The first of the two that answers is used. */
  private async dialBeside(): Promise<void> {
    const dial = new Dial(this.path, this.entry, () => this.over, BESIDE_MS);
    this.beside = dial;
    const reached = await dial.reached;
    if (dial !== this.beside) return; // the silent connection has answered
    this.beside = undefined;
    this.besideAt = performance.now() + (RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)] ?? 0);
    this.tries += 1;
    if (reached.socket !== undefined || reached.end !== undefined) this.adopt(reached, dial);
  }
}
