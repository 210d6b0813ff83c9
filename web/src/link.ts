/** A one-time link: its secret stands behind the `#`, which no server sees, and is posted from here. */

const KEY = "stagedoor.link";

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

const form = document.getElementById("link") as HTMLFormElement;
const hash = location.hash.slice(1) || kept();
const [secret = "", ...more] = hash.split("&");
keep(hash);
form.addEventListener("submit", () => keep(""));
// Out of the history and the address bar, whatever comes of it.
history.replaceState(null, "", location.pathname);
const app = new URLSearchParams(more.join("&")).get("app");
const base = location.pathname.replace(/\/link$/, "");
if (secret === "") {
  const why = document.getElementById("why");
  if (why !== null) why.textContent = "This link is not whole: nothing stands behind its “#”.";
} else {
  (form.elements.namedItem("secret") as HTMLInputElement).value = secret;
  (form.elements.namedItem("next") as HTMLInputElement).value = app === null ? `${base}/` : `${base}/app/${encodeURIComponent(app)}`;
  // Not by itself: what only looks at links (a mail filter, a chat's preview) would use it up.
  const button = form.querySelector("button");
  if (button !== null) {
    button.disabled = false;
    button.focus();
  }
}
