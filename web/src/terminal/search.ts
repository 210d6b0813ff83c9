/** The search in the terminal's output, by the form below the terminal. */

import { SearchAddon } from "@xterm/addon-search";
import type { Terminal } from "@xterm/xterm";
import { element } from "../page";

const MARKS = {
  decorations: { matchOverviewRuler: "#e8b04a", activeMatchColorOverviewRuler: "#ff8790", matchBackground: "#6b4e16", activeMatchBackground: "#a3701a" },
};

/** Set up the search and return a function that opens its form. */
export function search(term: Terminal): () => void {
  const addon = new SearchAddon();
  term.loadAddon(addon);
  const form = element<HTMLFormElement>("search");
  const find = element<HTMLInputElement>("find");

  function close(): void {
    form.hidden = true;
    addon.clearDecorations();
    term.focus();
  }

  find.addEventListener("input", () => addon.findNext(find.value, { ...MARKS, incremental: true }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    addon.findNext(find.value, MARKS);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      addon.findPrevious(find.value, MARKS);
    }
  });
  element("previous").addEventListener("click", () => addon.findPrevious(find.value, MARKS));
  element("close-search").addEventListener("click", close);

  return () => {
    form.hidden = false;
    find.focus();
    find.select();
  };
}
