/**
 * The search in the terminal's output, by the form over the terminal. A tmux keeps its lines to itself, so they are
 * asked for, and searched in a terminal of their own.
 */

import { SearchAddon } from "@xterm/addon-search";
import { Terminal } from "@xterm/xterm";
import { t } from "../language";
import { copy, createElement, describeError, getElement, showPassing } from "../page";

const MAX_MATCHES = 1000;
const HISTORY_LINES = 10_000;
const MARKS = {
  decorations: { matchOverviewRuler: "#e8b04a", activeMatchColorOverviewRuler: "#ff8790", matchBackground: "#6b4e16", activeMatchBackground: "#a3701a" },
};

/**
 * Set up the search and return a function that opens its form. `fetchLines` returns the lines of the tmux that the terminal
 * shows, or "" if it shows none.
 */
export function setUpSearch(term: Terminal, screen: HTMLElement, fetchLines: () => Promise<string>): () => void {
  const own = addTo(term);
  let addon = own;
  let past: Terminal | undefined;
  const form = getElement<HTMLFormElement>("search");
  const find = getElement<HTMLInputElement>("find");

  const count = getElement("found");

  /** Go to a result, and show how many there are. */
  function go(to: "findNext" | "findPrevious", incremental = false): void {
    const has = (name: string): boolean => form.querySelector<HTMLInputElement>(`[name=${name}]`)?.checked === true;
    try {
      const isFound = addon[to](find.value, { ...MARKS, incremental, caseSensitive: has("case"), wholeWord: has("word"), regex: has("regex") });
      if (!isFound) count.textContent = find.value === "" ? "" : t`none`;
    } catch {
      count.textContent = t`not a pattern`; // an expression that is not complete yet
    }
  }

  /** Give a terminal a search of its own. */
  function addTo(searched: Terminal): SearchAddon {
    const added = new SearchAddon({ highlightLimit: MAX_MATCHES });
    searched.loadAddon(added);
    added.onDidChangeResults(({ resultIndex, resultCount }) => {
      // The add-on counts a moment after it has found, and says 0 until then.
      if (added !== addon || resultCount === 0) return;
      const all = resultCount >= MAX_MATCHES ? t`${MAX_MATCHES} or more` : String(resultCount);
      count.textContent = resultIndex < 0 ? all : t`${resultIndex + 1} of ${all}`;
    });
    return added;
  }

  /** Search the tmux that the terminal shows, if it shows one, from now on. */
  async function lookBack(): Promise<void> {
    const text = await fetchLines();
    if (text === "" || form.hidden || past !== undefined) return;
    own.clearDecorations();
    past = showHistory(term, screen, text, close);
    addon = addTo(past);
    past.write("", () => go("findPrevious", true)); // once it is all drawn
  }

  function close(): void {
    form.hidden = true;
    own.clearDecorations();
    past?.dispose();
    [past, addon] = [undefined, own];
    term.focus();
  }

  // The newest comes first.
  find.addEventListener("input", () => go("findPrevious", true));
  form.addEventListener("change", ({ target }) => {
    if (target === find) return; // Enter in the field is a change as well
    addon.clearDecorations(); // the add-on sees no change of its options
    go("findPrevious", true);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go("findPrevious");
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      go("findNext");
    }
  });
  getElement("next").addEventListener("click", () => go("findNext"));
  getElement("close-search").addEventListener("click", close);

  return () => {
    form.hidden = false;
    if (term.buffer.active.type === "alternate")
      lookBack().catch((error: unknown) => showPassing(t`Only the screen is searched: ${describeError(error)}`));
    find.focus();
    find.select();
  };
}

/**
 * Draw `text`, the last lines of a tmux with their colours, over `screen`. The programs in the tmux, and other people, see
 * nothing of it. Escape calls `leave`; dispose of the result to remove it.
 */
function showHistory(term: Terminal, screen: HTMLElement, text: string, leave: () => void): Terminal {
  const past = new Terminal({ ...term.options, cols: term.cols, rows: term.rows, cursorBlink: false, disableStdin: true, screenReaderMode: false, scrollback: HISTORY_LINES });
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
