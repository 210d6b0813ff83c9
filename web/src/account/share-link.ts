/**
 * The page of a share's link. It keeps the secret behind the `#`, which no server sees, for this tab while the user
 * signs in, and removes it from the address bar and the history.
 */
import { callApi, SHARE_KEY } from "../api";
import { t } from "../language";
import { describeError } from "../page";
import { readStored, store } from "../storage";

const secret = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const why = document.getElementById("why");
const open = document.getElementById("open");

function say(text: string): void {
  if (why !== null) why.textContent = text;
}

/** Say whose terminal it is, if the user is signed in. */
async function nameHost(share: string): Promise<void> {
  const { host, app, typing } = await callApi<{ host?: string; app?: string; typing?: boolean }>(
    location.pathname.replace(/\/shared$/, ""), "shared", { share },
  );
  if (host === undefined) return; // they are not signed in yet
  say(
    typing
      ? t`${host} shares a terminal of ${app} with you. You watch it, and may type.`
      : t`${host} shares a terminal of ${app} with you. You watch it.`,
  );
}

const allowed = secret === "" || store("sessionStorage", SHARE_KEY, secret);
const share = readStored("sessionStorage", SHARE_KEY);
if (!allowed) say(t`This browser does not let pages store anything, which a shared terminal needs.`);
else if (share === "") say(t`This link is incomplete: nothing follows its “#”.`);
else {
  if (open !== null) {
    open.hidden = false;
    open.focus();
  }
  nameHost(share).catch((error: unknown) => say(describeError(error)));
}
