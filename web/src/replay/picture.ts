/** A terminal's screen as text that redraws it, so that a recording need not be played from its start. */

import type { SerializeAddon } from "@xterm/addon-serialize";
import type { Terminal } from "@xterm/xterm";
import { SequenceState } from "./cast";

/** A screen to redraw, with the last lines above it. */
export interface Picture {
  columns: number;
  rows: number;
  text: string;
}

const SCROLLBACK = 200;
const MAX_CHARS = 512 * 1024;

type Buffer = "normal" | "alternate";
type Screen = Pick<Terminal, "parser" | "buffer" | "modes" | "cols" | "rows" | "write" | "resize" | "reset" | "onResize">;

export class Painter {
  /** State that the add-on does not serialize: the scrolling region of each buffer, and the character set. */
  private margins: Record<Buffer, string> = { normal: "", alternate: "" };
  private charset = "";
  private sequence = new SequenceState();

  constructor(
    private readonly term: Screen,
    private readonly addon: Pick<SerializeAddon, "serialize">,
  ) {
    const { parser } = term;
    parser.registerCsiHandler({ final: "r" }, (numbers) => {
      this.margins[term.buffer.active.type] = `\x1b[${numbers.map((value) => (Array.isArray(value) ? 0 : value) || "").join(";")}r`;
      return false;
    });
    for (const final of "0AB")
      parser.registerEscHandler({ intermediates: "(", final }, () => {
        this.charset = final === "B" ? "" : `\x1b(${final}`;
        return false;
      });
    const forget = (): boolean => {
      this.forget();
      return false;
    };
    parser.registerEscHandler({ final: "c" }, forget);
    parser.registerCsiHandler({ intermediates: "!", final: "p" }, forget);
    term.onResize(() => (this.margins = { normal: "", alternate: "" }));
  }

  /** Write text and wait until it is processed. */
  write(text: string): Promise<void> {
    this.sequence.feed(text);
    return new Promise((resolve) => this.term.write(text, resolve));
  }

  resize(columns: number, rows: number): void {
    this.term.resize(columns, rows);
  }

  /** Return the present screen, or undefined if text cannot express it, such as in the middle of a sequence. */
  capture(): Picture | undefined {
    const { buffer, cols, rows, modes } = this.term;
    const { cursorX, cursorY, type } = buffer.active;
    if (!this.sequence.clean || cursorX >= cols || modes.originMode) return undefined;
    if (type === "alternate" && this.margins.normal) return undefined;
    let text = this.addon.serialize({ scrollback: SCROLLBACK });
    if (this.margins[type]) text += `${this.margins[type]}\x1b[${cursorY + 1};${cursorX + 1}H`;
    text += this.charset;
    return text.length > MAX_CHARS ? undefined : { columns: cols, rows, text };
  }

  /** Clear the terminal and draw `picture`. */
  async show(picture: Picture): Promise<void> {
    this.term.reset();
    this.forget();
    this.sequence = new SequenceState();
    this.term.resize(picture.columns, picture.rows);
    await this.write(picture.text);
  }

  private forget(): void {
    this.margins = { normal: "", alternate: "" };
    this.charset = "";
  }
}
