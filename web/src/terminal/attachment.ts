/**
 * A client's attachment to one terminal, which outlives connections: the input that the terminal has not taken, and the
 * offsets of output. Pure. The twin of `client/attach/attachment.py`.
 */

import { joinBytes } from "../bytes";
import { FEATURES, Mode, MAX_DATA_BYTES, type ClientFrame, type Hello, type HolderFrame, type NoticeKind, type Size } from "./frames";

/** An event for the page: output to show, a gap before it, a notice, the end. */
export type Event =
  | { do: "show"; data: Uint8Array; counts: boolean }
  | { do: "skipped"; count: number }
  | { do: "said"; word: NoticeKind; text: string }
  | { do: "sized"; size: Size }
  | { do: "taken"; to: number }
  | { do: "people"; people: HolderFrame & { kind: "people" } }
  | { do: "ended"; code: number; signal: string };

/** The drawn output after which an acknowledgement is sent while more waits to be drawn. */
export const ACK_BYTES = 32 * 1024;

export class ProtocolError extends Error {}

export class Attachment {
  attached = false;
  /** The offset after the output received so far, which may not be drawn yet. */
  seen = 0;
  size: Size = { columns: 80, rows: 24, xPixels: 0, yPixels: 0 };
  mode = Mode.Mirror;
  /** The command of a new terminal: "tmux mouse" for tmux if it is installed, or "" for the login shell. */
  command: "tmux mouse" | "" = "";
  window = 0;
  /** Whether a job ran in the terminal's foreground at the last PONG. */
  hasForegroundJob = false;
  private name = "";
  private untaken: Uint8Array[] = [];
  /** The offset of the first byte in `untaken`. */
  private taken = 0;
  private sent = 0;
  private everSent = 0;
  private drawn = 0;
  private acked = 0;

  constructor(public terminal: string) {}

  /** Return the first frame of a new connection. */
  makeHello(ticket: string): Hello {
    this.attached = false;
    return {
      kind: "hello", ticket, terminal: this.terminal, attachment: this.name, seen: this.seen, size: this.size,
      mode: this.mode, term: "xterm-256color", lang: "C.UTF-8", command: this.command, features: FEATURES,
    };
  }

  /** The number of typed bytes that the terminal has not taken. */
  get untakenBytes(): number {
    return this.untaken.reduce((sum, piece) => sum + piece.length, 0);
  }

  /** The offset after the input so far. */
  get end(): number {
    return this.taken + this.untakenBytes;
  }

  /** Handle a frame and return its events. Throws ProtocolError for a frame that the protocol rules out. */
  handleFrame(frame: HolderFrame): Event[] {
    switch (frame.kind) {
      case "welcome":
        return this.handleWelcome(frame) ? [{ do: "skipped", count: 0 }] : [];
      case "out":
        if (frame.at !== this.seen) throw new ProtocolError(`output from ${frame.at} on, not ${this.seen}`);
        this.seen += frame.data.length;
        return [{ do: "show", data: frame.data, counts: true }];
      case "inack":
        this.noteTaken(frame.to);
        return [{ do: "taken", to: frame.to }];
      case "gap":
        if (frame.start !== this.seen) throw new ProtocolError(`a gap from ${frame.start} on, not ${this.seen}`);
        this.seen = this.drawn = this.acked = frame.end;
        return [{ do: "skipped", count: frame.end - frame.start }];
      case "snapshot":
        return [{ do: "show", data: frame.data, counts: false }];
      case "pong":
        this.hasForegroundJob = frame.busy;
        return [];
      case "exit":
        this.hasForegroundJob = false;
        return [{ do: "ended", code: frame.code, signal: frame.signal }];
      case "sized":
        return [{ do: "sized", size: frame.size }];
      case "people":
        return [{ do: "people", people: frame }];
      case "notice":
        return [{ do: "said", word: frame.notice, text: frame.text }];
      default:
        return [];
    }
  }

  /**
   * Note that output is drawn up to the offset `to`. Return the acknowledgement to send, if one is due: after each
   * 32 KiB, and when nothing more waits to be drawn.
   */
  noteDrawn(to: number): ClientFrame | undefined {
    if (to <= this.drawn) return undefined;
    this.drawn = to;
    if (!this.attached || (this.drawn - this.acked < ACK_BYTES && this.drawn !== this.seen)) return undefined;
    this.acked = this.drawn;
    return { kind: "ack", to: this.drawn };
  }

  /** Keep input until the terminal has taken it. A client that only watches keeps none. */
  type(data: Uint8Array): void {
    if (data.length > 0 && this.mode !== Mode.Watch) this.untaken.push(data);
  }

  /** Return the input that may be sent now, which counts as sent from then on. */
  takeSendable(): ClientFrame[] {
    const frames: ClientFrame[] = [];
    while (this.attached) {
      const room = Math.min(this.window - (this.sent - this.taken), MAX_DATA_BYTES);
      const data = this.slice(this.sent - this.taken, room);
      if (data.length === 0) break;
      frames.push({ kind: "in", at: this.sent, data });
      this.sent += data.length;
      this.everSent = Math.max(this.everSent, this.sent);
    }
    return frames;
  }

  /** Handle WELCOME. Return whether the screen must be cleared, since this is another attachment. */
  private handleWelcome(welcome: HolderFrame & { kind: "welcome" }): boolean {
    const isOther = this.name !== "" && welcome.attachment !== this.name;
    if (welcome.attachment !== this.name) {
      // A new client, or one that the terminal has forgotten. Offsets begin again, and input that was on its
      // way is not sent again.
      if (this.name !== "") this.drop(this.sent - this.taken);
      this.name = welcome.attachment;
      this.seen = this.drawn = welcome.outAt;
      this.taken = this.sent = this.everSent = welcome.inAt;
    } else if (welcome.outAt !== this.seen) {
      throw new ProtocolError(`output continues at ${welcome.outAt}, not ${this.seen}`);
    }
    this.acked = welcome.outAt;
    this.noteTaken(welcome.inAt);
    this.sent = this.taken;
    this.window = welcome.window;
    if (welcome.mode === Mode.Watch) {
      // The gateway may allow only watching, whatever HELLO asked for. Then no input waits.
      this.mode = Mode.Watch;
      this.untaken = [];
    } else if (this.mode === Mode.TakeOver) {
      // Take over only once: a reconnect must not send other clients away again.
      this.mode = Mode.Mirror;
    }
    this.attached = true;
    return isOther;
  }

  private noteTaken(to: number): void {
    if (to > this.everSent) throw new ProtocolError(`input up to ${to} was taken, ${this.everSent} was sent`);
    if (to <= this.taken) return;
    this.drop(to - this.taken);
    this.taken = to;
    // Input that was on its way when the line was cut may have arrived, and need not be sent again.
    this.sent = Math.max(this.sent, to);
  }

  private drop(count: number): void {
    while (count > 0) {
      const first = this.untaken[0];
      if (first === undefined) return;
      if (first.length <= count) this.untaken.shift();
      else this.untaken[0] = first.subarray(count);
      count -= first.length;
    }
  }

  private slice(start: number, count: number): Uint8Array {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (const piece of this.untaken) {
      if (start >= piece.length) {
        start -= piece.length;
        continue;
      }
      const part = piece.subarray(start, start + count - length);
      start = 0;
      if (part.length === 0) break;
      pieces.push(part);
      length += part.length;
      if (length >= count) break;
    }
    return joinBytes(pieces);
  }
}
