/** The keys that a phone lacks, as buttons below the terminal. */

import type { Terminal } from "@xterm/xterm";
import { barKey, withControl } from "./keys";
import { element } from "../page";

const NAMES = ["Esc", "Ctrl", "Tab", "←", "↑", "↓", "→", "|", "/", "-", "~"];

export class KeyBar {
  private control = false;
  private readonly bar = element("keys");

  constructor(term: Terminal, typed: (text: string) => void) {
    for (const name of NAMES) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.dataset.key = name;
      if (name === "Ctrl") button.setAttribute("aria-pressed", "false");
      // Keeps the focus where it is: otherwise a phone's keyboard would close with each key.
      button.addEventListener("pointerdown", (event) => event.preventDefault());
      button.addEventListener("click", () => {
        if (name === "Ctrl") this.hold(!this.control);
        else typed(barKey(name, term.modes.applicationCursorKeysMode));
        term.focus();
      });
      this.bar.append(button);
    }
  }

  /** Return the input for typed text, with Ctrl if that is held. Ctrl is for one key. */
  meant(text: string): string {
    if (!this.control) return text;
    this.hold(false);
    return withControl(text);
  }

  private hold(held: boolean): void {
    this.control = held;
    this.bar.querySelector("[data-key=Ctrl]")?.setAttribute("aria-pressed", String(held));
  }
}
