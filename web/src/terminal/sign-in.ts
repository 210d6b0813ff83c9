/**
 * The browser's sign-in on a terminal's page. Typing extends it, a note warns before its end, and the user can sign in
 * again without leaving the terminal: by a password in a form here, or at an identity provider in another tab.
 */

import { callApi } from "../api";
import { formatClock } from "../local-time";
import { createButton, createElement, describeError, getElement } from "../page";
import { t } from "../language";

const CHECK_MS = 30_000;
/** The least time between two reports of typing. */
const USED_MS = 60_000;
/** How often to check whether the user has signed in in the identity provider's tab. */
const AWAIT_MS = 2_000;
/** How long to check: the gateway forgets a sign-in that takes longer. */
const AWAIT_MOST_MS = 900_000;

/** The state of the sign-in. An ended one has only `over`, the reason. `provider` is null for users with a password. */
type SignInState =
  | { over: string }
  | { over?: undefined; name: string; left_s: number; warn_s: number; provider: string | null; sign_in: string };

/** The terminal's connection. */
interface Line {
  /** Cut it, so that the end of the old sign-in interrupts no frame. Return whether there was one. */
  pause(): boolean;
  revive(): void;
}

export class SignIn {
  /** The end by the clock of this device, which also runs while the device sleeps. */
  private endsAt = Infinity;
  private warnMs = 0;
  private typed = false;
  private reportedAt = 0;
  /** The identity provider that the user signed in by, or "". */
  private provider = "";
  private awaited: number | undefined;
  /** The id of the browser's sign-in, and its id when a sign-in in another tab began. */
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
    getElement("notices").append(this.note);
    document.body.append(this.dialog);
    // Only the user's own events count: a program can make the terminal answer, which looks like typing later.
    for (const kind of ["keydown", "beforeinput", "paste"])
      addEventListener(kind, (event) => event.isTrusted && this.noteUse(), { capture: true, passive: true });
    setInterval(() => void this.check(), CHECK_MS);
    document.addEventListener("visibilitychange", () => void (document.hidden || this.check()));
    void this.check(true);
  }

  /** Note that the user typed, which counts as use of the sign-in; output does not. */
  private noteUse(): void {
    this.typed = true;
    if (Date.now() - this.reportedAt >= USED_MS) void this.reportUse();
  }

  /** Handle the end of the connection with its sign-in. Another tab may have signed in again already. */
  async handleEnd(why: string): Promise<void> {
    const state = await this.fetchState({});
    if (state !== undefined && state.over === undefined && state.name === this.name) {
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
    if (button !== null) button.textContent = t`Sign in with ${this.provider}`;
    button?.focus();
  }

  private shut(): void {
    this.stopWaiting();
    if (this.dialog.open) this.dialog.close();
  }

  /** Fetch the state again when it matters, since another tab may have extended the sign-in. */
  private async check(first = false): Promise<void> {
    if (this.awaited !== undefined) return this.checkArrival();
    if (this.dialog.open) return;
    const due = this.endsAt - Date.now() < this.warnMs;
    if (this.typed && Date.now() - this.reportedAt >= USED_MS) await this.reportUse();
    else if (first || due) await this.fetchState({});
  }

  private async reportUse(): Promise<void> {
    this.typed = false;
    this.reportedAt = Date.now();
    await this.fetchState({ used: true });
  }

  private async fetchState(fields: object): Promise<SignInState | undefined> {
    try {
      const state = await callApi<SignInState>(this.path, "sign-in", fields);
      this.learn(state);
      return state;
    } catch {
      return undefined; // the gateway is out of reach, which the terminal's connection reports
    }
  }

  private learn(state: SignInState): void {
    if (state.over !== undefined) return;
    if (state.name === this.name) this.provider = state.provider ?? "";
    this.current = state.sign_in;
    this.endsAt = Date.now() + state.left_s * 1000;
    this.warnMs = state.warn_s * 1000;
    const soon = state.left_s < state.warn_s;
    if (soon && this.note.hidden) {
      const at = formatClock(this.endsAt / 1000);
      const again = createButton(t`Sign in again`, () => this.open(""));
      this.note.replaceChildren(t`Your sign-in ends at ${at}. Programs in the terminal keep running. `, again);
    }
    this.note.hidden = !soon;
  }

  private build(): void {
    this.dialog.setAttribute("aria-labelledby", "sign-in-title");
    this.why.setAttribute("role", "alert");
    const name = createElement("input", "", { name: "name", value: this.name, readOnly: true, autocomplete: "username" });
    const who = createElement("label", t`Name `);
    who.append(name);
    const secret = createElement("label", t`Password, or a token `);
    secret.append(this.secret);
    this.byPassword.append(who, secret, this.makeButtons(t`Sign in`, "sign-in-later"));
    this.byPassword.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.submitPassword();
    });
    // The browser submits this form itself, to open the provider in another tab.
    this.byProvider.action = `${this.path}/sign-in/sso`;
    this.byProvider.append(
      createElement("input", "", { type: "hidden", name: "provider" }),
      createElement("input", "", { type: "hidden", name: "next", value: `${this.path}/signed-in` }),
      createElement("p", t`It opens in another tab. After you sign in there, this page continues automatically.`),
      this.makeButtons("", "sign-in-stay"),
    );
    this.byProvider.addEventListener("submit", () => this.leave());
    const title = createElement("h2", t`Sign in again`, { id: "sign-in-title" });
    const stays = createElement("p", t`The terminal stays as it is, and its programs keep running.`);
    this.dialog.append(title, stays, this.why, this.byPassword, this.byProvider);
    this.dialog.addEventListener("close", () => this.shut());
  }

  private makeButtons(text: string, laterId: string): HTMLDivElement {
    const later = createButton(t`Not now`, () => this.shut(), { id: laterId });
    const both = createElement("div", "");
    both.append(createElement("button", text, { type: "submit", className: "primary" }), later);
    return both;
  }

  /** Begin to wait for a sign-in in the provider's tab. */
  private leave(): void {
    const field = this.byProvider.elements.namedItem("provider") as HTMLInputElement;
    field.value = this.provider;
    this.why.textContent = "";
    this.before = this.current;
    clearInterval(this.awaited);
    const begun = Date.now();
    // A hidden page checks when it is visible again.
    this.awaited = setInterval(() => {
      if (Date.now() - begun > AWAIT_MOST_MS) this.giveUp();
      else if (!document.hidden) void this.checkArrival();
    }, AWAIT_MS);
  }

  private stopWaiting(): void {
    clearInterval(this.awaited);
    this.awaited = undefined;
  }

  private giveUp(): void {
    this.stopWaiting();
    this.why.textContent = t`There was no sign-in within 15 minutes; try again.`;
  }

  /** Check whether a user has signed in there, and reconnect if it is the same user. */
  private async checkArrival(): Promise<void> {
    const state = await this.fetchState({});
    if (this.awaited === undefined || state === undefined || state.over !== undefined) return;
    if (state.sign_in === this.before) return;
    if (state.name !== this.name) {
      this.why.textContent = t`You signed in as ${state.name}, but this terminal belongs to ${this.name}. Sign in as ${this.name}, or open the home page.`;
      return;
    }
    this.shut();
    this.line.pause();
    this.line.revive();
  }

  private async submitPassword(): Promise<void> {
    this.why.textContent = "";
    const paused = this.line.pause();
    try {
      this.learn(await callApi<SignInState>(this.path, "sign-in/again", { name: this.name, secret: this.secret.value }));
    } catch (error) {
      this.why.textContent = describeError(error);
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
