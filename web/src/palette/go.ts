/** The palette and the list of shortcuts on the pages within the frame. */
import { EDITABLE, getElement } from "../page";
import type { Command } from "./find";
import { COMMAND, CommandPalette, makeShortcuts } from "./palette";
import { t } from "../language";

const opener = getElement<HTMLButtonElement>("go");
const showShortcuts = makeShortcuts(() => [
  [`${COMMAND} K`, t`Go to an app, a page or a command`],
  ["?", t`This list`],
  ...(document.getElementById("filter") === null
    ? []
    : ([
        ["/", t`Search the apps`],
        ["↑ ↓", t`From one app to the next`],
        ["↵", t`Open the app`],
        ["Esc", t`Show all apps again`],
      ] as [string, string][])),
  ...(document.getElementById("play") === null
    ? []
    : ([
        [t`Space`, t`Play and pause`],
        ["← →", t`Five seconds back and forward`],
        ["[ ]", t`To where something was typed`],
        ["< >", t`Slower and faster`],
      ] as [string, string][])),
]);

function commands(): Command[] {
  const links = [...document.querySelectorAll<HTMLAnchorElement>("header nav a")];
  const signOut = document.querySelector<HTMLFormElement>("form.me");
  return [
    ...links.map((link) => ({ label: link.querySelector("span")?.textContent ?? "", note: t`page`, act: () => link.click() })),
    { label: t`Keyboard shortcuts`, note: "?", act: showShortcuts },
    ...(signOut === null ? [] : [{ label: t`Sign out`, note: "", act: () => signOut.requestSubmit() }]),
  ];
}

const palette = new CommandPalette(opener.dataset.path ?? "", commands, { go: (page) => location.assign(page), closed: () => undefined });
opener.hidden = false;
// On a phone the pages are one row, which is longer than the window.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
const key = opener.querySelector("kbd");
if (key !== null) key.textContent = `${COMMAND} K`;
opener.addEventListener("click", () => palette.open());
addEventListener("keydown", (event) => {
  const on = event.target instanceof HTMLElement ? event.target : document.body;
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) palette.open();
  else if (event.key === "?" && !event.ctrlKey && !event.metaKey && !on.matches(EDITABLE) && document.querySelector("dialog[open]") === null) showShortcuts();
  else return;
  event.preventDefault();
});
