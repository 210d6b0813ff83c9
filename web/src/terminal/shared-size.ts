/**
 * The size in which the terminal is drawn. All clients share one size, that of the window of the client that acted last.
 * In any other window the terminal is drawn in that size, as large as it fits, and the area beyond it is dotted.
 */

import type { FitAddon } from "@xterm/addon-fit";
import type { Terminal } from "@xterm/xterm";
import type { Size } from "./frames";
import { fitFont } from "../fit-font";

const MIN_PX = 3;

function isSameSize(one: Size, other: Size): boolean {
  return (
    one.columns === other.columns &&
    one.rows === other.rows &&
    one.xPixels === other.xPixels &&
    one.yPixels === other.yPixels
  );
}

export class SharedSize {
  /** Whether the terminal has the size of another client's window. */
  foreign = false;

  constructor(
    private readonly term: Terminal,
    private readonly fit: FitAddon,
    private readonly screen: HTMLElement,
    private readonly settings: { fontSize: number },
  ) {}

  /**
   * Take the terminal's size. It may be this window's own again, if SIZE with another client's size crossed what this
   * window had sent.
   */
  takeSize(size: Size, own?: Size): void {
    if (own !== undefined && isSameSize(size, own)) {
      this.claim();
      return;
    }
    this.foreign = true;
    this.term.resize(size.columns, size.rows);
    requestAnimationFrame(() => this.refit());
  }

  /** Draw for a changed size of the window or the font. */
  refit(): void {
    if (this.foreign) fitFont(this.term, this.screen, MIN_PX, this.settings.fontSize);
    else this.fit.fit();
    this.mark();
  }

  /** Give the terminal the size of this window. Return whether it had another. */
  claim(): boolean {
    if (!this.foreign) return false;
    this.foreign = false;
    this.term.options.fontSize = this.settings.fontSize;
    this.refit();
    return true;
  }

  private mark(): void {
    this.screen.classList.toggle("beyond", this.foreign);
    const drawn = this.screen.querySelector<HTMLElement>(".xterm-screen");
    if (drawn !== null) drawn.style.backgroundColor = this.foreign ? (this.term.options.theme?.background ?? "") : "";
  }
}
