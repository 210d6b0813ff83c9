/** Notices of the system about a terminal that does not have the focus: its bell, and the end of a command that took a while. */

import type { Terminal } from "@xterm/xterm";
import { getElement } from "../page";
import type { Settings } from "../settings";
import { t } from "../language";

const LONG_MS = 30_000;

/** Show notices of `term` if the settings ask for them. The shell marks a command's start and end (OSC 133); later handlers read these marks too. */
export function showAlerts(term: Terminal, settings: Pick<Settings, "notify">): void {
  const box = document.querySelector<HTMLInputElement>("#settings [name=notify]");
  // A page without TLS has none.
  if (!("Notification" in window)) return box?.parentElement?.remove();
  box?.addEventListener("change", () => {
    if (box.checked && Notification.permission === "default") void Notification.requestPermission();
  });

  function show(text: string): void {
    if (!settings.notify || document.hasFocus() || Notification.permission !== "granted") return;
    const notice = new Notification(getElement("app").textContent ?? "", { body: text, tag: location.href });
    notice.onclick = () => window.focus();
  }

  let since: number | undefined;
  term.onBell(() => show(t`The bell rang.`));
  term.parser.registerOscHandler(133, (sequence) => {
    if (sequence.startsWith("C")) since = Date.now();
    if (sequence.startsWith("D") && since !== undefined) {
      if (Date.now() - since >= LONG_MS) show(t`The command has finished.`);
      since = undefined;
    }
    return false;
  });
}
