/**
 * Scrolling by touch: a finger that moves up or down acts as a mouse's wheel, since xterm.js supports only a mouse. It
 * scrolls back, or sends wheel events to a program that has the whole screen or the mouse. A finger lifted in motion
 * lets the scrolling coast.
 */

import type { Terminal } from "@xterm/xterm";

const TAP_PX = 8;
/** The rows that one turn of a wheel scrolls in a program with the mouse: usually three, in tmux five. */
const TURN_ROWS = 3;
const HELD_MS = 60;
const DECAY_MS = 325;
const SLOWEST = 0.03;

/** A finger's way in pixels, and its speed in pixels per millisecond; up is positive. */
export class Finger {
  /** Whether the finger has moved more than in a tap. */
  swipes = false;
  private speed = 0;

  constructor(private y: number, private at: number) {}

  /** Return how far the finger has moved since the last call, or 0 while it may be a tap. */
  move(y: number, at: number): number {
    const far = this.y - y;
    if (!this.swipes && Math.abs(far) < TAP_PX) return 0;
    this.swipes = true;
    this.speed = far / Math.max(at - this.at, 1);
    [this.y, this.at] = [y, at];
    return far;
  }

  /** Return the speed at which the finger was lifted, or 0 if it was held still before. */
  release(at: number): number {
    return this.swipes && at - this.at < HELD_MS ? this.speed : 0;
  }
}

/** Return how far coasting goes in `passed` milliseconds, and its speed after that. */
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
    scroll(finger.move(event.clientY, event.timeStamp), event);
    // The element under the finger is redrawn, which would end its events, so the screen captures them.
    if (finger.swipes && !screen.hasPointerCapture(event.pointerId)) screen.setPointerCapture(event.pointerId);
  });
  screen.addEventListener("pointerup", (event) => {
    if (finger !== undefined && event.isPrimary) letGo(finger.release(event.timeStamp), event, event.timeStamp);
    finger = undefined;
  });
  screen.addEventListener("pointercancel", () => (finger = undefined));
}
