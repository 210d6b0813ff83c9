/**
 * How large the terminal is drawn. It has one size for everybody: that of the window where something was done last. In
 * another window it is drawn in that size, as large as there is room, and what is beyond is dotted.
 */

import type { FitAddon } from "@xterm/addon-fit";
import type { Terminal } from "@xterm/xterm";
import type { Size } from "./frames";
import { fitFont } from "../fit-font";

const LEAST_PX = 3;

function same(one: Size, other: Size): boolean {
  return (
    one.columns === other.columns &&
    one.rows === other.rows &&
    one.xPixels === other.xPixels &&
    one.yPixels === other.yPixels
  );
}

export class SharedSize {
  /** Whether the terminal has the size of somebody else's window. */
  foreign = false;

  constructor(
    private readonly term: Terminal,
    private readonly fit: FitAddon,
    private readonly screen: HTMLElement,
    private readonly settings: { fontSize: number },
  ) {}

  /**
   * The terminal has this size. It may be our own that we told, where we were told another's meanwhile: what both
   * windows did has crossed.
   */
  sized(size: Size, own?: Size): void {
    if (own !== undefined && same(size, own)) {
      this.claim();
      return;
    }
    this.foreign = true;
    this.term.resize(size.columns, size.rows);
    requestAnimationFrame(() => this.refit());
  }

  /** The window, or the font, has another size. */
  refit(): void {
    if (this.foreign) fitFont(this.term, this.screen, LEAST_PX, this.settings.fontSize);
    else this.fit.fit();
    this.mark();
  }

  /** The terminal is ours from now on; whether it was not. */
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
