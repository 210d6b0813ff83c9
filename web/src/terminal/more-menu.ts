/** The bar's ⋯: a menu that closes after each choice, the palette of commands, and the list of shortcuts. */
import type { Terminal } from "@xterm/xterm";
import { getElement } from "../page";
import type { Command } from "../palette/find";
import { CommandPalette, makeShortcuts } from "../palette/palette";
import { t } from "../language";

const KEYS: [string, string][] = [
  ["Alt Shift P", t`Go to an app or a command`],
  ["Alt Shift M", t`Settings`],
  ["Ctrl Shift F", t`Find in the output`],
  ["Ctrl Shift C", t`Copy what is selected`],
  ["Ctrl Shift V", t`Paste`],
  ["Ctrl Shift ↑", t`Go to the previous prompt, ↓ to the next one`],
  ["Alt Shift W", t`Send Ctrl-W, which a tab keeps for itself; the same for T and N`],
  [t`Shift drag`, t`Select text while the program uses the mouse`],
];

/** Set up the menu and return a function that opens the command palette. `go` leads to another page. */
export function setUpMoreMenu(term: Terminal, path: string, actions: { find: () => void; go: (page: string) => void }): () => void {
  const menu = getElement("more-menu");
  const help = makeShortcuts(() => KEYS, () => term.focus());

  function commands(): Command[] {
    const buttons = [...menu.querySelectorAll("button")].filter(({ hidden, id }) => !hidden && id !== "go");
    return [
      ...buttons.map((button) => ({
        label: button.firstChild?.textContent ?? "",
        note: button.querySelector("kbd")?.textContent ?? "",
        act: () => button.click(),
      })),
      ...[...document.querySelectorAll<HTMLElement>("#tabs > a")].map((tab) => ({ label: tab.textContent ?? "", note: t`terminal`, act: () => tab.click() })),
      { label: t`Apps`, note: t`page`, act: () => actions.go(`${path}/`) },
    ];
  }

  const palette = new CommandPalette(path, commands, { go: actions.go, closed: () => term.focus() });
  getElement("find-in").addEventListener("click", actions.find);
  getElement("go").addEventListener("click", () => palette.open());
  getElement("help").addEventListener("click", help);
  menu.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    if (button === null) return;
    menu.hidePopover();
    if (button.dataset.for !== undefined) getElement(button.dataset.for).click();
  });
  menu.addEventListener("toggle", () => {
    const on = document.activeElement;
    if (!menu.matches(":popover-open") && (on === document.body || on === getElement("more"))) term.focus();
  });
  return () => palette.open();
}
