/**
 * Whether the gateway still answers, so that a dead line is said after seconds. Pure; the clock comes in. What
 * counts as unanswered, and why a PING is sent, is in `client/attach/liveness.py`, its twin; both are
 * held to `tests/wire/liveness.json`. Times are in milliseconds of any monotonic clock.
 */

export const TICK_MS = 500;
const PROBE_MS = 1000;
const SILENT_MS = 2000;
const DIAL_MS = 8000;
/** A tick that comes later than this was held up, and so perhaps was the answer: only so much counts. */
const MOST_MS = 1000;

export interface LivenessCheck {
  /** Whether to send a PING; said once. */
  probe: boolean;
  /** For so many whole seconds there is no answer; 0 while that is no news. */
  silentS: number;
  /** Whether another connection is to be tried beside this one. */
  dial: boolean;
}

export class Liveness {
  private tickedAt: number | undefined;
  private waited = 0;
  private probed = false;

  /** Whether something is unanswered. */
  get waits(): boolean {
    return this.tickedAt !== undefined;
  }

  /** Something that wants an answer went out: input, or a PING. */
  sent(now: number, ping = false): void {
    this.probed ||= ping;
    if (this.tickedAt !== undefined) return;
    this.tickedAt = now;
    this.waited = 0;
  }

  /** Something came. */
  heard(): void {
    this.tickedAt = undefined;
    this.probed = false;
  }

  /** What to do now; with `busy` we do not listen either, and nothing counts. */
  tick(now: number, busy = false): LivenessCheck {
    if (this.tickedAt === undefined) return { probe: false, silentS: 0, dial: false };
    if (!busy) this.waited += Math.min(Math.max(now - this.tickedAt, 0), MOST_MS);
    this.tickedAt = now;
    const probe = this.waited >= PROBE_MS && !this.probed;
    this.probed ||= probe;
    return { probe, silentS: this.waited >= SILENT_MS ? Math.floor(this.waited / 1000) : 0, dial: this.waited >= DIAL_MS };
  }
}
