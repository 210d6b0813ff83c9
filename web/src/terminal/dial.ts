/** An attempt to connect to the gateway: it gets a ticket and opens a WebSocket, and sends no frame yet. */

import { SUBPROTOCOL } from "./frames";
import { t } from "../language";

/** The request for a ticket; `handleAdmission` is called with the ticket's answer, before the first frame. */
export interface Entry {
  what: string;
  body: object;
  handleAdmission?(answer: object): void;
}

/** An open socket, or `end`: why no retry can help; `signedOut`: why the browser has no sign-in; `why`: a failure. */
export interface Reached {
  socket?: WebSocket;
  end?: string;
  /** Whether there is no such app, so that another try by hand cannot help either. */
  isUnknown?: boolean;
  signedOut?: string;
  why?: string;
}

export class Dial {
  ticket = "";
  readonly reached: Promise<Reached>;
  private readonly aborted = new AbortController();
  private socket: WebSocket | undefined;

  /** `isUnwanted` returns, once there is a ticket, whether the socket is no longer wanted; `answerMs` bounds each step. */
  constructor(path: string, entry: Entry, isUnwanted: () => boolean, private readonly answerMs: number) {
    this.reached = this.reach(path, entry, isUnwanted);
  }

  /** Stop the attempt, or close its socket. */
  giveUp(): void {
    this.aborted.abort();
    this.socket?.close();
  }

  private async reach(path: string, entry: Entry, isUnwanted: () => boolean): Promise<Reached> {
    const failure = await this.getTicket(path, entry);
    if (failure !== undefined) return failure;
    if (isUnwanted() || this.aborted.signal.aborted) return { why: "" };
    const url = new URL(`${path}/terminal`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    setTimeout(() => socket.readyState === WebSocket.CONNECTING && socket.close(), this.answerMs);
    return new Promise((resolve) => {
      socket.onopen = () => resolve({ socket });
      socket.onclose = () => resolve({ why: t`the connection was lost` });
    });
  }

  /** Get a ticket, or return why there is none. */
  private async getTicket(path: string, entry: Entry): Promise<Reached | undefined> {
    try {
      const answer = await fetch(`${path}/api/${entry.what}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(entry.body),
        cache: "no-store",
        signal: AbortSignal.any([this.aborted.signal, AbortSignal.timeout(this.answerMs)]),
      });
      const result = (await answer.json()) as { ticket?: string; message?: string; reason?: string };
      if (result.reason === "step_up_needed") {
        // That page asks for the proof and leads back to the same terminal, which keeps running meanwhile.
        location.assign(`${path}/step-up?next=${encodeURIComponent(location.pathname + location.search)}`);
        return { end: result.message ?? "" };
      }
      if (answer.status === 401) return { signedOut: result.message ?? "" };
      if (answer.status === 403 || answer.status === 404 || answer.status === 400)
        return { end: result.message ?? t`refused (${answer.status})`, isUnknown: answer.status === 404 };
      if (result.ticket === undefined) return { why: result.message ?? t`the gateway answered with status ${answer.status}` };
      this.ticket = result.ticket;
      entry.handleAdmission?.(result);
      return undefined;
    } catch {
      return { why: t`the gateway does not answer` };
    }
  }
}
