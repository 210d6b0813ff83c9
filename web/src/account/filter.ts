/** The home page's filter of apps, and the keys to move through them. */

/** Return whether a name contains all typed words, in any order and case. */
export function matches(name: string, typed: string): boolean {
  const words = typed.toLowerCase().split(/\s+/).filter((word) => word !== "");
  return words.every((word) => name.toLowerCase().includes(word));
}

/** Return a line on how many apps are visible. */
export function counted(seen: number, all: number): string {
  if (seen === all) return `${all} apps`;
  return seen === 0 ? `none of ${all} apps` : `${seen} of ${all} apps`;
}

const WRITES = "input, textarea, select, [contenteditable]";

/** Set up the filter, if the page has one. */
export function filter(): void {
  const form = document.querySelector<HTMLFormElement>("#filter:not([data-few])");
  const box = document.querySelector<HTMLInputElement>("#wanted");
  const count = document.getElementById("matches");
  if (form === null || box === null || count === null) return;
  const rows = [...document.querySelectorAll<HTMLElement>("ul.apps > li")];
  form.hidden = false;

  const seen = (): HTMLElement[] => rows.filter((row) => !row.hidden);
  const entry = (row: HTMLElement | undefined): HTMLElement | null =>
    row?.querySelector<HTMLElement>(".open a") ?? row?.querySelector<HTMLElement>("a, button:not([hidden])") ?? null;

  const draw = (): void => {
    for (const row of rows) row.hidden = !matches(row.dataset.name ?? "", box.value);
    count.textContent = counted(seen().length, rows.length);
  };

  /** Move the focus from the box to the first app, from one app to the next, and from the first back to the box. */
  const move = (by: 1 | -1): void => {
    const list = seen();
    const at = list.findIndex((row) => row.contains(document.activeElement));
    if (at + by < 0) return box.focus();
    entry(list[Math.min(at + by, list.length - 1)])?.focus();
  };

  box.addEventListener("input", draw);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    entry(seen()[0])?.click();
  });
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    const on = event.target instanceof HTMLElement ? event.target : document.body;
    const inList = on === box || on.closest("ul.apps") !== null;
    if (event.key === "/" && !on.matches(WRITES)) box.focus();
    else if (event.key === "Escape" && inList) {
      box.value = "";
      draw();
      box.focus();
    } else if (event.key === "ArrowDown" && inList) move(1);
    else if (event.key === "ArrowUp" && inList) move(-1);
    else return;
    event.preventDefault();
  });
  // The browser restores the box's text when the user comes back to the page.
  draw();
}
