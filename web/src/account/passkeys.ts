/** Passkeys on the pages: adding one on the account's page, and the proof that a person is there. */
import { ask } from "../ask";
import { assertion, attestation, type Creation, type Request } from "./webauthn";

const NONE = "This browser, or this page, has no passkeys: they need https:// and a browser that knows them.";

function told(error: unknown): string {
  // What the authenticator says of a person who changed their mind is for developers.
  if (error instanceof DOMException && error.name === "NotAllowedError") return "Nothing was proved: it was cancelled, or took too long.";
  if (error instanceof DOMException && error.name === "InvalidStateError") return "This device has a passkey for you already.";
  return error instanceof Error ? error.message : String(error);
}

/** Let a form do something slow, once at a time, and say in `why` what went wrong. */
function handle(form: HTMLFormElement, why: HTMLElement, act: () => Promise<void>): void {
  const button = form.querySelector("button");
  const say = (text: string): void => {
    why.textContent = text;
    why.hidden = text === "";
  };
  if (!("credentials" in navigator) || !("PublicKeyCredential" in window)) return say(NONE);
  if (button !== null) button.disabled = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (button !== null) button.disabled = true;
    say("");
    act()
      .catch((error: unknown) => say(told(error)))
      .finally(() => {
        if (button !== null) button.disabled = false;
      });
  });
}

function one<T extends HTMLElement>(id: string): T | null {
  return document.getElementById(id) as T | null;
}

const stepUp = one("step-up");
const prove = one<HTMLFormElement>("prove");
const why = one("why");
if (stepUp !== null && prove !== null && why !== null) {
  const { path = "", next = "/" } = stepUp.dataset;
  handle(prove, why, async () => {
    // For a terminal that waits: whose, and the letters that it shows.
    const asked = await ask<Request>(path, "step-up", Object.fromEntries(new FormData(prove)));
    await ask(path, "step-up/proved", { answer: await assertion(asked) });
    location.assign(next);
  });
}

const signIn = one<HTMLFormElement>("passkey-sign-in");
if (signIn !== null && why !== null && "PublicKeyCredential" in window) {
  const { path = "", next = "/" } = signIn.dataset;
  signIn.hidden = false;
  handle(signIn, why, async () => {
    const asked = await ask<Request>(path, "sign-in/passkey", {});
    await ask(path, "sign-in/passkey/proved", { answer: await assertion(asked) });
    location.assign(next);
  });
}

const add = one<HTMLFormElement>("add-passkey");
const wrong = one("passkey-why");
if (add !== null && wrong !== null) {
  const { path = "" } = add.dataset;
  handle(add, wrong, async () => {
    const field = (name: string): string => {
      const found = add.elements.namedItem(name);
      return found instanceof HTMLInputElement ? found.value : "";
    };
    const asked = await ask<Creation>(path, "passkey/add", { password: field("password") });
    await ask(path, "passkey/added", { name: field("name"), answer: await attestation(asked) });
    location.reload();
  });
}
