/**
 * When it is acknowledged what is drawn: at once where much is, otherwise once for all that comes within a moment. Each
 * acknowledgement goes through the gateway to the shell, and costs there as much as output of 10 KiB.
 */

import { ACK_BYTES } from "./attachment";

/** Nobody waits for it: the sender has room for more than twice `ACK_BYTES`. */
export const REST_MS = 20;

export class Acks {
  private drawn = 0;
  private told = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `tell` acknowledges output up to that offset. */
  constructor(private readonly tell: (to: number) => void) {}

  /** Output is drawn up to here. */
  reached(to: number): void {
    this.drawn = to;
    if (to - this.told >= ACK_BYTES) this.send();
    else this.timer ??= setTimeout(() => this.send(), REST_MS);
  }

  private send(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.told = this.drawn;
    this.tell(this.drawn);
  }
}
