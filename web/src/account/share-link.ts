/**
 * The page of a share's link. It keeps the secret behind the `#`, which no server sees, for this tab while the user
 * signs in, and removes it from the address bar and the history.
 */
import { SHARE_KEY } from "../ask";
import { t } from "../language";

const secret = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const why = document.getElementById("why");
const open = document.getElementById("open");

/** Say whose terminal it is, if the user is signed in. */
async function nameHost(): Promise<void> {
  const answer = await fetch(location.pathname.replace(/\/shared$/, "/api/shared"), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ share: sessionStorage.getItem(SHARE_KEY) }),
  });
  const { host, app, typing, message } = (await answer.json()) as Record<string, string | boolean>;
  if (why === null || (answer.ok && host === undefined)) return; // they are not signed in yet
  why.textContent = answer.ok ? typing === true
    ? t`${host} shares a terminal of ${app} with you. You watch it, and may type.`
    : t`${host} shares a terminal of ${app} with you. You watch it.` : String(message);
}

try {
  if (secret !== "") sessionStorage.setItem(SHARE_KEY, secret);
  if (sessionStorage.getItem(SHARE_KEY) === null) {
    if (why !== null) why.textContent = t`This link is not whole: nothing stands behind its “#”.`;
  } else if (open !== null) {
    open.hidden = false;
    open.focus();
  }
  if (open?.hidden === false) void nameHost();
} catch {
  if (why !== null) why.textContent = t`This browser lets no page keep anything, which a shared terminal needs.`;
}
