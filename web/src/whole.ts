/** A screen that is as large as somebody else has it, shown as large as there is room. */

import type { Terminal } from "@xterm/xterm";

/** Make the font so large that the whole screen fits into `place`: from `least` to `most` pixels. */
export function fitFont(term: Terminal, place: HTMLElement, least: number, most: number): void {
  const drawn = place.querySelector<HTMLElement>(".xterm-screen");
  if (drawn === null || drawn.clientWidth === 0) return;
  const { paddingLeft, paddingRight, paddingTop, paddingBottom } = getComputedStyle(place);
  const wide = place.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
  const high = place.clientHeight - parseFloat(paddingTop) - parseFloat(paddingBottom);
  const scale = Math.min(wide / drawn.clientWidth, high / drawn.clientHeight);
  const goesIn = (size: number) => {
    if (size !== term.options.fontSize) term.options.fontSize = size;
    return drawn.clientHeight <= high && drawn.clientWidth <= wide;
  };
  // A cell is of whole pixels: half a pixel of the font may make each row one higher, or none.
  let size = Math.max(least, Math.min(most, Math.floor(Number(term.options.fontSize) * scale * 2) / 2));
  while (!goesIn(size) && size > least) size -= 0.5;
  while (size < most && goesIn(size + 0.5)) size += 0.5;
  goesIn(size);
}

interface Lines {
  readonly length: number;
  get(at: number): { resize(columns: number, fill: unknown): boolean } | undefined;
}

interface Core {
  _bufferService: { buffers: { alt: { lines: Lines; getNullCell(): unknown } } };
}

/**
 * Cut the lines of a full-screen program when the terminal becomes narrower. xterm.js does so for all others only, and
 * draws and copies what is beyond. Names with an underscore are its own: where they are no more, it does as it did.
 */
export function cutLines(term: Terminal): void {
  const full = (term as unknown as { _core?: Partial<Core> })._core?._bufferService?.buffers?.alt;
  if (full?.getNullCell === undefined) return;
  term.onResize(({ cols }) => {
    for (let at = 0; at < full.lines.length; at++) full.lines.get(at)?.resize(cols, full.getNullCell());
  });
}
