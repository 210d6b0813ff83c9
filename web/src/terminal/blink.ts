/**
 * The cursor's blinking. xterm.js has an animation for it, and a browser draws the page at each frame of its display for
 * one, whatever it changes: for as long as somebody looks on, and before each letter. Here a class is set and removed twice
 * a second; terminal.css says what it takes away, from a cursor that is to blink by the options or the program.
 */

import type { Terminal } from "@xterm/xterm";

const PHASE_MS = 500;
const CLASS = "cursor-off";

/** Of a terminal that is open. It is seen wherever something is typed or the cursor moves, and steadily without focus. */
export function blink(term: Pick<Terminal, "element" | "textarea" | "onKey" | "onCursorMove">, still: { readonly matches: boolean }): void {
  const marked = term.element?.classList;
  let timer: ReturnType<typeof setInterval> | undefined;
  let focused = document.activeElement === term.textarea;
  const rest = () => {
    clearInterval(timer);
    marked?.remove(CLASS);
  };
  const begin = () => {
    rest();
    if (focused) timer = setInterval(() => marked?.toggle(CLASS, !still.matches && !marked.contains(CLASS)), PHASE_MS);
  };
  term.textarea?.addEventListener("focus", () => {
    focused = true;
    begin();
  });
  term.textarea?.addEventListener("blur", () => {
    focused = false;
    rest();
  });
  term.onKey(begin);
  term.onCursorMove(begin);
  begin();
}
