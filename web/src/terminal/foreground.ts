/**
 * When to ask whether a job runs in the terminal's foreground, so that the page knows it before somebody closes it:
 * once what is going on has come to rest, and meanwhile now and then. It costs a PING a second at most, whatever is
 * typed or shown, and nothing while nothing happens.
 */

const REST_MS = 250;
const EVERY_MS = 1000;
const [LF, CR] = [10, 13];

export class Foreground {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private since: number | undefined;
  private stirred = 0;
  private asked = -Infinity;

  constructor(private readonly ask: () => void) {}

  /** Something was typed, which may start a job. A paste or a macro may hold the line's end anywhere. */
  typed(data: Uint8Array): void {
    if (data.includes(CR) || data.includes(LF)) this.stir();
  }

  /** Output came. While a job runs any may be its last; else one starts on a new line, by whichever client. */
  shown(data: Uint8Array, busy: boolean): void {
    if (busy || data.includes(LF)) this.stir();
  }

  /** Something has changed, and will be asked about. */
  stir(): void {
    this.stirred = Date.now();
    this.since ??= this.stirred;
    clearTimeout(this.timer);
    const due = Math.max(Math.min(this.stirred + REST_MS, this.since + EVERY_MS), this.asked + EVERY_MS);
    this.timer = setTimeout(() => this.due(), due - this.stirred);
  }

  private due(): void {
    this.since = undefined;
    this.asked = Date.now();
    this.ask();
    if (this.asked - this.stirred < REST_MS) this.stir(); // nothing rests yet: the last word is still to come
  }
}
