/**
 * The page of a share's link. It keeps the secret behind the `#`, which no server sees, for this tab while the user
 * signs in, and removes it from the address bar and the history.
 */
import { SHARE_KEY } from "../ask";

const secret = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const why = document.getElementById("why");
const open = document.getElementById("open");
try {
  if (secret !== "") sessionStorage.setItem(SHARE_KEY, secret);
  if (sessionStorage.getItem(SHARE_KEY) === null) {
    if (why !== null) why.textContent = "This link is not whole: nothing stands behind its “#”.";
  } else if (open !== null) {
    open.hidden = false;
    open.focus();
  }
} catch {
  if (why !== null) why.textContent = "This browser lets no page keep anything, which a shared terminal needs.";
}
