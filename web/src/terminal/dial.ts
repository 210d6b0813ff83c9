/** One try for a line to the gateway: a ticket, and a WebSocket that is open. Nothing is said on it yet. */

import { SUBPROTOCOL } from "./frames";


/** How a ticket is asked for; `admitted` is told what came with it, before the first frame. */
export interface Entry {
  what: string;
  asked: object;
  admitted?(said: object): void;
}

/** `end`: why no other try would help; `signedOut`: the browser has no sign-in; `why`: why this one failed. */
export interface Reached {
  socket?: WebSocket;
  end?: string;
  signedOut?: string;
  why?: string;
}

export class Dial {
  ticket = "";
  readonly reached: Promise<Reached>;
  private readonly aborted = new AbortController();
  private socket: WebSocket | undefined;

  /** `late` says whether nobody wants it any more once there is a ticket; `answerMs` bounds each of the two steps. */
  constructor(path: string, entry: Entry, late: () => boolean, private readonly answerMs: number) {
    this.reached = this.reach(path, entry, late);
  }

  /** Nobody wants it any more. */
  giveUp(): void {
    this.aborted.abort();
    this.socket?.close();
  }

  private async reach(path: string, entry: Entry, late: () => boolean): Promise<Reached> {
    const refused = await this.ask(path, entry);
    if (refused !== undefined) return refused;
    if (late() || this.aborted.signal.aborted) return { why: "" };
    const url = new URL(`${path}/terminal`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, SUBPROTOCOL);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    setTimeout(() => socket.readyState === WebSocket.CONNECTING && socket.close(), this.answerMs);
    return new Promise((resolve) => {
      socket.onopen = () => resolve({ socket });
      socket.onclose = () => resolve({ why: "the line was cut" });
    });
  }

  /** Get a ticket; why there is none. */
  private async ask(path: string, entry: Entry): Promise<Reached | undefined> {
    try {
      const answer = await fetch(`${path}/api/${entry.what}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(entry.asked),
        cache: "no-store",
        signal: AbortSignal.any([this.aborted.signal, AbortSignal.timeout(this.answerMs)]),
      });
      const said = (await answer.json()) as { ticket?: string; message?: string; reason?: string };
      if (said.reason === "step_up_needed") {
        // The page asks for the proof, and leads back here: to the same terminal, which goes on meanwhile.
        location.assign(`${path}/step-up?next=${encodeURIComponent(location.pathname + location.search)}`);
        return { end: said.message ?? "" };
      }
      if (answer.status === 401) return { signedOut: said.message ?? "" };
      if (answer.status === 403 || answer.status === 404 || answer.status === 400)
        return { end: said.message ?? `refused (${answer.status})` };
      if (said.ticket === undefined) return { why: said.message ?? `the gateway answers ${answer.status}` };
      this.ticket = said.ticket;
      entry.admitted?.(said);
      return undefined;
    } catch {
      return { why: "the gateway does not answer" };
    }
  }
}
