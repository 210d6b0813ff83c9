/** Passkeys on the pages: adding one on the account's page, signing in, and proofs of presence. */
import { callApi } from "../api";
import { getAssertion, createAttestation, type Creation, type Request } from "./webauthn";
import { t } from "../language";
import { describeError } from "../page";

const NONE = t`Passkeys do not work here: they need https:// and a browser that supports them.`;

function explain(error: unknown): string {
  // The browser's message about a cancelled dialog is written for developers.
  if (error instanceof DOMException && error.name === "NotAllowedError") return t`The passkey dialog was cancelled or timed out.`;
  if (error instanceof DOMException && error.name === "InvalidStateError") return t`This device has a passkey for you already.`;
  return describeError(error);
}

/** Run `act` when a form is submitted, one at a time, and show errors in `why`. */
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
      .catch((error: unknown) => say(explain(error)))
      .finally(() => {
        if (button !== null) button.disabled = false;
      });
  });
}

function find<T extends HTMLElement>(id: string): T | null {
  return document.getElementById(id) as T | null;
}

const prove = find<HTMLFormElement>("prove");
const why = find("why");
if (prove !== null && why !== null) {
  const { path = "", next = "/" } = prove.dataset;
  handle(prove, why, async () => {
    // The form names the terminal that waits, if there is one, and the letters that it shows.
    const request = await callApi<Request>(path, "step-up", Object.fromEntries(new FormData(prove)));
    await callApi(path, "step-up/proved", { answer: await getAssertion(request) });
    location.assign(next);
  });
}

const signIn = find<HTMLFormElement>("passkey-sign-in");
if (signIn !== null && why !== null && "PublicKeyCredential" in window) {
  const { path = "", next = "/" } = signIn.dataset;
  signIn.hidden = false;
  handle(signIn, why, async () => {
    const request = await callApi<Request>(path, "sign-in/passkey", {});
    await callApi(path, "sign-in/passkey/proved", { answer: await getAssertion(request) });
    location.assign(next);
  });
}

const add = find<HTMLFormElement>("add-passkey");
const wrong = find("passkey-why");
if (add !== null && wrong !== null) {
  const { path = "" } = add.dataset;
  handle(add, wrong, async () => {
    const field = (name: string): string => {
      const input = add.elements.namedItem(name);
      return input instanceof HTMLInputElement ? input.value : "";
    };
    const creation = await callApi<Creation>(path, "passkey/add", { password: field("password") });
    await callApi(path, "passkey/added", { name: field("name"), answer: await createAttestation(creation) });
    location.reload();
  });
}
