/** The last lines of a tmux, drawn over the terminal while they are searched. What runs in the tmux, and other people, see nothing of it. */

import { Terminal } from "@xterm/xterm";
import { copy, createElement } from "../page";

const LINES = 10_000;

/** Draw `text`, lines of tmux with their colours, as `term` would over `screen`; `leave` is called at Escape. Dispose of the result to remove it. */
export function showHistory(term: Terminal, screen: HTMLElement, text: string, leave: () => void): Terminal {
  const past = new Terminal({ ...term.options, cols: term.cols, rows: term.rows, cursorBlink: false, disableStdin: true, screenReaderMode: false, scrollback: LINES });
  const place = createElement("div", "", { id: "history" });
  place.style.backgroundColor = term.options.theme?.background ?? "";
  screen.append(place);
  past.loadAddon({ activate: () => undefined, dispose: () => place.remove() });
  past.open(place);
  past.attachCustomKeyEventHandler((event) => {
    if (event.type === "keydown" && event.key === "Escape") leave();
    if (event.type === "keydown" && event.ctrlKey && event.shiftKey && event.code === "KeyC") {
      event.preventDefault();
      void copy(past.getSelection());
    }
    return false;
  });
  past.write(`\x1b[?25l${text.trimEnd().replaceAll("\n", "\r\n")}`);
  return past;
}
