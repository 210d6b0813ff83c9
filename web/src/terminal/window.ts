/** The page's own window and full screen, in which the browser keeps no keys for itself. */

import type { Terminal } from "@xterm/xterm";
import { getElement, showHint } from "../page";
import { isFirstTime } from "../settings";
import { t } from "../language";

interface InstallPrompt extends Event {
  prompt(): Promise<void>;
}

interface KeyboardLock {
  lock?: (keys?: string[]) => Promise<void>;
}

/** Toggle full screen, with all keys; holding Esc ends it. Browsers without a keyboard lock only fill the screen. */
async function fillScreen(): Promise<void> {
  if (document.fullscreenElement !== null) return document.exitFullscreen();
  // WebKit takes the lock as an option, Chromium as an interface of its own.
  const options = { navigationUI: "hide", keyboardLock: "browser" } as FullscreenOptions;
  await document.documentElement.requestFullscreen(options);
  await (navigator as { keyboard?: KeyboardLock }).keyboard?.lock?.();
}

/** Return whether the page has a window of its own, to which the browser leaves all keys. */
export function hasOwnWindow(): boolean {
  return matchMedia("(display-mode: standalone), (display-mode: fullscreen), (display-mode: window-controls-overlay)").matches;
}

/** Set up the buttons for the window and full screen, and a hint about keys that a tab does not get. */
export function setUpWindowKeys(term: Terminal): void {
  let install: InstallPrompt | undefined;
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    install = event as InstallPrompt;
  });
  const button = getElement("window");
  // Firefox has neither app windows nor this event.
  button.hidden = hasOwnWindow() || !("onbeforeinstallprompt" in window);
  button.addEventListener("click", () => {
    if (install !== undefined) void install.prompt();
    else showHint(t`In your browser's menu, choose “Install” or “Open as app window”: there Ctrl-W, Ctrl-T and Ctrl-N reach the terminal.`);
  });
  getElement("full").addEventListener("click", () => {
    void fillScreen().catch(() => showHint(t`This browser does not offer full screen.`));
    term.focus();
  });
  addEventListener("keydown", (event) => {
    // The first press of Control may be the first attempt at one of these keys; a page cannot see more.
    if (event.key === "Control" && !hasOwnWindow() && isFirstTime("keys"))
      showHint(t`In a tab the browser keeps Ctrl-W, Ctrl-T and Ctrl-N. Alt-Shift-W, -T and -N send them; an app window or full screen gives you the keys themselves.`);
  }, { capture: true });
}

/** How long after its release Control counts as held: a busy browser reports the release before it closes the tab. */
const LET_GO_MS = 500;

/** Track whether Control is held, or was a moment ago: Ctrl-W closes a tab without an event for the W. */
export function watchControl(): { readonly held: boolean } {
  let pressed = false;
  let until = 0;
  const letGo = (): void => {
    if (pressed) until = performance.now() + LET_GO_MS;
    pressed = false;
  };
  addEventListener("keydown", (event) => (pressed ||= event.key === "Control"), { capture: true });
  addEventListener("keyup", (event) => event.key === "Control" && letGo(), { capture: true });
  addEventListener("blur", letGo);
  return { get held() { return pressed || performance.now() < until; } };
}
