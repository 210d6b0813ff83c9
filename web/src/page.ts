/** The page's elements, by id. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** A word to the person below the terminal; with `offer`, a button that does something about it. */
export function hint(text: string, offer?: { label: string; act: () => void }): void {
  const place = element("hint");
  place.replaceChildren(text);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = offer?.label ?? "OK";
  button.addEventListener("click", () => {
    place.hidden = true;
    offer?.act();
  });
  place.append(" ", button);
  place.hidden = false;
}

const PASSING_MS = 4000;
let passed: ReturnType<typeof setTimeout> | undefined;

/** A word in a corner, over the terminal, whose size it leaves alone: for a while, or until `passing("")`. */
export function passing(text: string, stays = false): void {
  const place = element("passing");
  clearTimeout(passed);
  place.textContent = text;
  place.hidden = text === "";
  if (!stays && text) passed = setTimeout(() => (place.hidden = true), PASSING_MS);
}

/** Put text on the clipboard; whether it is there. Where the browser wants a gesture for it, ask for one. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    hint(`${text.length} characters are to be copied.`, { label: "Copy", act: () => copyByHand(text) });
    return false;
  }
}

/** As before there was an interface for it: also where the page is not served over TLS. */
export function copyByHand(text: string): void {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** A question about a text; whether the answer was yes. */
export function asked(question: string, text: string): Promise<boolean> {
  const dialog = element<HTMLDialogElement>("ask");
  element("question").textContent = question;
  element("shown").textContent = text.length > 2000 ? `${text.slice(0, 2000)}…` : text;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}
