/** The home page's table of apps: filter, groups, pins, and the keys to move through it. */
import { callApi, listNames, type TerminalList } from "../api";
import { createElement, describeError, EDITABLE } from "../page";
import { showTimes } from "../local-time";
import { showCopies } from "./copy";
import { filterRows, describeCount, listGroups, type Group, type Row } from "./filter";
import { readNames, store } from "../storage";
import { t } from "../language";

const PINS = "stagedoor.pins";
const MAX_PINS = 100;
/**
 * The number of rows that a table may have before it is shortened, and the number then: as on the gateway's page. No more
 * are drawn while the user types.
 */
const MAX_SHOWN = 24;
const FIRST = 20;

interface AppRow extends Row {
  place: HTMLTableRowElement;
}

/** Set up the table, if the page has one. */
export function setUpApps(): void {
  const form = document.querySelector<HTMLFormElement>("#filter");
  const box = document.querySelector<HTMLInputElement>("#wanted");
  const list = document.getElementById("app-list");
  if (form === null || box === null || list === null) return;
  const more = document.querySelector<HTMLTemplateElement>("#more-apps")?.content.querySelectorAll("tr") ?? [];
  const rows = [...list.querySelectorAll("tr"), ...more].map((place): AppRow => {
    const { name = "", environment = "", state = "" } = place.dataset;
    return { place, name, environment, state, used: place.dataset.used !== undefined };
  });
  const pinned = new Set(readNames("localStorage", PINS).slice(0, MAX_PINS));
  const chips = document.getElementById("chips");
  let [group] = listGroups(rows, pinned) as [Group];
  let all = rows.length <= MAX_SHOWN || document.querySelector("#more-apps") === null;
  const lively = new Set<HTMLElement>();
  form.hidden = false;

  /** Bring a row's buttons to life once it is shown. */
  const enliven = ({ place, name }: AppRow): void => {
    place.classList.toggle("pinned", pinned.has(name));
    if (lively.has(place)) return;
    lively.add(place);
    showCopies(place);
    showTimes(place);
    const pin = place.querySelector<HTMLButtonElement>("button.pin");
    if (pin !== null) {
      const draw = (): void => {
        pin.setAttribute("aria-pressed", String(pinned.has(name)));
        pin.textContent = pinned.has(name) ? t`Remove the pin` : t`Pin to the top`;
      };
      pin.hidden = false;
      draw();
      pin.addEventListener("click", () => {
        if (!pinned.delete(name)) pinned.add(name);
        store("localStorage", PINS, JSON.stringify([...pinned].slice(-MAX_PINS)));
        draw();
        drawChips();
        drawRows();
        place.querySelector("summary")?.focus();
      });
    }
    const terminals = place.querySelector<HTMLButtonElement>("button.terminals");
    const page = place.querySelector<HTMLAnchorElement>(".act > a")?.getAttribute("href");
    if (terminals !== null && page) listTerminals(terminals, name, page);
  };

  const drawRows = (): void => {
    const found = filterRows(rows, box.value, group, pinned);
    const shown = found.slice(0, box.value !== "" ? MAX_SHOWN : all ? found.length : FIRST);
    shown.forEach(enliven);
    list.replaceChildren(...shown.map(({ place }) => place));
    set("matches", box.value === "" && group.label === t`All` ? undefined : describeCount(found.length, rows.length));
    set("shown", t`${shown.length} of ${found.length}`);
    const none = document.getElementById("none");
    if (none !== null) none.hidden = found.length > 0;
    const link = document.getElementById("all");
    if (link !== null) link.hidden = shown.length === found.length || box.value !== "";
  };

  const first = document.getElementById("matches")?.textContent ?? "";
  /** Set a text; undefined is the one that the page came with. */
  const set = (id: string, text?: string): void => {
    const place = document.getElementById(id);
    if (place !== null) place.textContent = text ?? first;
  };

  const drawChips = (): void => {
    if (chips === null) return;
    const offered = listGroups(rows, pinned);
    group = offered.find(({ label }) => label === group.label) ?? (offered[0] as Group);
    chips.hidden = offered.length < 3;
    const had = chips.contains(document.activeElement);
    chips.replaceChildren(
      ...offered.map(({ label, count }) => {
        const chip = createElement("button", `${label} ${count}`, { type: "button", tabIndex: label === group.label ? 0 : -1 });
        chip.setAttribute("aria-pressed", String(label === group.label));
        chip.addEventListener("click", () => {
          group = offered.find((each) => each.label === label) ?? group;
          drawChips();
          drawRows();
        });
        return chip;
      }),
    );
    if (had) chips.querySelector<HTMLElement>("[aria-pressed=true]")?.focus();
  };
  // One stop of the Tab key for all of them; the arrows lead from one to the next (ARIA's toolbar).
  chips?.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const on = [...chips.children].indexOf(document.activeElement as Element);
    if (step === undefined || on < 0) return;
    const next = chips.children[(on + step + chips.children.length) % chips.children.length];
    if (next instanceof HTMLElement) next.focus();
    event.preventDefault();
  });

  const entry = (row: Element | undefined): HTMLElement | null => row?.querySelector<HTMLElement>(".act > a, summary") ?? null;

  /** Move the focus from the box to the first app, from one app to the next, and from the first back to the box. */
  const move = (by: 1 | -1): void => {
    const seen = [...list.children];
    const at = seen.findIndex((row) => row.contains(document.activeElement));
    if (at + by < 0) return box.focus();
    entry(seen[Math.min(at + by, seen.length - 1)])?.focus();
  };

  box.addEventListener("input", drawRows);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    entry(list.children[0])?.click();
  });
  document.getElementById("all")?.addEventListener("click", (event) => {
    event.preventDefault();
    all = true;
    drawRows();
  });
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing || document.querySelector("dialog[open]")) return;
    const on = event.target instanceof HTMLElement ? event.target : document.body;
    const isInList = on === box || (list.contains(on) && on.closest(".menu") === null);
    if (event.key === "/" && !on.matches(EDITABLE)) box.focus();
    else if (event.key === "Escape" && isInList && document.querySelector("details.more[open]") === null) {
      box.value = "";
      drawRows();
      box.focus();
    } else if (event.key === "ArrowDown" && isInList) move(1);
    else if (event.key === "ArrowUp" && isInList) move(-1);
    else return;
    event.preventDefault();
  });
  drawChips();
  // The browser restores the box's text when the user comes back to the page.
  drawRows();
}

/** List an app's terminals below its button on a click, since the gateway has to ask the shell for them. */
function listTerminals(button: HTMLButtonElement, app: string, page: string): void {
  const list = createElement("ul", "", { className: "keys" });
  button.hidden = false;
  button.addEventListener("click", () => {
    list.replaceChildren();
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    if (!open) return list.remove();
    button.after(list);
    const row = (text: string): HTMLLIElement => {
      const entry = createElement("li", text);
      list.append(entry);
      return entry;
    };
    callApi<TerminalList>(page.replace(/\/app\/[^/]*$/, ""), "terminals", { target: app })
      .then((listed) => {
        if (["absent", "starting", "failed"].includes(listed.state)) row(t`The shell is not running, so there are none.`);
        else if (listed.terminals.length === 0) row(t`None yet.`);
        for (const { name, locked, attached } of listed.terminals) {
          const link = createElement("a", name, { href: `${page}?terminal=${encodeURIComponent(name)}` });
          row("").append(link, locked ? ` ${t`Locked`}` : "", attached.length > 0 ? ` ${listNames(attached)}` : "");
        }
      })
      .catch((error: unknown) => row(describeError(error)));
  });
}
