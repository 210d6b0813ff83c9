/** Draws what `Prediction` returns over the terminal: underlined letters, and the cursor behind them. */

import type { Terminal } from "@xterm/xterm";
import { Prediction, type Overlay, type Screen } from "./prediction";
import { createElement } from "../page";

export class LocalEcho {
  private readonly prediction = new Prediction();
  private readonly drawn = createElement("div", "", { id: "predicted" });
  private timer: ReturnType<typeof setTimeout> | undefined;
  private overlay: Overlay | undefined;

  /** `mayEcho` returns whether the present program may echo what is typed. */
  constructor(
    private readonly term: Terminal,
    private readonly settings: { localEcho: boolean },
    private readonly mayEcho: () => boolean,
  ) {
    this.drawn.ariaHidden = "true";
    this.drawn.hidden = true;
    // xterm.js reports each line of output: with nothing drawn, even an element that is looked up would slow a flood.
    term.onScroll(() => {
      if (this.overlay !== undefined) this.cover(this.overlay);
    });
  }

  /** Note input, which ends at the offset `end`. */
  noteInput(data: Uint8Array, end: number): void {
    this.prediction.noteInput(data, end, performance.now(), this.readScreen());
    this.draw();
  }

  /** Note that the terminal has taken the input up to the offset `to`. */
  noteTaken(to: number): void {
    this.prediction.noteTaken(to, performance.now());
    this.draw();
  }

  /** Note that output was drawn. */
  noteOutput(): void {
    this.prediction.noteOutput(performance.now(), this.readScreen());
    this.draw();
  }

  /** Forget all input. */
  reset(): void {
    this.prediction.reset();
    this.draw();
  }

  private readScreen(): Screen {
    const buffer = this.term.buffer.active;
    return {
      columns: this.term.cols,
      x: buffer.cursorX,
      y: buffer.baseY + buffer.cursorY,
      echoes: this.settings.localEcho && this.mayEcho(),
      at: (x, y) => buffer.getLine(y)?.getCell(x)?.getChars() || " ",
    };
  }

  private draw(): void {
    clearTimeout(this.timer);
    const { wakeAt } = this.prediction;
    if (wakeAt !== undefined)
      this.timer = setTimeout(() => {
        this.prediction.look(performance.now(), this.readScreen());
        this.draw();
      }, Math.max(0, wakeAt - performance.now()) + 1);
    this.overlay = this.prediction.makeOverlay();
    if (this.overlay === undefined) this.drawn.hidden = true;
    else this.cover(this.overlay);
  }

  private cover(overlay: Overlay): void {
    const place = this.term.element?.querySelector<HTMLElement>(".xterm-screen");
    const row = overlay.y - this.term.buffer.active.viewportY;
    this.drawn.hidden = row < 0 || row >= this.term.rows;
    if (this.drawn.hidden || !place) return;
    const { theme = {}, fontFamily = "", fontSize = 0 } = this.term.options;
    const [width, height] = [place.offsetWidth / this.term.cols, place.offsetHeight / this.term.rows];
    const cell = (text: string, x: number): HTMLElement => {
      const span = createElement("span", text);
      Object.assign(span.style, { left: `${x * width}px`, width: `${width}px` });
      return span;
    };
    const cursor = cell("", overlay.cursor);
    cursor.style.backgroundColor = theme.cursor ?? "currentcolor";
    Object.assign(this.drawn.style, {
      top: `${row * height}px`, height: `${height}px`, lineHeight: `${height}px`,
      color: theme.foreground ?? "", fontFamily, fontSize: `${fontSize}px`,
    });
    this.drawn.style.setProperty("--under", theme.background ?? "");
    this.drawn.replaceChildren(...[...overlay.text].map((char, at) => cell(char, overlay.x + at)), cursor);
    if (this.drawn.parentElement !== place) place.append(this.drawn);
  }
}
