/** The keys that a phone lacks, as buttons below the terminal. Ctrl and Alt are held for the next key. */

import type { Terminal } from "@xterm/xterm";
import { encodeBarKey, applyHeld, type Held } from "./keys";
import { createButton, getElement, showHint } from "../page";
import { t } from "../language";

const NAMES = ["Esc", "Tab", "Ctrl", "Alt", "←", "↑", "↓", "→", "PgUp", "PgDn", "|", "/", "-", "~", "Paste"];

export class KeyBar {
  private held: Held = { control: false, alt: false };
  private readonly bar = getElement("keys");

  constructor(term: Terminal, type: (text: string) => void, paste: (text: string) => void) {
    for (const name of NAMES) {
      const button = createButton(name === "Paste" ? t`Paste` : name, () => {
        if (name === "Ctrl") this.hold({ ...this.held, control: !this.held.control });
        else if (name === "Alt") this.hold({ ...this.held, alt: !this.held.alt });
        else if (name === "Paste") void this.paste(paste);
        else {
          type(encodeBarKey(name, term.modes.applicationCursorKeysMode, this.held));
          this.hold({ control: false, alt: false });
        }
        term.focus();
      });
      button.dataset.key = name;
      // Keeps the focus where it is: otherwise a phone's keyboard would close with each key.
      button.addEventListener("pointerdown", (event) => event.preventDefault());
      this.bar.append(button);
    }
    this.hold(this.held);
  }

  /** Return the input for typed text, with the keys that are held. They are for one key. */
  applyHeld(text: string): string {
    const { held } = this;
    if (held.control || held.alt) this.hold({ control: false, alt: false });
    return applyHeld(text, held);
  }

  private async paste(paste: (text: string) => void): Promise<void> {
    try {
      paste(await navigator.clipboard.readText());
    } catch {
      showHint(t`This browser does not let pages read the clipboard; touch and hold the terminal, and choose “Paste”.`);
    }
  }

  private hold(held: Held): void {
    this.held = held;
    this.bar.querySelector("[data-key=Ctrl]")?.setAttribute("aria-pressed", String(held.control));
    this.bar.querySelector("[data-key=Alt]")?.setAttribute("aria-pressed", String(held.alt));
  }
}
