/**
 * A link that is good once, to sign in or to set a password: its secret stands behind the `#`, which no server
 * sees, and is posted from here.
 */

const form = document.getElementById("link") as HTMLFormElement;
const invitation = form.dataset.kind === "invitation";
const KEY = invitation ? "stagedoor.invitation" : "stagedoor.link";

/** The secret is kept for this tab until it is used, so that a page loaded again still has it. */
function keep(hash: string): void {
  try {
    if (hash === "") sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, hash);
  } catch {
    // Then it holds for as long as the page is not loaded again.
  }
}

function kept(): string {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

function fill(name: string, value: string): void {
  const field = form.elements.namedItem(name);
  if (field instanceof HTMLInputElement) field.value = value;
}

const hash = location.hash.slice(1) || kept();
const [secret = "", ...more] = hash.split("&");
keep(hash);
// A password may be refused, and then the same page comes again: an invitation that was used is worth nothing.
if (!invitation) form.addEventListener("submit", () => keep(""));
// Out of the history and the address bar, whatever comes of it.
history.replaceState(null, "", location.pathname);
const behind = new URLSearchParams(more.join("&"));
const app = behind.get("app");
const base = location.pathname.replace(/\/[^/]*$/, "");
if (secret === "") {
  const why = document.getElementById("why");
  if (why !== null) why.textContent = "This link is not whole: nothing stands behind its “#”.";
} else {
  fill("secret", secret);
  fill("name", behind.get("name") ?? "");
  fill("next", app === null ? `${base}/` : `${base}/app/${encodeURIComponent(app)}`);
  // Not by itself: what only looks at links (a mail filter, a chat's preview) would use it up.
  const button = form.querySelector("button");
  if (button !== null) button.disabled = false;
  (form.querySelector<HTMLElement>("input[type=password]") ?? button)?.focus();
}
