/**
 * Where a share's link leads: the secret behind the `#`, which no server sees, is kept for this tab while
 * its person signs in, and leaves the address bar and the history.
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
