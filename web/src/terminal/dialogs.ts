/** The dialogs about an app's terminals, shares, and how to attach. No text is interpreted as HTML. */

import { callApi, TERMINAL_NAME, listNames, SHARE_KEY, type TerminalList, type AttachedPerson, type Share } from "../api";
import { Mode } from "./frames";
import { formatClock } from "../local-time";
import { copy, createButton, createElement, describeError, getElement } from "../page";
import { readStored } from "../storage";
import { takeRecentVisit } from "./watching";
import { t } from "../language";

/** Empty the dialog, give it a title and open it. */
export function openDialog(title: string): { body: HTMLElement; dialog: HTMLDialogElement } {
  const dialog = getElement<HTMLDialogElement>("dialog");
  getElement("dialog-title").textContent = title;
  getElement("dialog-error").textContent = "";
  const body = getElement("dialog-body");
  body.replaceChildren();
  getElement("dialog-close").hidden = false;
  if (!dialog.open) dialog.showModal();
  return { body, dialog };
}

/** Run `act`, and show in the dialog what went wrong. */
function attempt(act: () => Promise<void>): void {
  getElement("dialog-error").textContent = "";
  act().catch((error: unknown) => {
    getElement("dialog-error").textContent = describeError(error);
  });
}

/** Open the dialog that lists the terminals of the app, opens and ends them. */
export function openTerminals(path: string, app: string, current: string): void {
  const { body } = openDialog(t`Terminals of ${app}`);
  const here = (name: string): string => `${location.pathname}?terminal=${encodeURIComponent(name)}`;
  const go = (name: string): void => {
    location.href = here(name);
  };
  const list = createElement("ul", "", { className: "keys" });
  const form = createElement("form", "", { id: "new-terminal" });
  const name = createElement("input", "", { name: "name", pattern: TERMINAL_NAME, required: true, autocomplete: "off", spellcheck: false });
  name.setAttribute("aria-label", t`Name of a new terminal`);
  name.placeholder = t`name of a new one`;
  form.append(name, createElement("button", t`Open`, { type: "submit" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(name.value);
  });
  body.append(list, form);
  const fill = async (): Promise<void> => {
    const listed = await callApi<TerminalList>(path, "terminals", { target: app });
    list.replaceChildren();
    for (const { name, locked, attached } of listed.terminals) {
      const row = createElement("li");
      const link = createElement("a", name, { href: here(name) });
      row.append(link);
      if (name === current) link.setAttribute("aria-current", "true");
      if (locked) link.after(createElement("span", t`Locked`, { className: "locked" }));
      row.append(createElement("span", attached.length > 0 ? listNames(attached) : t`not in use`));
      row.append(createButton(t`End…`, () => end(name, row)));
      list.append(row);
    }
    if (listed.terminals.length === 0) list.append(createElement("li", t`None yet.`));
  };
  const end = (which: string, row: HTMLElement): void => {
    const sure = createElement("span", t`End ${which}, and all that runs in it? `);
    sure.append(
      createButton(
        t`End it`,
        () => attempt(async () => {
          await callApi(path, "terminals/end", { target: app, terminal: which });
          await fill();
        }),
        { className: "bad" },
      ),
      createButton(t`Keep it`, () => sure.remove()),
    );
    row.querySelector("span > button")?.parentElement?.remove();
    row.append(sure);
    sure.querySelector("button")?.focus();
  };
  attempt(fill);
}

/** The lock of the terminal, which a dialog can remove. */
export interface Lock {
  readonly locked: boolean;
  unlock(): void;
}

/** Open the dialog that makes links to this terminal and ends them. */
export function openShare(path: string, app: string, terminal: string, lock: Lock): void {
  const { body } = openDialog(t`Share ${terminal} of ${app}`);
  if (lock.locked) {
    const locked = createElement("p", t`This terminal is locked: guests are refused until you unlock it. `, { id: "share-locked", className: "locked" });
    locked.append(
      createButton(t`Unlock`, () => {
        lock.unlock();
        locked.remove();
      }),
    );
    body.append(locked);
  }
  body.append(
    createElement("p", t`Everyone with the link who signs in here can watch this terminal, until the link ends. You see who watches.`),
  );
  const form = createElement("form");
  const lasts = createElement("select", "", { name: "minutes" });
  for (const [minutes, text] of [["15", t`15 minutes`], ["60", t`1 hour`], ["480", t`8 hours`]] as const)
    lasts.append(createElement("option", text, { value: minutes, selected: minutes === "60" }));
  const forHow = createElement("label", t`For `);
  forHow.append(lasts);
  const typing = createElement("input", "", { type: "checkbox", name: "typing" });
  const types = createElement("label");
  types.append(typing, t` People who may enter this app may also type`);
  const link = createElement("p");
  const list = createElement("ul", "", { className: "keys" });
  form.append(forHow, types, createElement("button", t`Make a link`, { type: "submit", className: "primary" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const terms = { target: app, terminal, minutes: Number(lasts.value), typing: typing.checked };
      const { fragment, expires_at } = await callApi<Share & { fragment: string }>(path, "share", terms);
      const url = `${location.origin}${path}/shared#${fragment}`;
      const shown = createElement("input", "", { readOnly: true, value: url, id: "share-link" });
      shown.setAttribute("aria-label", t`The link`);
      link.replaceChildren(shown, createButton(t`Copy`, () => void copy(url)), t` until ${formatClock(expires_at)}`);
      shown.select();
      await fill();
    });
  });
  const fill = async (): Promise<void> => {
    const { shares } = await callApi<{ shares: Share[] }>(path, "shares", {});
    list.replaceChildren();
    for (const share of shares) {
      const what = `${
        share.typing
          ? t`${share.terminal} of ${share.app}, until ${formatClock(share.expires_at)}, with typing`
          : t`${share.terminal} of ${share.app}, until ${formatClock(share.expires_at)}`
      } `;
      const row = createElement("li", what);
      row.append(
        createButton(t`End`, () =>
          attempt(async () => {
            await callApi(path, "share/end", { id: share.id });
            row.remove();
          }),
        ),
      );
      list.append(row);
    }
  };
  body.append(form, link, list);
  attempt(fill);
}

/** Ask how to attach if another person is at the terminal already. Return at once if none is. */
export async function chooseMode(path: string, app: string, terminal: string): Promise<Mode> {
  if (takeRecentVisit(app, terminal)) return Mode.Mirror;
  let there: AttachedPerson[];
  try {
    there = (await callApi<{ attached: AttachedPerson[] }>(path, "attached", { target: app, terminal })).attached;
  } catch {
    return Mode.Mirror; // the terminal's connection reports whatever is wrong
  }
  there = there.filter((person) => !person.looks);
  if (there.length === 0) return Mode.Mirror;
  const { body, dialog } = openDialog(t`${terminal} of ${app} is in use`);
  // The dialog has three answers. Without an answer the user only watches.
  getElement("dialog-close").hidden = true;
  const people = createElement("ul");
  for (const { name, from, since } of there) people.append(createElement("li", t`${name}, from ${from}, since ${formatClock(since)}`));
  body.append(people);
  return new Promise((resolve) => {
    const choose = (mode: Mode): void => {
      resolve(mode);
      dialog.close();
    };
    const answers = createElement("div", "", { className: "answers" });
    const offers: [string, Mode][] = [[t`Only watch`, Mode.Watch], [t`Join in`, Mode.Mirror], [t`Take over`, Mode.TakeOver]];
    for (const [text, mode] of offers) {
      const offer = createButton(text, () => choose(mode));
      if (mode === Mode.Watch) offer.classList.add("primary");
      if (mode === Mode.TakeOver) offer.classList.add("grave");
      answers.append(offer);
    }
    body.append(answers);
    body.querySelector("button")?.focus();
    dialog.addEventListener("close", () => resolve(Mode.Watch), { once: true });
  });
}

/** The answer to a guest's request for a ticket, besides the ticket. */
export interface Admitted {
  app: string;
  terminal: string;
  host: string;
  typing: boolean;
}

/** Return the body of a guest's request for a ticket. */
export function makeGuestRequest(guest: string): object {
  return guest === "share" ? { share: readStored("sessionStorage", SHARE_KEY) } : { watch: guest };
}
