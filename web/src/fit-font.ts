/** Drawing a screen of a given size as large as there is room. */

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
