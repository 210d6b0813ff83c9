/** The user's input by typing, pasting or any other way, and the keys of the page. */

import type { Terminal } from "@xterm/xterm";
import { makeHarmless, countLines, hasSeveralLines } from "./clipboard";
import { KeyBar } from "./keybar";
import { Keyboard } from "./keyboard";
import { findChord, encodeControlSlash, findInsertedText } from "./keys";
import { confirmText, copy } from "../page";
import type { Settings } from "../settings";
import { t } from "../language";

interface Typist {
  /** Called with bytes for the terminal. */
  sendInput(data: Uint8Array): void;
  openSettings(): void;
  openCommandPalette(): void;
  openSearch(): void;
  /** Go to the prompt before or after. Return false if there are no prompts, and the key is the program's. */
  jump(back: boolean): boolean;
}

export function setUpTyping(term: Terminal, screen: HTMLElement, settings: Settings, typist: Typist): void {
  const utf8 = new TextEncoder();
  const type = (text: string) => typist.sendInput(utf8.encode(text));
  const bar = new KeyBar(term, type, (text) => void paste(text));
  const keyboard = new Keyboard(term);

  async function paste(text: string): Promise<void> {
    text = makeHarmless(text);
    // A program with bracketed paste distinguishes a paste from typing; any other would run line after line.
    const guarded = settings.pasteGuard && hasSeveralLines(text) && !term.modes.bracketedPasteMode;
    if (guarded && !(await confirmText(t`Paste ${countLines(text)} lines? Each may run at once.`, text))) return;
    term.paste(text);
    term.focus();
  }

  term.onData((text) => type(bar.applyHeld(text)));
  term.onBinary((text) => typist.sendInput(Uint8Array.from(text, (char) => char.charCodeAt(0))));

  /** Send a key that the program wants encoded. Return whether it is left to xterm.js. */
  function encode(event: KeyboardEvent): boolean {
    const input = event.type === "keypress" || event.isComposing ? undefined : keyboard.encode(event);
    if (input === undefined) return true;
    event.preventDefault();
    // A modifier alone, or the end of a press, leaves the selection as it is.
    if (event.type === "keydown" && !/^(?:Shift|Control|Alt|AltGraph|Meta)$/.test(event.key)) term.input(input);
    else if (input) type(input);
    return false;
  }

  term.attachCustomKeyEventHandler((event) => {
    if (event.type !== "keydown") return encode(event);
    const meant = findChord(event) ?? (keyboard.encode(event) === undefined ? encodeControlSlash(event) : undefined);
    if (meant !== undefined) {
      event.preventDefault();
      if (meant === "settings") typist.openSettings();
      else if (meant === "palette") typist.openCommandPalette();
      else type(meant);
      return false;
    }
    if ((event.ctrlKey || event.metaKey) && event.shiftKey && !event.altKey) {
      if (event.code === "KeyF") {
        event.preventDefault();
        typist.openSearch();
        return false;
      }
      if (event.code === "KeyC" && term.hasSelection()) {
        event.preventDefault();
        void copy(term.getSelection());
        return false;
      }
      if (event.code === "KeyV") return false; // the browser makes a paste event
      if ((event.code === "ArrowUp" || event.code === "ArrowDown") && typist.jump(event.code === "ArrowUp")) {
        event.preventDefault();
        return false;
      }
    }
    return encode(event);
  });

  screen.addEventListener("contextmenu", (event) => {
    // A program that has the mouse has its right button too; with Shift it is the browser's. A long touch has no
    // button.
    if (term.modes.mouseTrackingMode !== "none" && event.button === 2 && !event.shiftKey) event.preventDefault();
  });

  screen.addEventListener(
    "paste",
    (event) => {
      event.stopPropagation();
      const text = event.clipboardData?.getData("text/plain") ?? "";
      // Without text there is nothing to prevent, and Lighthouse takes it for a field that refuses to be pasted into.
      if (text === "") return;
      event.preventDefault();
      void paste(text);
    },
    { capture: true },
  );

  screen.addEventListener(
    "beforeinput",
    (event) => {
      const text = findInsertedText(event);
      if (text === undefined) return;
      event.preventDefault();
      if (text === "\r") type(text);
      else void paste(text);
    },
    { capture: true },
  );
}
