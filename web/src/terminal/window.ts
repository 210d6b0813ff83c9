/** A window of its own and the full screen, where a browser keeps no key for itself. */

import type { Terminal } from "@xterm/xterm";
import { element, hint } from "../page";
import { firstTime } from "../settings";

interface InstallPrompt extends Event {
  prompt(): Promise<void>;
}

interface KeyboardLock {
  lock?: (keys?: string[]) => Promise<void>;
}

/** Full screen, with all keys. Esc held down leads out. Browsers without a lock still fill the screen. */
async function fillScreen(): Promise<void> {
  if (document.fullscreenElement !== null) return document.exitFullscreen();
  // WebKit takes the lock as an option, Chromium as an interface of its own.
  const options = { navigationUI: "hide", keyboardLock: "browser" } as FullscreenOptions;
  await document.documentElement.requestFullscreen(options);
  await (navigator as { keyboard?: KeyboardLock }).keyboard?.lock?.();
}

/** Whether the page has a window of its own, so that the browser leaves all keys to it. */
export function ownWindow(): boolean {
  return matchMedia("(display-mode: standalone), (display-mode: fullscreen), (display-mode: window-controls-overlay)").matches;
}

/** The two buttons for that, and a word the first time that a tab takes a key away. */
export function windowKeys(term: Terminal): void {
  let install: InstallPrompt | undefined;
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    install = event as InstallPrompt;
  });
  const button = element("window");
  // Firefox has neither app windows nor this event.
  button.hidden = ownWindow() || !("onbeforeinstallprompt" in window);
  button.addEventListener("click", () => {
    if (install !== undefined) void install.prompt();
    else hint("In your browser's menu, choose “Install” or “Open as app window”: there Ctrl-W, Ctrl-T and Ctrl-N reach the terminal.");
  });
  element("full").addEventListener("click", () => {
    void fillScreen().catch(() => hint("This browser gives a page no full screen."));
    term.focus();
  });
  addEventListener("keydown", (event) => {
    // The first time that somebody reaches for one of them, as far as a page can see it.
    if (event.key === "Control" && !ownWindow() && firstTime("keys"))
      hint("In a tab the browser keeps Ctrl-W, Ctrl-T and Ctrl-N. Alt-Shift-W, -T and -N send them; an app window or full screen gives you the keys themselves.");
  }, { capture: true });
}

/** A browser that is busy asks to close the tab after it has told of the key that was let go. */
const LET_GO_MS = 500;

/** Whether Control is held, or was a moment ago: a tab closes by Ctrl-W without telling the page of the W. */
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
