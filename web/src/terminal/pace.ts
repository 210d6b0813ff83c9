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
/** After a key nothing waits for so long: somebody looks for what it does, a Ctrl-C above all. */
const KEY_MS = 250;

export interface Pace {
  /** So many bytes are written. */
  wrote(bytes: number): void;
  /** Somebody has typed. */
  typed(): void;
}

interface Frames {
  requestAnimationFrame(draw: FrameRequestCallback): number;
  cancelAnimationFrame(handle: number): void;
}

interface Core {
  _syncTextArea(): void;
  _selectionService: { readonly hasSelection: boolean; refresh(byMouse?: boolean): void };
  _renderService: { _renderDebouncer: { _coreBrowserService: { window: Frames } } };
}

/** Of a terminal that is open; what comes back is to be told what happens. */
export function pace(term: Terminal): Pace {
  const core = (term as unknown as { _core?: Partial<Core> })._core;
  const selection = core?._selectionService;
  const debouncer = core?._renderService?._renderDebouncer;
  const place = core?._syncTextArea?.bind(core);
  if (core === undefined || selection === undefined || debouncer?._coreBrowserService === undefined || place === undefined)
    return { wrote: () => undefined, typed: () => undefined };

  const refresh = selection.refresh.bind(selection);
  let selected = false;
  selection.refresh = (byMouse) => {
    if (selection.hasSelection || selected) refresh(byMouse);
    selected = selection.hasSelection;
  };

  let [fresh, drawnAt, typedAt, moved] = [0, 0, -KEY_MS, false];
  let held: { draw: FrameRequestCallback; timer: ReturnType<typeof setTimeout> } | undefined;
  const next = (draw: FrameRequestCallback) =>
    requestAnimationFrame((at) => {
      drawnAt = performance.now();
      fresh = 0;
      draw(at);
      if (moved) place();
      moved = false;
    });
  const release = () => {
    if (held === undefined) return;
    clearTimeout(held.timer);
    next(held.draw);
    held = undefined;
  };
  core._syncTextArea = () => {
    moved = true;
  };
  debouncer._coreBrowserService = {
    window: {
      requestAnimationFrame: (draw) => {
        const now = performance.now();
        const wait = drawnAt + FLOOD_MS - now;
        if (fresh < FLOOD_BYTES || wait <= 0 || now - typedAt < KEY_MS) return next(draw);
        held = { draw, timer: setTimeout(release, wait) };
        return -1; // what is asked is only whether a picture is on its way
      },
      // Asked for when the terminal is disposed of, which this page never does.
      cancelAnimationFrame: () => undefined,
    },
  };
  return {
    wrote: (bytes) => {
      fresh += bytes;
    },
    typed: () => {
      typedAt = performance.now();
      release();
    },
  };
}
