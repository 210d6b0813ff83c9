/**
 * This tab's memory of how it was attached to a terminal, so that a reloaded page or a duplicated tab does not type by
 * surprise. A duplicated tab begins with a copy of the first one's memory at that moment.
 */
import { t } from "../language";

const WATCHES = "watch";
/** The most time that a reload takes, even on the slowest line. */
const AGAIN_MS = 30_000;

function key(app: string, terminal: string): string {
  return `stagedoor.watch.${app}.${terminal}`;
}

function leftKey(app: string, terminal: string): string {
  return `stagedoor.left.${app}.${terminal}`;
}

/** Note that the page is left now, and that this tab could type. */
export function leave(app: string, terminal: string): void {
  try {
    sessionStorage.setItem(leftKey(app, terminal), String(Date.now()));
  } catch {
    // Then the next page may ask how to attach.
  }
}

/** Return, once, whether this tab has just left: a client at the terminal may then be its own earlier page. */
export function wasHere(app: string, terminal: string): boolean {
  try {
    const left = Number(sessionStorage.getItem(leftKey(app, terminal)) ?? 0);
    sessionStorage.removeItem(leftKey(app, terminal));
    return Date.now() - left < AGAIN_MS;
  } catch {
    return false;
  }
}

/** Return whether this tab only watches a terminal. */
export function watches(app: string, terminal: string): boolean {
  try {
    return sessionStorage.getItem(key(app, terminal)) === WATCHES;
  } catch {
    return false;
  }
}

/** Remember that this tab only watches, and show a button that ends this, so that the page asks again. */
export function keepWatching(app: string, terminal: string, beside: HTMLElement, again: () => void): void {
  try {
    sessionStorage.setItem(key(app, terminal), WATCHES);
  } catch {
    // Then it lasts until a reload.
  }
  const button = document.createElement("button");
  button.type = "button";
  button.id = "stop-watching";
  button.textContent = t`Type…`;
  button.title = t`Stop only watching, and choose again`;
  button.addEventListener("click", () => {
    try {
      sessionStorage.removeItem(key(app, terminal));
    } catch {
      // Nothing was stored.
    }
    again();
  });
  beside.before(button);
}
