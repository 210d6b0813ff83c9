/** The palette of commands: a dialog in which the user types a part of an app's, a page's or a command's name. */
import { callApi } from "../api";
import { createElement } from "../page";
import { findCommands, type Command } from "./find";
import { t } from "../language";

export class CommandPalette {
  private readonly dialog = createElement("dialog", "", { id: "palette" });
  private readonly box = createElement("input", "", { type: "text", autocomplete: "off", spellcheck: false, placeholder: t`App, page or command` });
  private readonly list = createElement("ul", "", { id: "palette-list" });
  private readonly none = createElement("p", t`Nothing matches.`, { hidden: true });
  private apps: Command[] | undefined;
  private shown: Command[] = [];
  private at = 0;
  /** Whether a command was chosen, which gives the focus to a place of its own. */
  private chose = false;

  /** `own` returns the commands of this page, `go` leads to another page, and `closed` is called when the dialog closes without a command. */
  constructor(private readonly path: string, private readonly own: () => Command[], private readonly page: { go: (page: string) => void; closed: () => void }) {
    const { box, dialog, list, none } = this;
    dialog.setAttribute("aria-label", t`Go to`);
    box.role = "combobox";
    box.setAttribute("aria-label", t`App, page or command`);
    box.setAttribute("aria-controls", list.id);
    box.setAttribute("aria-expanded", "true");
    box.setAttribute("autocapitalize", "none");
    list.role = "listbox";
    list.setAttribute("aria-label", t`Apps, pages and commands`);
    none.role = "status";
    dialog.append(box, list, none);
    document.body.append(dialog);
    box.addEventListener("input", () => this.draw(0));
    box.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step !== undefined) this.draw((this.at + step + this.shown.length) % Math.max(1, this.shown.length));
      else if (event.key === "Enter" && !event.isComposing) this.run(this.shown[this.at]);
      else return;
      event.preventDefault();
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => this.chose || this.page.closed());
  }

  open(): void {
    if (this.dialog.open) return;
    this.box.value = "";
    this.chose = false;
    this.dialog.showModal();
    this.box.focus();
    this.draw(0);
    if (this.apps === undefined) void this.load();
  }

  private async load(): Promise<void> {
    this.apps = [];
    try {
      const { apps } = await callApi<{ apps: { name: string; page: string }[] }>(this.path, "apps", {});
      this.apps = apps.map(({ name, page }) => ({ label: name, note: t`app`, act: () => this.page.go(page) }));
      this.draw(this.at);
    } catch {
      this.apps = undefined; // asked again at the next opening
    }
  }

  private run(command: Command | undefined): void {
    if (command === undefined) return;
    this.chose = true;
    this.dialog.close();
    command.act();
  }

  private draw(at: number): void {
    this.at = at;
    // Without a word the page's own commands come first, with one the apps.
    const apps = this.apps ?? [];
    this.shown = findCommands(this.box.value === "" ? [...this.own(), ...apps] : [...apps, ...this.own()], this.box.value);
    this.list.replaceChildren(
      ...this.shown.map((command, number) => {
        const option = createElement("li", "", { id: `palette-${number}`, role: "option" });
        option.setAttribute("aria-selected", String(number === at));
        option.append(createElement("span", command.label), createElement("small", command.note));
        option.addEventListener("click", () => this.run(command));
        return option;
      }),
    );
    this.none.hidden = this.shown.length > 0;
    this.list.hidden = !this.none.hidden;
    if (this.shown.length > 0) this.box.setAttribute("aria-activedescendant", `palette-${at}`);
    else this.box.removeAttribute("aria-activedescendant");
    this.list.children[at]?.scrollIntoView({ block: "nearest" });
  }
}

/** Return a function that opens the list of shortcuts, pairs of keys and what they do. */
export function makeShortcuts(pairs: () => [string, string][], closed: () => void = () => undefined): () => void {
  const dialog = createElement("dialog", "", { id: "shortcuts" });
  const title = createElement("h2", t`Keyboard shortcuts`, { id: "shortcuts-title" });
  const list = createElement("dl");
  const form = createElement("form", "", { method: "dialog" });
  form.append(createElement("button", t`Close`));
  dialog.setAttribute("aria-labelledby", title.id);
  dialog.append(title, list, form);
  document.body.append(dialog);
  dialog.addEventListener("close", closed);
  return () => {
    list.replaceChildren(
      ...pairs().flatMap(([keys, does]) => {
        const term = createElement("dt");
        for (const key of keys.split(" ")) term.append(createElement("kbd", key), " ");
        return [term, createElement("dd", does)];
      }),
    );
    dialog.showModal();
  };
}

/** The key beside K, as the user's keyboard names it. */
export const COMMAND = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
