/** That somebody only watches a terminal, kept for this tab: a page that is loaded again, or a tab that is duplicated,
 * must not type by surprise. */

const WATCHES = "watch";

function key(app: string, terminal: string): string {
  return `stagedoor.watch.${app}.${terminal}`;
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
      sessionStorage.removeItem(`stagedoor.at.${app}.${terminal}`);
    } catch {
      // nothing was kept
    }
    again();
  });
  beside.before(button);
}
