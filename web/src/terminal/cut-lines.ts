/** Cuts the lines of a full-screen program when its terminal becomes narrower. */

import type { Terminal } from "@xterm/xterm";

interface Lines {
  readonly length: number;
  get(at: number): { resize(columns: number, fill: unknown): boolean } | undefined;
}

interface Core {
  _bufferService: { buffers: { alt: { lines: Lines; getNullCell(): unknown } } };
}

/**
 * Cut the lines of the alternate screen when the terminal becomes narrower. xterm.js cuts only those of the normal
 * screen, and would draw and copy the rest. Names with an underscore are its own; if they are missing, nothing is cut.
 */
export function cutLines(term: Terminal): void {
  const full = (term as unknown as { _core?: Partial<Core> })._core?._bufferService?.buffers?.alt;
  if (full?.getNullCell === undefined) return;
  term.onResize(({ cols }) => {
    for (let at = 0; at < full.lines.length; at++) full.lines.get(at)?.resize(cols, full.getNullCell());
  });
}
