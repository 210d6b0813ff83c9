/**
 * The page of a link that is good once, to sign in or to set a password. Its secret is behind the `#`, which no
 * server sees, and the form posts it.
 */
import { t } from "../language";
import { readStored, store } from "../storage";

const form = document.getElementById("link") as HTMLFormElement;
const invitation = form.dataset.kind === "invitation";
const KEY = invitation ? "stagedoor.invitation" : "stagedoor.link";

function fill(name: string, value: string): void {
  const field = form.elements.namedItem(name);
  if (field instanceof HTMLInputElement) field.value = value;
}

const hash = location.hash.slice(1) || readStored("sessionStorage", KEY);
const [secret = "", ...more] = hash.split("&");
// This tab keeps the secret until it is used, so that a reloaded page still has it. A refused password leads to the
// same page again, so an invitation is kept; a used one is worth nothing.
store("sessionStorage", KEY, hash);
if (!invitation) form.addEventListener("submit", () => store("sessionStorage", KEY, ""));
// Remove the secret from the history and the address bar.
history.replaceState(null, "", location.pathname);
const behind = new URLSearchParams(more.join("&"));
const app = behind.get("app");
const base = location.pathname.replace(/\/[^/]*$/, "");
if (secret === "") {
  const why = document.getElementById("why");
  if (why !== null) why.textContent = t`This link is incomplete: nothing follows its “#”.`;
} else {
  fill("secret", secret);
  fill("name", behind.get("name") ?? "");
  fill("next", app === null ? `${base}/` : `${base}/app/${encodeURIComponent(app)}`);
  // Not submitted automatically: a mail filter or a chat's preview that opens links would use it up.
  const button = form.querySelector("button");
  if (button !== null) button.disabled = false;
  (form.querySelector<HTMLElement>("input[type=password]") ?? button)?.focus();
}
