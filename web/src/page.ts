/** The page's elements, and the notices and dialogs that all of its parts share. */
import { t } from "./language";

/** Create an element with a text and properties. */
export function createElement<K extends keyof HTMLElementTagNameMap>(
  name: K, text = "", properties: Partial<HTMLElementTagNameMap[K]> = {},
): HTMLElementTagNameMap[K] {
  return Object.assign(document.createElement(name), text ? { textContent: text } : {}, properties);
}

/** Create a button that calls `act` when it is clicked. */
export function createButton(text: string, act: () => void, properties: Partial<HTMLButtonElement> = {}): HTMLButtonElement {
  const button = createElement("button", text, { type: "button", ...properties });
  button.addEventListener("click", act);
  return button;
}

/** The elements in which the user types. */
export const EDITABLE = "input, textarea, select, [contenteditable]";

/** Return the message of something thrown. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Return the page's element with that id. */
export function getElement<T extends HTMLElement = HTMLElement>(id: string): T {
  const place = document.getElementById(id);
  if (place === null) throw new Error(`the page has no #${id}`);
  return place as T;
}

/** Show a notice over the terminal; with `offer`, its button does something about it. */
export function showHint(text: string, offer?: { label: string; act: () => void }): void {
  const place = getElement("hint");
  delete place.dataset.over;
  const close = (): void => {
    place.hidden = true;
    offer?.act();
  };
  place.replaceChildren(text, " ", createButton(offer?.label ?? "OK", close));
  place.hidden = false;
}

/** Show over the terminal that it is over: a title, what happened, a button that loads the page again, and a link to the apps. */
export function showEnd(title: string, text: string, mayReopen: boolean, home: string): void {
  const place = getElement("hint");
  const choices = createElement("div");
  if (mayReopen) choices.append(createButton(t`Open again`, () => location.reload(), { className: "primary" }));
  choices.append(createElement("a", t`Apps`, { className: mayReopen ? "button" : "button primary", href: home }));
  place.dataset.over = "";
  place.replaceChildren(createElement("h2", title), createElement("span", text), choices);
  place.hidden = false;
}

const PASSING_MS = 4000;
let passed: ReturnType<typeof setTimeout> | undefined;

/** Show a notice over the terminal for a while, or with `stays` until `showPassing("")`. */
export function showPassing(text: string, stays = false): void {
  const place = getElement("passing");
  clearTimeout(passed);
  place.textContent = text;
  place.hidden = text === "";
  if (!stays && text) passed = setTimeout(() => (place.hidden = true), PASSING_MS);
}

/** Copy text and return whether that succeeded. If the browser demands a gesture, show a button for it. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    showHint(t`${text.length} characters are ready to be copied.`, { label: t`Copy`, act: () => copyByHand(text) });
    return false;
  }
}

/** Copy text by the old command, which also works on pages that are not served over TLS. */
export function copyByHand(text: string): void {
  const area = createElement("textarea", "", { value: text });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Ask a question about a text and return whether the answer was yes. */
export function confirmText(question: string, text: string): Promise<boolean> {
  const dialog = getElement<HTMLDialogElement>("confirm-paste");
  getElement("question").textContent = question;
  getElement("shown").textContent = text.length > 2000 ? `${text.slice(0, 2000)}…` : text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}
