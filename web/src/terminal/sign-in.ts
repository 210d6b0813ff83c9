/**
 * The browser's sign-in as a terminal's page sees it: typing moves its end, a word comes before it, and another
 * takes its place over the terminal, which stays as it is: by a password in a form here, or at an identity provider
 * in a tab of its own.
 */

import { ask } from "../ask";
import { createElement, element } from "../page";

const LOOK_MS = 30_000;
/** So often typing is told of at most. */
const USED_MS = 60_000;
/** So often it is asked whether the tab of the identity provider has come to its end, while that is awaited. */
const AWAIT_MS = 2_000;
/** For so long: the gateway forgets a sign-in that takes longer. */
const AWAIT_MOST_MS = 900_000;

/** `over` says why it has ended; then there is nothing else. `provider` is null for who has a password. */
type Said =
  | { over: string }
  | { over?: undefined; name: string; left_s: number; warn_s: number; provider: string | null; sign_in: string };

/** The terminal's line. */
interface Line {
  /** Cut it, so that the end of the old sign-in finds nothing on its way; whether there was one. */
  pause(): boolean;
  revive(): void;
}

export class SignIn {
  /** By the clock of this device, which goes on while it sleeps. */
  private endsAt = Infinity;
  private warnMs = 0;
  private typed = false;
  private toldAt = 0;
  /** The identity provider that this sign-in is by. */
  private provider = "";
  private awaited: number | undefined;
  /** Which sign-in of this browser's it is, and which was there when another one was begun elsewhere. */
  private current = "";
  private before = "";
  private readonly note = createElement("p", "", { id: "sign-in-ends", hidden: true });
  private readonly dialog = createElement("dialog", "", { id: "sign-in" });
  private readonly why = createElement("p", "", { id: "sign-in-why" });
  private readonly secret = createElement("input", "", {
    id: "sign-in-secret", name: "secret", type: "password", autocomplete: "current-password", required: true,
  });

  private readonly byPassword = createElement("form", "");
  private readonly byProvider = createElement("form", "", { method: "post", target: "_blank" });

  constructor(private readonly path: string, private readonly name: string, private readonly line: Line) {
    this.note.setAttribute("role", "status");
    this.build();
    element("notices").append(this.note);
    document.body.append(this.dialog);
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
    if (said !== undefined && said.over === undefined && said.name === this.name) {
      this.shut();
      this.line.revive();
    } else this.open(why);
  }

  private open(why: string): void {
    this.note.hidden = true;
    this.why.textContent = why;
    this.byPassword.hidden = this.provider !== "";
    this.byProvider.hidden = this.provider === "";
    if (!this.dialog.open) this.dialog.showModal();
    if (this.provider === "") return this.secret.focus();
    const button = this.byProvider.querySelector("button");
    if (button !== null) button.textContent = `Sign in with ${this.provider}`;
    button?.focus();
  }

  private shut(): void {
    this.stopWaiting();
    if (this.dialog.open) this.dialog.close();
  }

  /** What is known is looked at again once it matters: another tab may have moved the end. */
  private async look(first = false): Promise<void> {
    if (this.awaited !== undefined) return this.arrived();
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
    if (said.name === this.name) this.provider = said.provider ?? "";
    this.current = said.sign_in;
    this.endsAt = Date.now() + said.left_s * 1000;
    this.warnMs = said.warn_s * 1000;
    const soon = said.left_s < said.warn_s;
    if (soon && this.note.hidden) {
      const at = new Date(this.endsAt).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const again = createElement("button", "Sign in again", { type: "button" });
      again.addEventListener("click", () => this.open(""));
      this.note.replaceChildren(`Your sign-in ends at ${at}. What runs in the terminal goes on. `, again);
    }
    this.note.hidden = !soon;
  }

  private build(): void {
    this.dialog.setAttribute("aria-labelledby", "sign-in-title");
    this.why.setAttribute("role", "alert");
    const name = createElement("input", "", { name: "name", value: this.name, readOnly: true, autocomplete: "username" });
    const who = createElement("label", "Name ");
    who.append(name);
    const secret = createElement("label", "Password, or a token ");
    secret.append(this.secret);
    this.byPassword.append(who, secret, this.buttons("Sign in", "sign-in-later"));
    this.byPassword.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.again();
    });
    // Straight to the provider, in another tab: the form is sent by the browser itself.
    this.byProvider.action = `${this.path}/sign-in/sso`;
    this.byProvider.append(
      createElement("input", "", { type: "hidden", name: "provider" }),
      createElement("input", "", { type: "hidden", name: "next", value: `${this.path}/signed-in` }),
      createElement("p", "It opens in a tab of its own. When you are signed in there, this page goes on by itself."),
      this.buttons("", "sign-in-stay"),
    );
    this.byProvider.addEventListener("submit", () => this.leave());
    const title = createElement("h2", "Sign in again", { id: "sign-in-title" });
    const stays = createElement("p", "The terminal stays as it is, and what runs in it goes on.");
    this.dialog.append(title, stays, this.why, this.byPassword, this.byProvider);
    this.dialog.addEventListener("close", () => this.shut());
  }

  private buttons(text: string, laterId: string): HTMLDivElement {
    const later = createElement("button", "Not now", { id: laterId, type: "button" });
    later.addEventListener("click", () => this.shut());
    const both = createElement("div", "");
    both.append(createElement("button", text, { type: "submit" }), later);
    return both;
  }

  /** The other tab is on its way to the provider. */
  private leave(): void {
    const field = this.byProvider.elements.namedItem("provider") as HTMLInputElement;
    field.value = this.provider;
    this.why.textContent = "";
    this.before = this.current;
    clearInterval(this.awaited);
    const begun = Date.now();
    // A page that is hidden looks when it is shown again.
    this.awaited = setInterval(() => {
      if (Date.now() - begun > AWAIT_MOST_MS) this.giveUp();
      else if (!document.hidden) void this.arrived();
    }, AWAIT_MS);
  }

  private stopWaiting(): void {
    clearInterval(this.awaited);
    this.awaited = undefined;
  }

  private giveUp(): void {
    this.stopWaiting();
    this.why.textContent = "Nobody has signed in there for 15 minutes; try again.";
  }

  /** Whether somebody has signed in there: then the terminal goes on, if it was the same person. */
  private async arrived(): Promise<void> {
    const said = await this.asked({});
    if (this.awaited === undefined || said === undefined || said.over !== undefined) return;
    if (said.sign_in === this.before) return;
    if (said.name !== this.name) {
      this.why.textContent = `You signed in as ${said.name}, and this terminal is of ${this.name}. Sign in as ${this.name}, or open the home page.`;
      return;
    }
    this.shut();
    this.line.pause();
    this.line.revive();
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
