/** The page's title: the program's title, the app and the terminal, and a mark if the bell rang without the focus. */

import type { Terminal } from "@xterm/xterm";
import { toOneLine } from "./clipboard";
import { getElement } from "../page";

export class Title {
  private bell = false;
  private program = "";

  constructor(term: Terminal, private app: string, private terminal: string) {
    const status = getElement("status");
    term.onTitleChange((text) => {
      this.program = toOneLine(text);
      this.draw();
    });
    term.onBell(() => {
      this.bell = !document.hasFocus();
      this.draw();
      status.classList.add("bell");
      setTimeout(() => status.classList.remove("bell"), 300);
    });
    addEventListener("focus", () => {
      this.bell = false;
      this.draw();
    });
    this.draw();
  }

  /** Set the app and the terminal, which a guest's page learns with its ticket. */
  setTerminal(app: string, terminal: string): void {
    this.app = app;
    this.terminal = terminal;
    this.draw();
  }

  private draw(): void {
    const where = this.terminal ? `${this.app}: ${this.terminal}` : this.app;
    document.title = `${this.bell ? "🔔 " : ""}${this.program ? `${this.program} · ` : ""}${where} · ${document.body.dataset.brand ?? ""}`;
    getElement("terminal-name").textContent = this.terminal;
    getElement("title").textContent = this.program;
  }
}
