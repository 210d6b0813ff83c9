/** The search in the terminal's output, by the form below the terminal. */

import { SearchAddon } from "@xterm/addon-search";
import type { Terminal } from "@xterm/xterm";
import { t } from "../language";
import { element } from "../page";

const MOST = 1000;
const MARKS = {
  decorations: { matchOverviewRuler: "#e8b04a", activeMatchColorOverviewRuler: "#ff8790", matchBackground: "#6b4e16", activeMatchBackground: "#a3701a" },
};

/** Set up the search and return a function that opens its form. */
export function search(term: Terminal): () => void {
  const addon = new SearchAddon({ highlightLimit: MOST });
  term.loadAddon(addon);
  const form = element<HTMLFormElement>("search");
  const find = element<HTMLInputElement>("find");

  const count = element("found");

  /** Go to a result, and show how many there are. */
  function go(to: "findNext" | "findPrevious", incremental = false): void {
    const has = (name: string): boolean => form.querySelector<HTMLInputElement>(`[name=${name}]`)?.checked === true;
    try {
      addon[to](find.value, { ...MARKS, incremental, caseSensitive: has("case"), wholeWord: has("word"), regex: has("regex") });
    } catch {
      count.textContent = t`not a pattern`; // an expression that is not complete yet
    }
  }

  addon.onDidChangeResults(({ resultIndex, resultCount }) => {
    const all = resultCount >= MOST ? t`${MOST} or more` : String(resultCount);
    count.textContent = find.value === "" ? "" : resultCount === 0 ? t`none` : resultIndex < 0 ? all : t`${resultIndex + 1} of ${all}`;
  });

  function close(): void {
    form.hidden = true;
    addon.clearDecorations();
    term.focus();
  }

  find.addEventListener("input", () => go("findNext", true));
  form.addEventListener("change", () => go("findNext", true));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go("findNext");
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      go("findPrevious");
    }
  });
  element("previous").addEventListener("click", () => go("findPrevious"));
  element("close-search").addEventListener("click", close);

  return () => {
    form.hidden = false;
    find.focus();
    find.select();
  };
}
