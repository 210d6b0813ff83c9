/**
 * The tabs of the bar: the terminals of the app that this browser's tab has opened, so that one click leads back. The
 * list of all terminals is a dialog, since the gateway has to ask the shell for it.
 */
import { createElement, getElement } from "../page";
import { readNames, store } from "../storage";

const MAX_TABS = 6;

function makeKey(app: string): string {
  return `stagedoor.tabs.${app}`;
}

function keep(app: string, names: string[]): void {
  store("sessionStorage", makeKey(app), JSON.stringify(names));
}

/** Show the tabs, `terminal` as the open one. `go` is called before a click on another one leads there. */
export function showTabs(app: string, terminal: string, go: () => void): void {
  const before = readNames("sessionStorage", makeKey(app));
  const names = before.includes(terminal) ? before : [...before, terminal].slice(-MAX_TABS);
  keep(app, names);
  const here = getElement("terminal-name");
  for (const name of names) {
    if (name === terminal) continue;
    const link = createElement("a", name, { href: `${location.pathname}?terminal=${encodeURIComponent(name)}` });
    link.addEventListener("click", go);
    if (names.indexOf(name) < names.indexOf(terminal)) here.before(link);
    else getElement("terminals").before(link);
  }
}

/** Remove the tab of a terminal that has ended. */
export function dropTab(app: string, terminal: string): void {
  keep(app, readNames("sessionStorage", makeKey(app)).filter((name) => name !== terminal));
}
