/**
 * The cursor's blinking. xterm.js uses an animation, for which a browser draws the page at each frame of the display
 * while the page is visible. Here a class is set and removed twice a second instead; terminal.css hides the cursor by it,
 * if the options or the program make the cursor blink.
 */

import type { Terminal } from "@xterm/xterm";

const PHASE_MS = 500;
const CLASS = "cursor-off";

/** Let an open terminal's cursor blink. It is visible after each key or move, and does not blink without the focus. */
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
