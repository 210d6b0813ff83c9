/**
 * The times at which to ask whether a job runs in the terminal's foreground, so that the page knows it before the user
 * closes it: when input and output have paused, and now and then before that. This takes at most one PING a second,
 * and none while nothing happens.
 */

const REST_MS = 250;
const EVERY_MS = 1000;
const [LF, CR] = [10, 13];

export class Foreground {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private since: number | undefined;
  private stirred = 0;
  private asked = -Infinity;

  constructor(private readonly sendPing: () => void) {}

  /** Note input, which may start a job. A paste or a macro may have a line end anywhere. */
  noteInput(data: Uint8Array): void {
    if (data.includes(CR) || data.includes(LF)) this.stir();
  }

  /** Note output. While a job runs, any output may be its last; otherwise any client's job starts on a new line. */
  noteOutput(data: Uint8Array, hasJob: boolean): void {
    if (hasJob || data.includes(LF)) this.stir();
  }

  /** Note a change, and plan to ask. */
  stir(): void {
    this.stirred = Date.now();
    this.since ??= this.stirred;
    clearTimeout(this.timer);
    const due = Math.max(Math.min(this.stirred + REST_MS, this.since + EVERY_MS), this.asked + EVERY_MS);
    this.timer = setTimeout(() => this.askNow(), due - this.stirred);
  }

  private askNow(): void {
    this.since = undefined;
    this.asked = Date.now();
    this.sendPing();
    if (this.asked - this.stirred < REST_MS) this.stir(); // no pause yet, so ask again after it
  }
}
