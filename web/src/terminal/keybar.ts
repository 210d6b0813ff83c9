/** The keys that a phone lacks, as buttons below the terminal. Ctrl and Alt are held for the next key. */

import type { Terminal } from "@xterm/xterm";
import { barKey, withHeld, type Held } from "./keys";
import { createElement, element, hint } from "../page";
import { t } from "../language";

const NAMES = ["Esc", "Tab", "Ctrl", "Alt", "←", "↑", "↓", "→", "PgUp", "PgDn", "|", "/", "-", "~", "Paste"];

export class KeyBar {
  private held: Held = { control: false, alt: false };
  private readonly bar = element("keys");

  constructor(term: Terminal, typed: (text: string) => void, paste: (text: string) => void) {
    for (const name of NAMES) {
      const button = createElement("button", name === "Paste" ? t`Paste` : name, { type: "button" });
      button.dataset.key = name;
      // Keeps the focus where it is: otherwise a phone's keyboard would close with each key.
      button.addEventListener("pointerdown", (event) => event.preventDefault());
      button.addEventListener("click", () => {
        if (name === "Ctrl") this.hold({ ...this.held, control: !this.held.control });
        else if (name === "Alt") this.hold({ ...this.held, alt: !this.held.alt });
        else if (name === "Paste") void this.paste(paste);
        else {
          typed(barKey(name, term.modes.applicationCursorKeysMode, this.held));
          this.hold({ control: false, alt: false });
        }
        term.focus();
      });
      this.bar.append(button);
    }
    this.hold(this.held);
  }

  /** Return the input for typed text, with the keys that are held. They are for one key. */
  meant(text: string): string {
    const { held } = this;
    if (held.control || held.alt) this.hold({ control: false, alt: false });
    return withHeld(text, held);
  }

  private async paste(paste: (text: string) => void): Promise<void> {
    try {
      paste(await navigator.clipboard.readText());
    } catch {
      hint(t`This browser lets no page read the clipboard here; touch the terminal for long, and choose “Paste”.`);
    }
  }

  private hold(held: Held): void {
    this.held = held;
    this.bar.querySelector("[data-key=Ctrl]")?.setAttribute("aria-pressed", String(held.control));
    this.bar.querySelector("[data-key=Alt]")?.setAttribute("aria-pressed", String(held.alt));
  }
}
