/**
 * The browser's sign-in as a terminal's page sees it: typing moves its end, a word comes before it, and another
 * takes its place over the terminal, which stays as it is.
 */

import { ask } from "./ask";

const LOOK_MS = 30_000;
/** So often typing is told of at most. */
const USED_MS = 60_000;

/** `over` says why it has ended; then there is nothing else. */
type Said = { over: string } | { over?: undefined; left_s: number; warn_s: number };

/** The terminal's line. */
interface Line {
  /** Cut it, so that the end of the old sign-in finds nothing on its way; whether there was one. */
  pause(): boolean;
  revive(): void;
}

function made<K extends keyof HTMLElementTagNameMap>(
  name: K, text: string, properties: Partial<HTMLElementTagNameMap[K]> = {},
): HTMLElementTagNameMap[K] {
  return Object.assign(document.createElement(name), { textContent: text }, properties);
}

export class SignIn {
  /** By the clock of this device, which goes on while it sleeps. */
  private endsAt = Infinity;
  private warnMs = 0;
  private typed = false;
  private toldAt = 0;
  private readonly note = made("p", "", { id: "sign-in-ends", hidden: true });
  private readonly dialog = made("dialog", "", { id: "sign-in" });
  private readonly why = made("p", "", { id: "sign-in-why" });
  private readonly secret = made("input", "", {
    id: "sign-in-secret", name: "secret", type: "password", autocomplete: "current-password", required: true,
  });

  constructor(private readonly path: string, private readonly name: string, private readonly line: Line) {
    this.note.setAttribute("role", "status");
    this.build();
    document.body.append(this.note, this.dialog);
    // By the person's own events: a program can make the terminal answer, which looks like typing further on.
    for (const kind of ["keydown", "beforeinput", "paste"])
      addEventListener(kind, (event) => event.isTrusted && this.used(), { capture: true, passive: true });
    setInterval(() => void this.look(), LOOK_MS);
    document.addEventListener("visibilitychange", () => void (document.hidden || this.look()));
    void this.look(true);
  }

  /** Somebody typed: that is use, and what a program shows is not. */
  private used(): void {
    this.typed = true;
    if (Date.now() - this.toldAt >= USED_MS) void this.tell();
  }

  /** The line was ended with its sign-in. Another tab may have signed in again already. */
  async ended(why: string): Promise<void> {
    const said = await this.asked({});
    if (said !== undefined && said.over === undefined) this.line.revive();
    else this.open(why);
  }

  private open(why: string): void {
    this.note.hidden = true;
    this.why.textContent = why;
    if (!this.dialog.open) this.dialog.showModal();
    this.secret.focus();
  }

  /** What is known is looked at again once it matters: another tab may have moved the end. */
  private async look(first = false): Promise<void> {
    if (this.dialog.open) return;
    const due = this.endsAt - Date.now() < this.warnMs;
    if (this.typed && Date.now() - this.toldAt >= USED_MS) await this.tell();
    else if (first || due) await this.asked({});
  }

  private async tell(): Promise<void> {
    this.typed = false;
    this.toldAt = Date.now();
    await this.asked({ used: true });
  }

  private async asked(fields: object): Promise<Said | undefined> {
    try {
      const said = await ask<Said>(this.path, "sign-in", fields);
      this.learn(said);
      return said;
    } catch {
      return undefined; // not reached: the terminal's own line hears of the same, and says so
    }
  }

  private learn(said: Said): void {
    if (said.over !== undefined) return;
    this.endsAt = Date.now() + said.left_s * 1000;
    this.warnMs = said.warn_s * 1000;
    const soon = said.left_s < said.warn_s;
    if (soon && this.note.hidden) {
      const at = new Date(this.endsAt).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const again = made("button", "Sign in again", { type: "button" });
      again.addEventListener("click", () => this.open(""));
      this.note.replaceChildren(`Your sign-in ends at ${at}. What runs in the terminal goes on. `, again);
    }
    this.note.hidden = !soon;
  }

  private build(): void {
    this.dialog.setAttribute("aria-labelledby", "sign-in-title");
    this.why.setAttribute("role", "alert");
    const form = made("form", "");
    const name = made("input", "", { name: "name", value: this.name, readOnly: true, autocomplete: "username" });
    const who = made("label", "Name ");
    who.append(name);
    const secret = made("label", "Password, or a token ");
    secret.append(this.secret);
    const later = made("button", "Not now", { id: "sign-in-later", type: "button" });
    later.addEventListener("click", () => this.dialog.close());
    const buttons = made("div", "");
    buttons.append(made("button", "Sign in", { type: "submit" }), later);
    form.append(who, secret, buttons);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.again();
    });
    const title = made("h2", "Sign in again", { id: "sign-in-title" });
    this.dialog.append(title, made("p", "The terminal stays as it is, and what runs in it goes on."), this.why, form);
  }

  private async again(): Promise<void> {
    this.why.textContent = "";
    const paused = this.line.pause();
    try {
      this.learn(await ask<Said>(this.path, "sign-in/again", { name: this.name, secret: this.secret.value }));
    } catch (error) {
      this.why.textContent = error instanceof Error ? error.message : String(error);
      this.secret.select();
      if (paused) this.line.revive();
      this.secret.focus();
      return;
    }
    this.secret.value = "";
    this.dialog.close();
    this.line.revive();
  }
}
