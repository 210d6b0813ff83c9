/**
 * The check whether the gateway still answers, which reports a dead line after seconds. Pure: the clock is an argument.
 * Its twin `client/attach/dialling.py` says what counts as unanswered, and why a PING is sent; `tests/wire/liveness.json`
 * tests both. Times are in milliseconds of any monotonic clock.
 */

export const TICK_MS = 500;
const PROBE_MS = 1000;
const SILENT_MS = 2000;
const DIAL_MS = 8000;
/** The most that one tick counts. A later tick was delayed, and the answer may have been delayed with it. */
const MAX_STEP_MS = 1000;

interface LivenessCheck {
  /** Whether to send a PING; true once for each silence. */
  probe: boolean;
  /** The whole seconds without an answer; 0 while they are too few to report. */
  silentS: number;
  /** Whether to try another connection beside this one. */
  dial: boolean;
}

export class Liveness {
  private tickedAt: number | undefined;
  private waited = 0;
  private probed = false;

  /** Whether an answer is awaited. */
  get hasUnanswered(): boolean {
    return this.tickedAt !== undefined;
  }

  /** Note that input or a PING was sent, which awaits an answer. */
  noteSent(now: number, ping = false): void {
    this.probed ||= ping;
    if (this.tickedAt !== undefined) return;
    this.tickedAt = now;
    this.waited = 0;
  }

  /** Note that the gateway has answered. */
  noteAnswer(): void {
    this.tickedAt = undefined;
    this.probed = false;
  }

  /** Return what to do now. While the page draws it does not read, so the time does not count. */
  tick(now: number, isDrawing = false): LivenessCheck {
    if (this.tickedAt === undefined) return { probe: false, silentS: 0, dial: false };
    if (!isDrawing) this.waited += Math.min(Math.max(now - this.tickedAt, 0), MAX_STEP_MS);
    this.tickedAt = now;
    const probe = this.waited >= PROBE_MS && !this.probed;
    this.probed ||= probe;
    return { probe, silentS: this.waited >= SILENT_MS ? Math.floor(this.waited / 1000) : 0, dial: this.waited >= DIAL_MS };
  }
}
