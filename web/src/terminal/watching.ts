/**
 * What this tab remembers of how it was at a terminal: a page that is loaded again, or a tab that is duplicated, must
 * not type by surprise. A duplicated tab begins with a copy of what the first one keeps at that moment.
 */

const WATCHES = "watch";
/** A page that is loaded again comes sooner than this after the one before it, on the slowest line as well. */
const AGAIN_MS = 30_000;

function key(app: string, terminal: string): string {
  return `stagedoor.watch.${app}.${terminal}`;
}

function leftKey(app: string, terminal: string): string {
  return `stagedoor.left.${app}.${terminal}`;
}

/** The page goes, and this tab could type here until now. */
export function leave(app: string, terminal: string): void {
  try {
    sessionStorage.setItem(leftKey(app, terminal), String(Date.now()));
  } catch {
    // then the next page may ask once more
  }
}

/** Whether this tab has just left: what is found at the terminal may be its own page. Told once. */
export function wasHere(app: string, terminal: string): boolean {
  try {
    const left = Number(sessionStorage.getItem(leftKey(app, terminal)) ?? 0);
    sessionStorage.removeItem(leftKey(app, terminal));
    return Date.now() - left < AGAIN_MS;
  } catch {
    return false;
  }
}

export function watches(app: string, terminal: string): boolean {
  try {
    return sessionStorage.getItem(key(app, terminal)) === WATCHES;
  } catch {
    return false;
  }
}

/** Keep it, and offer to end it: then the page asks again. */
export function keepWatching(app: string, terminal: string, beside: HTMLElement, again: () => void): void {
  try {
    sessionStorage.setItem(key(app, terminal), WATCHES);
  } catch {
    // then it lasts until the page is loaded again
  }
  const button = document.createElement("button");
  button.type = "button";
  button.id = "stop-watching";
  button.textContent = "Type…";
  button.title = "Stop only watching, and choose again";
  button.addEventListener("click", () => {
    try {
      sessionStorage.removeItem(key(app, terminal));
    } catch {
      // nothing was kept
    }
    again();
  });
  beside.before(button);
}
