/** The terminal's page: xterm.js, what surrounds it, and the line to the gateway. */

import { FitAddon } from "@xterm/addon-fit";
import { ImageAddon } from "@xterm/addon-image";
import { SearchAddon } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import { Attachment, type Event } from "./attachment";
import { blink } from "./blink";
import { copied, harmless, oneLine, severalLines } from "./clipboard";
import { chosenMode, guestAsks, share, terminals, type Admitted } from "./company";
import { Connection, type Entry, type State } from "./connection";
import { moveFiles } from "./files";
import { Foreground } from "./foreground";
import { Mode, Word } from "./frames";
import { barKey, chord, fillScreen, inserted, ownWindow, withControl } from "./keys";
import { markStyles } from "./nonce";
import { asked, copy, element, hint } from "./page";
import { pace, type Pace } from "./pace";
import { bind, firstTime, keep, load } from "./settings";
import { DARK, LIGHT } from "./themes";

const { path = "", nonce = "", guest = "" } = document.body.dataset;
let { app = "" } = document.body.dataset;
const RESIZE_MS = 60;

const create = markStyles(nonce);

const settings = load();
const attachment = new Attachment(new URLSearchParams(location.search).get("terminal") || "main");
const screen = element("screen");
const status = element("status");

function openLink(event: MouseEvent, uri: string): void {
  // A program chose what stands there: it takes a gesture that nobody makes by chance.
  if (!(event.ctrlKey || event.metaKey) || !/^https?:\/\//i.test(uri)) return;
  window.open(uri, "_blank", "noopener,noreferrer");
}

const term = new Terminal({
  allowProposedApi: true, // unicode versions and the marks of a search are behind it
  cursorBlink: true,
  fontFamily: 'ui-monospace, "Cascadia Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace',
  fontSize: settings.fontSize,
  linkHandler: { activate: openLink },
  macOptionIsMeta: true,
  scrollback: 10_000,
  screenReaderMode: settings.screenReader,
});
const fit = new FitAddon();
const search = new SearchAddon();
term.loadAddon(fit);
term.loadAddon(search);
term.loadAddon(new Unicode11Addon());
term.loadAddon(new WebLinksAddon(openLink));
term.loadAddon(new ImageAddon());
term.unicode.activeVersion = "11";
moveFiles(term, path, app);

// What comes, and what is said.

let waiting = 0;
let pictures: Pace | undefined;

function happened(event: Event): void {
  switch (event.do) {
    case "show": {
      const to = attachment.seen;
      waiting += 1;
      foreground.shown(event.data, attachment.busy);
      pictures?.wrote(event.data.length);
      term.write(event.data, () => {
        waiting -= 1;
        const ack = event.counts ? attachment.shown(to) : undefined;
        if (ack !== undefined) connection.send(ack);
      });
      break;
    }
    case "skipped":
      // Behind what was written before, which a call of reset() would overtake.
      term.write("\x1bc");
      if (event.count > 0) hint(`${event.count} bytes of output were not kept while the line was cut.`);
      break;
    case "said":
      said(event.word, event.text);
      break;
    case "sized":
      // Who only looks draws it as large as it is.
      if (attachment.mode === Mode.Watch) term.resize(event.size.columns, event.size.rows);
      break;
    case "ended":
      break;
  }
}

function said(word: Word, text: string): void {
  if (word === Word.Progress) return show("connecting", `Starting: ${text}`);
  if (word === Word.Recorded) return mark("recorded", "Recorded");
  if (word === Word.Watched) return mark("watched", text ? `Watched by ${text}` : "");
}

function mark(id: string, text: string): void {
  document.getElementById(id)?.remove();
  if (!text) return;
  const place = create("strong");
  place.id = id;
  place.textContent = text;
  status.before(place);
}

function show(state: State, why: string): void {
  if (state === "open") foreground.stir();
  status.dataset.state = state;
  const words = { connecting: "Connecting", open: "", lost: "Line lost, coming back", over: "Over" };
  status.textContent = state === "connecting" && why ? why : why ? `${words[state]}: ${why}` : words[state];
  status.title = status.textContent;
  if (state === "over")
    hint(why, { label: "Open again", act: () => location.reload() });
}

function admitted(said: Partial<Admitted>): void {
  app = said.app ?? "";
  attachment.terminal = said.terminal ?? "";
  attachment.mode = said.typing === true ? Mode.Mirror : Mode.Watch;
  element("app").textContent = app;
  mark("guest", `${said.typing === true ? "Shared by" : "Watching"} ${said.host ?? ""}: ${attachment.terminal}`);
  drawTitle();
}

const entry: Entry = guest
  ? { what: "guest-ticket", asked: guestAsks(guest), admitted }
  : { what: "ticket", asked: { target: app } };
const connection = new Connection(path, entry, attachment, { happened, state: show });
const foreground = new Foreground(() => {
  if (attachment.attached && attachment.mode !== Mode.Watch) connection.ping();
});

// What is typed.

const utf8 = new TextEncoder();
let control = false;

function typed(data: Uint8Array): void {
  attachment.type(data);
  connection.flush();
  foreground.typed(data);
  pictures?.typed();
}

term.onData((text) => {
  if (control) {
    text = withControl(text);
    holdControl(false);
  }
  typed(utf8.encode(text));
});
term.onBinary((text) => typed(Uint8Array.from(text, (char) => char.charCodeAt(0))));

term.attachCustomKeyEventHandler((event) => {
  if (event.type !== "keydown") return true;
  if (chord(event) === "menu") {
    event.preventDefault();
    openMenu(true);
    return false;
  }
  const meant = chord(event);
  if (meant !== undefined) {
    event.preventDefault();
    typed(utf8.encode(meant));
    return false;
  }
  if ((event.ctrlKey || event.metaKey) && event.shiftKey && !event.altKey) {
    if (event.code === "KeyF") {
      event.preventDefault();
      openSearch();
      return false;
    }
    if (event.code === "KeyC" && term.hasSelection()) {
      event.preventDefault();
      void copy(term.getSelection());
      return false;
    }
    if (event.code === "KeyV") return false; // the browser's: it makes a paste event
  }
  return true;
});

screen.addEventListener(
  "paste",
  (event) => {
    event.preventDefault();
    event.stopPropagation();
    void paste(event.clipboardData?.getData("text/plain") ?? "");
  },
  { capture: true },
);

screen.addEventListener(
  "beforeinput",
  (event) => {
    const text = inserted(event);
    if (text === undefined) return;
    event.preventDefault();
    if (text === "\r") typed(utf8.encode(text));
    else void paste(text);
  },
  { capture: true },
);

async function paste(text: string): Promise<void> {
  text = harmless(text);
  // A program that has asked for brackets knows a paste from typing; any other would run line after line.
  const guarded = settings.pasteGuard && severalLines(text) && !term.modes.bracketedPasteMode;
  if (guarded && !(await asked(`Paste ${text.split(/\r\n|\r|\n/).length} lines? Each may run at once.`, text))) return;
  term.paste(text);
  term.focus();
}

// What a program asks of the page.

term.parser.registerOscHandler(52, (sequence) => {
  // What another's program wants copied is none of his guest's.
  const text = guest ? undefined : copied(sequence);
  if (text !== undefined) void copy(text);
  return true;
});

let bell = false;
let title = "";

function drawTitle(): void {
  document.title = `${bell ? "🔔 " : ""}${title ? `${title} · ` : ""}${app} · Stagedoor`;
  element("title").textContent = title;
}

term.onTitleChange((text) => {
  title = oneLine(text);
  drawTitle();
});
term.onBell(() => {
  bell = !document.hasFocus();
  drawTitle();
  status.classList.add("bell");
  setTimeout(() => status.classList.remove("bell"), 300);
});
addEventListener("focus", () => {
  bell = false;
  drawTitle();
});

let selecting: number | undefined;
term.onSelectionChange(() => {
  clearTimeout(selecting);
  if (settings.copyOnSelect && term.hasSelection())
    selecting = setTimeout(() => void copy(term.getSelection()), 200);
});

// Size.

let resizing: number | undefined;

/** Who only looks has no say in the size. */
function refit(): void {
  if (attachment.mode !== Mode.Watch || attachment.window === 0) fit.fit();
}

function measure(): void {
  const drawn = screen.querySelector(".xterm-screen");
  attachment.size = {
    columns: term.cols,
    rows: term.rows,
    xPixels: Math.min(0xffff, Math.round(drawn?.clientWidth ?? 0)),
    yPixels: Math.min(0xffff, Math.round(drawn?.clientHeight ?? 0)),
  };
}

term.onResize(() => {
  measure();
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    if (attachment.attached && attachment.mode !== Mode.Watch) connection.send({ kind: "resize", size: attachment.size });
  }, RESIZE_MS);
});

// Settings, search, keys.

const light = matchMedia("(prefers-color-scheme: light)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

function apply(): void {
  const chosen = settings.theme === "system" ? (light.matches ? "light" : "dark") : settings.theme;
  document.documentElement.dataset.theme = chosen;
  term.options.theme = chosen === "light" ? LIGHT : DARK;
  term.options.minimumContrastRatio = 1;
  term.options.fontSize = settings.fontSize;
  term.options.cursorBlink = !still.matches;
  term.options.screenReaderMode = settings.screenReader;
  element("keys").hidden = !settings.keyBar;
  requestAnimationFrame(refit);
}

light.addEventListener("change", apply);
still.addEventListener("change", apply);
const settingsForm = element<HTMLFormElement>("settings");
bind(settingsForm, settings, apply);

function openMenu(open: boolean): void {
  settingsForm.hidden = !open;
  element("menu").setAttribute("aria-expanded", String(open));
  // By keys there is no other way out of the terminal, whose Tab is the shell's.
  if (open) settingsForm.querySelector("select")?.focus();
  else term.focus();
}

element("menu").addEventListener("click", () => openMenu(settingsForm.hidden !== false));
settingsForm.addEventListener("keydown", (event) => {
  if (event.key === "Escape") openMenu(false);
});
settingsForm.addEventListener("submit", (event) => event.preventDefault());

const searchForm = element<HTMLFormElement>("search");
const find = element<HTMLInputElement>("find");
const marks = {
  decorations: { matchOverviewRuler: "#e8b04a", activeMatchColorOverviewRuler: "#ff8790", matchBackground: "#6b4e16", activeMatchBackground: "#a3701a" },
};

function openSearch(): void {
  searchForm.hidden = false;
  find.focus();
  find.select();
}

function closeSearch(): void {
  searchForm.hidden = true;
  search.clearDecorations();
  term.focus();
}

find.addEventListener("input", () => search.findNext(find.value, { ...marks, incremental: true }));
searchForm.addEventListener("submit", (event) => {
  event.preventDefault();
  search.findNext(find.value, marks);
});
searchForm.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeSearch();
  if (event.key === "Enter" && event.shiftKey) {
    event.preventDefault();
    search.findPrevious(find.value, marks);
  }
});
element("previous").addEventListener("click", () => search.findPrevious(find.value, marks));
element("close-search").addEventListener("click", closeSearch);

const bar = element("keys");

function holdControl(held: boolean): void {
  control = held;
  bar.querySelector("[data-key=Ctrl]")?.setAttribute("aria-pressed", String(held));
}

for (const name of ["Esc", "Ctrl", "Tab", "←", "↑", "↓", "→", "|", "/", "-", "~"]) {
  const button = create("button");
  button.type = "button";
  button.textContent = name;
  button.dataset.key = name;
  if (name === "Ctrl") button.setAttribute("aria-pressed", "false");
  // Before the focus moves: else a phone's keyboard would close with each key.
  button.addEventListener("pointerdown", (event) => event.preventDefault());
  button.addEventListener("click", () => {
    if (name === "Ctrl") holdControl(!control);
    else typed(utf8.encode(barKey(name, term.modes.applicationCursorKeysMode)));
    term.focus();
  });
  bar.append(button);
}

// A window of its own, full screen, and the way out.

interface InstallPrompt extends globalThis.Event {
  prompt(): Promise<void>;
}

let install: InstallPrompt | undefined;
addEventListener("beforeinstallprompt", (event) => {
  event.preventDefault();
  install = event as InstallPrompt;
});
if (!guest) {
  element("terminals").addEventListener("click", () => terminals(path, app, attachment.terminal));
  element("share").addEventListener("click", () => share(path, app, attachment.terminal));
  element("company").addEventListener("close", () => term.focus());
}

const windowButton = element("window");
windowButton.hidden = ownWindow();
windowButton.addEventListener("click", () => {
  if (install !== undefined) void install.prompt();
  else hint("In your browser's menu, choose “Install” or “Open as app window”: there Ctrl-W, Ctrl-T and Ctrl-N reach the terminal.");
});
element("full").addEventListener("click", () => {
  void fillScreen().catch(() => hint("This browser gives a page no full screen."));
  term.focus();
});

function hintOfKeys(): void {
  if (!ownWindow() && firstTime("keys"))
    hint("In a tab the browser keeps Ctrl-W, Ctrl-T and Ctrl-N. Alt-Shift-W, -T and -N send them; an app window or full screen gives you the keys themselves.");
}

addEventListener("keydown", (event) => {
  // The first time that somebody reaches for one of them, as far as a page can see it.
  if (event.key === "Control") hintOfKeys();
}, { capture: true });
addEventListener("beforeunload", (event) => {
  // The terminal lives on; but whoever has something running, an editor above all, may have meant Ctrl-W for that.
  const over = status.dataset.state === "over";
  if (attachment.busy && attachment.mode !== Mode.Watch && !over && !ownWindow()) event.preventDefault();
});

// Begin. The cells are measured by the font, so it has to be there before the first size is told.

async function begin(): Promise<void> {
  await document.fonts.ready;
  term.open(screen);
  pictures = pace(term);
  blink(term, still);
  apply();
  fit.fit();
  measure();
  keep(settings);
  drawTitle();
  new ResizeObserver(refit).observe(screen);
  term.focus();
  if (!guest) attachment.mode = await chosenMode(path, app, attachment.terminal);
  if (attachment.mode === Mode.Watch) mark("guest", "Only watching");
  connection.start(() => waiting > 0);
}

void begin();
