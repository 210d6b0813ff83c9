/** The terminal's page: xterm.js, the page's controls, and the connection to the gateway. */

import { FitAddon } from "@xterm/addon-fit";
import { ImageAddon } from "@xterm/addon-image";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { Terminal } from "@xterm/xterm";
import { Acks } from "./acks";
import { showAlerts } from "./alerts";
import { callApi } from "../api";
import { Attachment, type Event } from "./attachment";
import { blink } from "./blink";
import { decodeCopy, describeCopy } from "./clipboard";
import { chooseMode, makeGuestRequest, openShare, openTerminals, type Admitted } from "./dialogs";
import { raiseContrast } from "./contrast";
import { Connection, type State } from "./connection";
import type { Entry } from "./dial";
import { SharedSize } from "./shared-size";
import { setUpFiles } from "../files/panel";
import { Foreground } from "./foreground";
import { Mode, NoticeKind } from "./frames";
import { fitGlyphs } from "./glyphs";
import { joinEmoji } from "./graphemes";
import { follow, HOVER_HANDLERS } from "./hyperlinks";
import { LocalEcho } from "./local-echo";
import { SettingsPanel } from "./settings-panel";
import { markStyles } from "../nonce";
import { setUpMoreMenu } from "./more-menu";
import { copy, createButton, createElement, getElement, showHint, showPassing, showEnd } from "../page";
import { pace, type Pace } from "./pace";
import { PeopleBar } from "./people";
import { markPrompts } from "./prompt-marks";
import { setUpSearch } from "./search";
import { SignIn } from "./sign-in";
import { Starting } from "./starting";
import { composeFontFamily, loadSettings } from "../settings";
import { swipe } from "./swipe";
import { dropTab, showTabs } from "./tabs";
import { Title } from "./title";
import { setUpTyping } from "./typing";
import { isWatching, keepWatching, noteLeft } from "./watching";
import { localizeTimes } from "../local-time";
import { cutLines } from "./cut-lines";
import { hasOwnWindow, watchControl, setUpWindowKeys } from "./window";
import { t } from "../language";

const { path = "", nonce = "", guest = "", tmux = "no", known = "yes", user = "" } = document.body.dataset;
let { app = "" } = document.body.dataset;
const RESIZE_MS = 60;
const ENTER = 13;

markStyles(nonce);

const settings = loadSettings(tmux === "yes");
const attachment = new Attachment(new URLSearchParams(location.search).get("terminal") || "main");
const screen = getElement("screen");
const status = getElement("status");

const term = new Terminal({
  allowProposedApi: true, // for unicode versions and the marks of a search
  cursorBlink: true,
  cursorStyle: settings.cursor,
  fontFamily: composeFontFamily(settings.fontFamily),
  fontSize: settings.fontSize,
  linkHandler: { activate: follow, ...HOVER_HANDLERS },
  macOptionIsMeta: true,
  scrollback: 10_000,
  screenReaderMode: settings.screenReader,
});
const fit = new FitAddon();
term.loadAddon(fit);
term.loadAddon(new WebLinksAddon(follow, HOVER_HANDLERS));
term.loadAddon(new ImageAddon());
joinEmoji(term);
cutLines(term);
setUpFiles(term, path, app);
const title = new Title(term, app, guest ? "" : attachment.terminal);
const starting = new Starting(screen);
const sharedSize = new SharedSize(term, fit, screen, settings);

// Events of the attachment, and the status line.

let waiting = 0;
let ended = false;
let opened = false;
let pictures: Pace | undefined;
const acks = new Acks((to) => {
  const ack = attachment.noteDrawn(to);
  if (ack !== undefined) connection.send(ack);
});

function handleEvent(event: Event): void {
  switch (event.do) {
    case "show": {
      const to = attachment.seen;
      waiting += 1;
      foreground.noteOutput(event.data, attachment.hasForegroundJob);
      pictures?.noteOutput(event.data.length);
      term.write(event.data, () => {
        waiting -= 1;
        if (event.counts) acks.noteDrawn(to);
        echo.noteOutput();
      });
      break;
    }
    case "skipped":
      // Written in order after earlier output, which a call of reset() would overtake.
      term.write("\x1bc");
      echo.reset();
      if (event.count > 0) showHint(t`${event.count} bytes of output were not kept while the line was cut.`);
      break;
    case "said":
      showNotice(event.word, event.text);
      break;
    case "sized":
      sharedSize.takeSize(event.size, attachment.mode === Mode.Watch ? undefined : attachment.size);
      break;
    case "taken":
      echo.noteTaken(event.to);
      break;
    case "people":
      people.update(event.people);
      break;
    case "ended":
      ended = true;
      dropTab(app, attachment.terminal);
      break;
  }
}

function showNotice(notice: NoticeKind, text: string): void {
  if (notice === NoticeKind.Progress) {
    starting.step(text);
    return show("connecting", t`Starting: ${text}`);
  }
  if (notice === NoticeKind.Recorded) return mark("recorded", t`Recorded`);
  if (notice === NoticeKind.Ending) showEnding(text);
}

/** Show that access on request ends soon; an empty `text` removes the notice. */
function showEnding(text: string): void {
  const place = getElement("ending");
  const href = `${path}/requests?app=${encodeURIComponent(app)}`;
  const ask = createElement("a", t`Ask again`, { className: "button", href, target: "_blank", rel: "noopener" });
  const close = createButton(t`Close`, () => {
    place.hidden = true;
    term.focus();
  });
  place.replaceChildren(...(text ? [text, " ", ask, " ", close] : []));
  place.hidden = text === "";
}

function mark(id: string, text: string): void {
  document.getElementById(id)?.remove();
  if (!text) return;
  status.before(createElement("strong", text, { id, title: text }));
}

function show(state: State, reason: string, isUnknown = false): void {
  const why = localizeTimes(reason);
  if (state === "open") {
    opened = true;
    foreground.stir();
    starting.end();
    // The terminal has taken this window's size, unless this client only watches; then SIZE has the terminal's.
    if (attachment.mode === Mode.Watch) sharedSize.takeSize(attachment.size);
    else sharedSize.claim();
  }
  if (state === "over") {
    starting.stop();
    showEnding("");
  }
  // Screen readers do not read each passing second.
  status.ariaLive = state === "silent" && status.dataset.state === state ? "off" : "polite";
  status.dataset.state = state;
  const words = { connecting: t`Connecting`, open: "", silent: t`Not answering`, lost: t`Connection lost, reconnecting`, over: t`Over` };
  const text = state === "connecting" && why ? why : state === "silent" ? `${words.silent} ${why}` : why ? t`${words[state]}: ${why}` : words[state];
  status.title = text;
  // In a narrow bar what follows the state is cut, and never the state itself.
  const [what = "", ...rest] = text.split(/(?=, |，|: |：)/);
  status.replaceChildren(...(text ? [createElement("b", what), createElement("span", rest.join(""))] : []));
  if (state !== "over") return;
  document.body.classList.toggle("none", !opened);
  const again = ended && !guest;
  // A terminal of an app that does not exist does not open at the next try either.
  const mayReopen = opened || (known === "yes" && !isUnknown);
  const title = ended ? t`The terminal has ended` : attachment.window ? t`This terminal is closed here` : t`No terminal was opened`;
  showEnd(title, again ? t`${why} Enter opens the next one.` : why, mayReopen, `${path}/`);
}

function handleAdmission(guestOf: Partial<Admitted>): void {
  app = guestOf.app ?? "";
  attachment.terminal = guestOf.terminal ?? "";
  attachment.mode = guestOf.typing === true ? Mode.Mirror : Mode.Watch;
  getElement("app").textContent = app;
  title.setTerminal(app, attachment.terminal);
  mark("guest", guestOf.typing === true ? t`Shared by ${guestOf.host ?? ""}: ${attachment.terminal}` : t`Watching ${guestOf.host ?? ""}: ${attachment.terminal}`);
}

const entry: Entry = guest
  ? { what: "guest-ticket", body: makeGuestRequest(guest), handleAdmission }
  : { what: "ticket", body: { target: app } };
const connection = new Connection(path, entry, attachment, { handleEvent, showState: show, handleSignOut: (why) => void signIn.handleEnd(why) });
const people = new PeopleBar(settings, (frame) => connection.send(frame));
const signIn = new SignIn(path, user, {
  pause: () => connection.pause(),
  revive: () => {
    getElement("hint").hidden = true;
    connection.revive();
    term.focus();
  },
});
const foreground = new Foreground(() => {
  if (attachment.attached && attachment.mode !== Mode.Watch) connection.ping();
});

/**
 * A full-screen program echoes nothing. But tmux does, which is the terminal's own program and so no job, and
 * has the mode of bracketed paste from a line editor in it.
 */
const echo = new LocalEcho(term, settings, () => {
  const full = term.buffer.active.type === "alternate";
  return !full || (!attachment.hasForegroundJob && term.modes.bracketedPasteMode);
});
term.buffer.onBufferChange((buffer) => {
  // Which program draws is known with the next PONG.
  attachment.hasForegroundJob ||= buffer.type === "alternate";
  foreground.stir();
});

/** The timer that sends the window's new size to the terminal. */
let resizing: number | undefined;

function sendInput(data: Uint8Array): void {
  if (ended && !guest && data.includes(ENTER)) return location.reload();
  // The terminal takes the size of the window whose user types.
  if (attachment.mode !== Mode.Watch && sharedSize.claim()) {
    // Sent again a moment later, it would undo the size of a client that has typed meanwhile.
    clearTimeout(resizing);
    connection.send({ kind: "resize", size: attachment.size });
  }
  attachment.type(data);
  if (attachment.mode !== Mode.Watch) echo.noteInput(data, attachment.end);
  connection.flush();
  foreground.noteInput(data);
  pictures?.noteInput();
}

// Requests of programs to the page.

term.parser.registerOscHandler(52, (sequence) => {
  // A guest's clipboard is not for the programs of the terminal's owner.
  const text = guest ? undefined : decodeCopy(sequence);
  if (text !== undefined) void copy(text).then((done) => done && showPassing(describeCopy(text)));
  return true;
});

let selecting: number | undefined;
term.onSelectionChange(() => {
  clearTimeout(selecting);
  if (settings.copyOnSelect && term.hasSelection())
    selecting = setTimeout(() => void copy(term.getSelection()), 200);
});

// Size.

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
  if (sharedSize.foreign) return;
  measure();
  clearTimeout(resizing);
  resizing = setTimeout(() => {
    // Another client may have typed meanwhile, and given the terminal its own size.
    const isOurs = attachment.mode !== Mode.Watch && !sharedSize.foreign;
    if (attachment.attached && isOurs) connection.send({ kind: "resize", size: attachment.size });
  }, RESIZE_MS);
});

// The page's controls.

const settingsPanel = new SettingsPanel(term, settings, () => sharedSize.refit());
const openSearch = setUpSearch(term, screen, async () => {
  if (guest) return "";
  return (await callApi<{ history: string }>(path, "terminals/history", { target: app, terminal: attachment.terminal })).history;
});
/** Whether the user has chosen another page, and so means to leave this one. */
let leaves = false;
const noteLeaving = (): void => {
  leaves = true;
};
const openCommandPalette = setUpMoreMenu(term, path, {
  find: openSearch,
  go: (page) => {
    noteLeaving();
    location.assign(page);
  },
});
setUpTyping(term, screen, settings, { sendInput, openSettings: () => settingsPanel.open(), openCommandPalette, openSearch, jump: markPrompts(term) });
showAlerts(term, settings);
swipe(term, screen, settingsPanel.still);
setUpWindowKeys(term);
const control = watchControl();
if (!guest) {
  showTabs(app, attachment.terminal, noteLeaving);
  getElement("terminals").addEventListener("click", () => openTerminals(path, app, attachment.terminal));
  getElement("share").addEventListener("click", () => openShare(path, app, attachment.terminal, people));
  getElement("dialog").addEventListener("close", () => term.focus());
}

addEventListener("beforeunload", (event) => {
  // The terminal lives on, but a user who holds Control or runs a job may have meant Ctrl-W for the program.
  const over = status.dataset.state === "over";
  const isDoubtful = !leaves && (attachment.hasForegroundJob || control.held);
  if (isDoubtful && attachment.mode !== Mode.Watch && !over && !hasOwnWindow()) event.preventDefault();
});

// Also before the connection is open, since the gateway may list this client already.
let begun = false;
addEventListener("pagehide", () => {
  // A client that was sent away asks again how to attach. One whose shell has ended does not, though the gateway
  // may still list it.
  const stays = ended || status.dataset.state !== "over";
  if (!guest && begun && stays && attachment.mode !== Mode.Watch) noteLeft(app, attachment.terminal);
});

// The start. The font decides the size of cells, so it must be loaded before the first size is sent.

async function begin(): Promise<void> {
  await document.fonts.ready;
  term.open(screen);
  raiseContrast(term);
  fitGlyphs(term);
  pictures = pace(term);
  blink(term, settingsPanel.still);
  settingsPanel.apply();
  fit.fit();
  measure();
  new ResizeObserver(() => sharedSize.refit()).observe(screen);
  term.focus();
  if (!guest) {
    const { terminal } = attachment;
    attachment.mode = isWatching(app, terminal) ? Mode.Watch : await chooseMode(path, app, terminal);
    if (attachment.mode === Mode.Watch) keepWatching(app, terminal, status, () => location.reload());
  }
  if (attachment.mode === Mode.Watch) mark("guest", t`Only watching`);
  attachment.command = settings.tmux ? "tmux mouse" : "";
  begun = true;
  connection.start(() => waiting > 0);
}

void begin();
