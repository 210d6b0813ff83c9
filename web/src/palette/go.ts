/** The palette and the list of shortcuts on the pages within the frame. */
import { element } from "../page";
import type { Command } from "./find";
import { COMMAND, Palette, shortcuts } from "./palette";

const WRITES = "input, textarea, select, [contenteditable]";

const opener = element<HTMLButtonElement>("go");
const showShortcuts = shortcuts(() => [
  [`${COMMAND} K`, "Go to an app, a page or a command"],
  ["?", "This list"],
  ...(document.getElementById("filter") === null
    ? []
    : ([
        ["/", "Search the apps"],
        ["↑ ↓", "From one app to the next"],
        ["↵", "Open the app"],
        ["Esc", "Show all apps again"],
      ] as [string, string][])),
  ...(document.getElementById("play") === null
    ? []
    : ([
        ["Space", "Play and pause"],
        ["← →", "Five seconds back and forward"],
        ["[ ]", "To where something was typed"],
        ["< >", "Slower and faster"],
      ] as [string, string][])),
]);

function commands(): Command[] {
  const links = [...document.querySelectorAll<HTMLAnchorElement>("header nav a")];
  const signOut = document.querySelector<HTMLFormElement>("form.me");
  return [
    ...links.map((link) => ({ label: link.textContent?.trim() ?? "", note: "page", act: () => link.click() })),
    { label: "Keyboard shortcuts", note: "?", act: showShortcuts },
    ...(signOut === null ? [] : [{ label: "Sign out", note: "", act: () => signOut.requestSubmit() }]),
  ];
}

const palette = new Palette(opener.dataset.path ?? "", commands, { go: (page) => location.assign(page), closed: () => undefined });
opener.hidden = false;
const key = opener.querySelector("kbd");
if (key !== null) key.textContent = `${COMMAND} K`;
opener.addEventListener("click", () => palette.open());
addEventListener("keydown", (event) => {
  const on = event.target instanceof HTMLElement ? event.target : document.body;
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) palette.open();
  else if (event.key === "?" && !event.ctrlKey && !event.metaKey && !on.matches(WRITES) && document.querySelector("dialog[open]") === null) showShortcuts();
  else return;
  event.preventDefault();
});
