/**
 * A limit on how often xterm.js draws. In a flood of output it draws at each frame of the display and moves its hidden
 * input along, and when lines scroll it draws again for a selection that does not exist. That is most of the work, for
 * pictures too fast to read. Names with an underscore are xterm.js's own; if they are missing, it draws without a limit.
 */

import type { Terminal } from "@xterm/xterm";

/** The new output since the last picture from which on the next picture waits. */
const FLOOD_BYTES = 16 * 1024;
/** The time from one picture to the next in a flood. */
const FLOOD_MS = 50;
/** How long after a key pictures do not wait, so that the user sees its effect, above all that of Ctrl-C. */
const KEY_MS = 250;

export interface Pace {
  /** Note that output was written. */
  noteOutput(bytes: number): void;
  /** Note that the user has typed. */
  noteInput(): void;
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

/** Limit the drawing of an open terminal. The caller reports output and input to the result. */
export function pace(term: Terminal): Pace {
  const core = (term as unknown as { _core?: Partial<Core> })._core;
  const selection = core?._selectionService;
  const debouncer = core?._renderService?._renderDebouncer;
  const place = core?._syncTextArea?.bind(core);
  if (core === undefined || selection === undefined || debouncer?._coreBrowserService === undefined || place === undefined)
    return { noteOutput: () => undefined, noteInput: () => undefined };

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
        return -1; // xterm.js only checks whether a picture is pending
      },
      // Called when the terminal is disposed of, which this page never does.
      cancelAnimationFrame: () => undefined,
    },
  };
  return {
    noteOutput: (bytes) => {
      fresh += bytes;
    },
    noteInput: () => {
      typedAt = performance.now();
      release();
    },
  };
}
