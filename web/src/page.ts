/** The page's elements, and the notices and dialogs that all of its parts share. */
import { t } from "./language";

/** Create an element with a text and properties. */
export function createElement<K extends keyof HTMLElementTagNameMap>(
  name: K, text = "", properties: Partial<HTMLElementTagNameMap[K]> = {},
): HTMLElementTagNameMap[K] {
  return Object.assign(document.createElement(name), text ? { textContent: text } : {}, properties);
}

/** Return the page's element with that id. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const place = document.getElementById(id);
  if (place === null) throw new Error(`the page has no #${id}`);
  return place as T;
}

/** Show a notice over the terminal; with `offer`, its button does something about it. */
export function hint(text: string, offer?: { label: string; act: () => void }): void {
  const place = element("hint");
  delete place.dataset.over;
  const button = createElement("button", offer?.label ?? "OK", { type: "button" });
  button.addEventListener("click", () => {
    place.hidden = true;
    offer?.act();
  });
  place.replaceChildren(text, " ", button);
  place.hidden = false;
}

/** Show over the terminal that it is over: a title, what happened, a button to go on, and a link to the apps. */
export function showEnd(title: string, text: string, offer: { label: string; act: () => void }, home: string): void {
  hint(text, offer);
  const place = element("hint");
  const [button] = place.getElementsByTagName("button");
  if (button === undefined) return;
  button.className = "primary";
  const choices = createElement("div");
  choices.append(button, createElement("a", t`Apps`, { className: "button", href: home }));
  place.dataset.over = "";
  place.replaceChildren(createElement("h2", title), createElement("span", text), choices);
}

const PASSING_MS = 4000;
let passed: ReturnType<typeof setTimeout> | undefined;

/** Show a notice over the terminal for a while, or with `stays` until `passing("")`. */
export function passing(text: string, stays = false): void {
  const place = element("passing");
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
    hint(t`${text.length} characters are to be copied.`, { label: t`Copy`, act: () => copyByHand(text) });
    return false;
  }
}

/** Copy text by the old command, which also works on pages that are not served over TLS. */
export function copyByHand(text: string): void {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Ask a question about a text and return whether the answer was yes. */
export function confirmText(question: string, text: string): Promise<boolean> {
  const dialog = element<HTMLDialogElement>("ask");
  element("question").textContent = question;
  element("shown").textContent = text.length > 2000 ? `${text.slice(0, 2000)}…` : text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}
