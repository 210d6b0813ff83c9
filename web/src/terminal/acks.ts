/**
 * Acknowledgements of drawn output: at once for much output, otherwise one for all output within a moment. Each goes
 * through the gateway to the shell, and costs as much there as output of 10 KiB.
 */

import { ACK_BYTES } from "./attachment";

/** How long an acknowledgement may wait. It holds nothing up: the sender has room for over twice `ACK_BYTES`. */
export const REST_MS = 20;

export class Acks {
  private drawn = 0;
  private acked = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  /** `acknowledge` acknowledges output up to an offset. */
  constructor(private readonly acknowledge: (to: number) => void) {}

  /** Note that output is drawn up to the offset `to`. */
  noteDrawn(to: number): void {
    this.drawn = to;
    if (to - this.acked >= ACK_BYTES) this.send();
    else this.timer ??= setTimeout(() => this.send(), REST_MS);
  }

  private send(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.acked = this.drawn;
    this.acknowledge(this.drawn);
  }
}
