/**
 * This tab's memory of how it was attached to a terminal, so that a reloaded page or a duplicated tab does not type by
 * surprise. A duplicated tab begins with a copy of the first one's memory at that moment.
 */
import { t } from "../language";
import { createButton } from "../page";
import { readStored, store } from "../storage";

const WATCHES = "watch";
/** The most time that a reload takes, even on the slowest line. */
const AGAIN_MS = 30_000;

function makeKey(app: string, terminal: string): string {
  return `stagedoor.watch.${app}.${terminal}`;
}

function leftKey(app: string, terminal: string): string {
  return `stagedoor.left.${app}.${terminal}`;
}

/** Note that the page is left now, and that this tab could type. */
export function noteLeft(app: string, terminal: string): void {
  store("sessionStorage", leftKey(app, terminal), String(Date.now()));
}

/** Return whether this tab has just left, and forget it: a client at the terminal may be its own earlier page. */
export function takeRecentVisit(app: string, terminal: string): boolean {
  const left = Number(readStored("sessionStorage", leftKey(app, terminal)));
  store("sessionStorage", leftKey(app, terminal), "");
  return Date.now() - left < AGAIN_MS;
}

/** Return whether this tab only watches a terminal. */
export function isWatching(app: string, terminal: string): boolean {
  return readStored("sessionStorage", makeKey(app, terminal)) === WATCHES;
}

/** Remember that this tab only watches, and show a button that ends this, so that the page asks again. */
export function keepWatching(app: string, terminal: string, beside: HTMLElement, again: () => void): void {
  store("sessionStorage", makeKey(app, terminal), WATCHES);
  const stop = (): void => {
    store("sessionStorage", makeKey(app, terminal), "");
    again();
  };
  beside.before(createButton(t`Type…`, stop, { id: "stop-watching", title: t`Stop watching, and choose again` }));
}
