/** The panel of settings, and their effect on the terminal. */

import type { Terminal } from "@xterm/xterm";
import { applyPalette } from "./contrast";
import { getElement } from "../page";
import { bindForm, composeFontFamily, type Settings } from "../settings";

export class SettingsPanel {
  /** Whether the user's system asks for reduced motion. */
  readonly still = matchMedia("(prefers-reduced-motion: reduce)");
  private readonly light = matchMedia("(prefers-color-scheme: light)");
  private readonly form = getElement<HTMLFormElement>("settings");

  constructor(private readonly term: Terminal, private readonly settings: Settings, private readonly refit: () => void) {
    this.light.addEventListener("change", () => this.apply());
    this.still.addEventListener("change", () => this.apply());
    bindForm(this.form, settings, () => this.apply());
    getElement("settings-button").addEventListener("click", () => this.open(this.form.hidden !== false));
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.open(false);
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());
  }

  open(open = true): void {
    this.form.hidden = !open;
    getElement("settings-button").setAttribute("aria-expanded", String(open));
    // Keys have no other way out of the terminal, which passes Tab to the shell.
    if (open) this.form.querySelector("select")?.focus();
    else this.term.focus();
  }

  apply(): void {
    const { settings, term } = this;
    const chosen = settings.theme === "system" ? (this.light.matches ? "light" : "dark") : settings.theme;
    document.documentElement.dataset.theme = chosen;
    applyPalette(term, getElement("screen"), settings, chosen === "light");
    term.options.fontSize = settings.fontSize;
    term.options.fontFamily = composeFontFamily(settings.fontFamily);
    term.options.cursorStyle = settings.cursor;
    term.options.cursorBlink = !this.still.matches;
    term.options.screenReaderMode = settings.screenReader;
    getElement("keys").hidden = !settings.keyBar;
    requestAnimationFrame(this.refit);
  }
}
