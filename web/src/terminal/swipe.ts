/**
 * A finger that moves up or down the terminal does what a wheel does: xterm.js has an ear for a mouse only. It reads back,
 * and where a program has the screen or the mouse to itself, the wheel is the program's. Let go in motion, it goes on.
 */

import type { Terminal } from "@xterm/xterm";

const TAP_PX = 8;
/** One turn of a wheel is some rows to a program that has the mouse: three as a rule, five to tmux. */
const TURN_ROWS = 3;
const HELD_MS = 60;
const DECAY_MS = 325;
const SLOWEST = 0.03;

/** How far a finger goes, in pixels, and how fast, in pixels per millisecond; up is forward. */
export class Finger {
  /** Whether it is more than a tap. */
  swipes = false;
  private speed = 0;

  constructor(private y: number, private at: number) {}

  /** How far it has gone on; 0 as long as it may be a tap. */
  moved(y: number, at: number): number {
    const far = this.y - y;
    if (!this.swipes && Math.abs(far) < TAP_PX) return 0;
    this.swipes = true;
    this.speed = far / Math.max(at - this.at, 1);
    [this.y, this.at] = [y, at];
    return far;
  }

  /** How fast it was when it let go; 0 if it was held still before. */
  released(at: number): number {
    return this.swipes && at - this.at < HELD_MS ? this.speed : 0;
  }
}

/** How far something goes in `passed` milliseconds that is left to itself, and how fast it still is then. */
export function coast(speed: number, passed: number): [far: number, speed: number] {
  const left = speed * Math.exp(-passed / DECAY_MS);
  return [(speed - left) * DECAY_MS, Math.abs(left) < SLOWEST ? 0 : left];
}

export function swipe(term: Terminal, screen: HTMLElement, still: { readonly matches: boolean }): void {
  let finger: Finger | undefined;
  let coasting = 0;
  let part = 0;

  function scroll(far: number, { clientX, clientY }: PointerEvent): void {
    const mouse = term.modes.mouseTrackingMode !== "none";
    const ours = !mouse && term.buffer.active.type === "normal";
    const drawn = term.element?.querySelector(".xterm-screen");
    const step = ((drawn?.clientHeight ?? 0) / term.rows) * (mouse ? TURN_ROWS : 1);
    if (!drawn || step <= 0) return;
    part += far / step;
    const steps = Math.trunc(part);
    part -= steps;
    if (ours) return term.scrollLines(steps);
    const turn = { bubbles: true, cancelable: true, clientX, clientY, deltaY: Math.sign(steps), deltaMode: WheelEvent.DOM_DELTA_LINE };
    for (let i = Math.abs(steps); i > 0; i -= 1) drawn.dispatchEvent(new WheelEvent("wheel", turn));
  }

  function letGo(speed: number, event: PointerEvent, last: number): void {
    if (speed === 0 || still.matches) return;
    coasting = requestAnimationFrame((now) => {
      const [far, left] = coast(speed, Math.max(now - last, 0));
      scroll(far, event);
      letGo(left, event, now);
    });
  }

  screen.addEventListener("pointerdown", (event) => {
    cancelAnimationFrame(coasting);
    part = 0;
    // Two fingers zoom.
    finger = event.pointerType === "touch" && event.isPrimary ? new Finger(event.clientY, event.timeStamp) : undefined;
  });
  screen.addEventListener("pointermove", (event) => {
    if (finger === undefined || !event.isPrimary) return;
    scroll(finger.moved(event.clientY, event.timeStamp), event);
    // What the finger came down on is redrawn, and would take the finger's further way with it.
    if (finger.swipes && !screen.hasPointerCapture(event.pointerId)) screen.setPointerCapture(event.pointerId);
  });
  screen.addEventListener("pointerup", (event) => {
    if (finger !== undefined && event.isPrimary) letGo(finger.released(event.timeStamp), event, event.timeStamp);
    finger = undefined;
  });
  screen.addEventListener("pointercancel", () => (finger = undefined));
}
