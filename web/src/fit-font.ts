/** The font size at which a screen of a given size fills its place. */

import type { Terminal } from "@xterm/xterm";

/** Set the largest font size, from `least` to `most` pixels, at which the whole screen fits into `place`. */
export function fitFont(term: Terminal, place: HTMLElement, least: number, most: number): void {
  const drawn = place.querySelector<HTMLElement>(".xterm-screen");
  if (drawn === null || drawn.clientWidth === 0) return;
  const { paddingLeft, paddingRight, paddingTop, paddingBottom } = getComputedStyle(place);
  const wide = place.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
  const high = place.clientHeight - parseFloat(paddingTop) - parseFloat(paddingBottom);
  const scale = Math.min(wide / drawn.clientWidth, high / drawn.clientHeight);
  const fits = (size: number) => {
    if (size !== term.options.fontSize) term.options.fontSize = size;
    return drawn.clientHeight <= high && drawn.clientWidth <= wide;
  };
  // Cells have whole pixels, so half a pixel of the font may or may not make each row one pixel higher.
  let size = Math.max(least, Math.min(most, Math.floor(Number(term.options.fontSize) * scale * 2) / 2));
  while (!fits(size) && size > least) size -= 0.5;
  while (size < most && fits(size + 0.5)) size += 0.5;
  fits(size);
}
