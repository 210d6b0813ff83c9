/** A one-time link: its secret stands behind the `#`, which no server sees, and is posted from here. */

const form = document.getElementById("link") as HTMLFormElement;
const [secret = "", ...more] = location.hash.slice(1).split("&");
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
