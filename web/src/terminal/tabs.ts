/**
 * The tabs of the bar: the terminals of the app that this browser's tab has opened, so that one click leads back. The
 * list of all terminals is a dialog, since the gateway has to ask the shell for it.
 */
import { createElement, element } from "../page";

const MOST = 6;

function key(app: string): string {
  return `stagedoor.tabs.${app}`;
}

function kept(app: string): string[] {
  try {
    const names = JSON.parse(sessionStorage.getItem(key(app)) ?? "[]") as unknown;
    return Array.isArray(names) ? names.filter((name) => typeof name === "string") : [];
  } catch {
    return []; // storage may be forbidden
  }
}

function keep(app: string, names: string[]): void {
  try {
    sessionStorage.setItem(key(app), JSON.stringify(names));
  } catch {
    // Then there is one tab.
  }
}

/** Show the tabs, `terminal` as the open one. `go` is called before a click on another one leads there. */
export function showTabs(app: string, terminal: string, go: () => void): void {
  const before = kept(app);
  const names = before.includes(terminal) ? before : [...before, terminal].slice(-MOST);
  keep(app, names);
  const here = element("terminal-name");
  for (const name of names) {
    if (name === terminal) continue;
    const link = createElement("a", name, { href: `${location.pathname}?terminal=${encodeURIComponent(name)}` });
    link.addEventListener("click", go);
    if (names.indexOf(name) < names.indexOf(terminal)) here.before(link);
    else element("terminals").before(link);
  }
}

/** Remove the tab of a terminal that has ended. */
export function dropTab(app: string, terminal: string): void {
  keep(app, kept(app).filter((name) => name !== terminal));
}
