/**
 * How often xterm.js draws. In a flood of output it draws at each frame of the display and moves its hidden input along,
 * and whenever lines scroll it draws once more, for a selection that is not there. That is most of the work, for
 * pictures that nobody can read. Names with an underscore are xterm.js's own: where they are no more, it draws as it likes.
 */

import type { Terminal } from "@xterm/xterm";

/** Beyond so much new output since the last picture, the next one waits. */
const FLOOD_BYTES = 16 * 1024;
/** So long. */
const FLOOD_MS = 50;

interface Frames {
  requestAnimationFrame(draw: FrameRequestCallback): number;
  cancelAnimationFrame(handle: number): void;
}

interface Core {
  _syncTextArea(): void;
  _selectionService: { readonly hasSelection: boolean; refresh(byMouse?: boolean): void };
  _renderService: { _renderDebouncer: { _coreBrowserService: { window: Frames } } };
}

/** Of a terminal that is open. What comes back is to be told how many bytes are written, each time. */
export function pace(term: Terminal): (bytes: number) => void {
  const core = (term as unknown as { _core?: Partial<Core> })._core;
  const selection = core?._selectionService;
  const debouncer = core?._renderService?._renderDebouncer;
  const place = core?._syncTextArea?.bind(core);
  if (core === undefined || selection === undefined || debouncer?._coreBrowserService === undefined || place === undefined)
    return () => undefined;

  const refresh = selection.refresh.bind(selection);
  let selected = false;
  selection.refresh = (byMouse) => {
    if (selection.hasSelection || selected) refresh(byMouse);
    selected = selection.hasSelection;
  };

  let [fresh, drawnAt, moved] = [0, 0, false];
  const next = (draw: FrameRequestCallback) =>
    requestAnimationFrame((at) => {
      drawnAt = performance.now();
      fresh = 0;
      draw(at);
      if (moved) place();
      moved = false;
    });
  core._syncTextArea = () => {
    moved = true;
  };
  debouncer._coreBrowserService = {
    window: {
      requestAnimationFrame: (draw) => {
        const wait = drawnAt + FLOOD_MS - performance.now();
        if (fresh < FLOOD_BYTES || wait <= 0) return next(draw);
        setTimeout(() => next(draw), wait);
        return -1; // what is asked is only whether a picture is on its way
      },
      // Asked for when the terminal is disposed of, which this page never does.
      cancelAnimationFrame: () => undefined,
    },
  };
  return (bytes) => {
    fresh += bytes;
  };
}
