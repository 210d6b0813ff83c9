/** The player's page: a terminal without input, and a timeline. */

import { ImageAddon } from "@xterm/addon-image";
import { SerializeAddon } from "@xterm/addon-serialize";
import { Terminal } from "@xterm/xterm";
import { CastError, formatDuration, parseEvent, parseHeader, Marks, findOutputTime, type Mark } from "./cast";
import { applyPalette, raiseContrast } from "../terminal/contrast";
import { fitGlyphs } from "../terminal/glyphs";
import { joinEmoji } from "../terminal/graphemes";
import { markStyles } from "../nonce";
import { copy, createElement, describeError, getElement } from "../page";
import { Painter } from "./picture";
import { Player, type PlayerState } from "./player";
import { EventReader, makeFetch, RecordingSource } from "./recording-source";
import { composeFontFamily, loadSettings } from "../settings";
import { fitFont } from "../fit-font";
import { cutLines } from "../terminal/cut-lines";
import { t } from "../language";

const { source: url = "", size: bytes = "0", nonce = "" } = document.body.dataset;
markStyles(nonce);

const STEP_S = 5;
const SPEEDS = [0.5, 1, 2, 4, 8];
const FONT_PX = 14;
const MIN_PX = 6;
const MAX_PX = 22;
/** The smallest font on a phone, where a wide recording is moved under the finger instead of drawn smaller. */
const READABLE_PX = 9;
const narrow = matchMedia("(max-width: 760px)");
/** The most events that are skipped to find the first output. */
const MAX_SKIPPED = 1000;
const REDRAW_MS = 250;

const screen = getElement("screen");
const playButton = getElement<HTMLButtonElement>("play");
const seek = getElement<HTMLInputElement>("seek");
const speed = getElement<HTMLSelectElement>("speed");
const size = getElement<HTMLSelectElement>("size");
const idle = getElement<HTMLInputElement>("idle");
const previous = getElement<HTMLButtonElement>("previous");
const next = getElement<HTMLButtonElement>("next");

const term = new Terminal({
  allowProposedApi: true,
  cursorBlink: false,
  disableStdin: true,
  fontFamily: composeFontFamily(""),
  fontSize: FONT_PX,
  // The recorded programs chose these addresses, so no link can be opened.
  linkHandler: { activate: () => undefined },
  scrollback: 1000,
});
const serialize = new SerializeAddon();
term.loadAddon(serialize);
term.loadAddon(new ImageAddon());
joinEmoji(term);
cutLines(term);
// The terminal gets no keys, and its answers to the recording are dropped.
term.attachCustomKeyEventHandler(() => false);
term.parser.registerOscHandler(52, () => true);

function say(text: string): void {
  getElement("said").textContent = text;
}

function handleFailure(error: unknown): void {
  if (error instanceof CastError) say(t`This recording is damaged: ${error.message}.`);
  else say(describeError(error));
}

/** Draw the terminal in the chosen size, or as large as the page has room for. */
function fit(): void {
  const chosen = Number(size.value);
  if (chosen > 0) term.options.fontSize = chosen;
  else fitFont(term, screen, narrow.matches ? READABLE_PX : MIN_PX, MAX_PX);
}

const light = matchMedia("(prefers-color-scheme: light)");
function colour(): void {
  applyPalette(term, screen, loadSettings(false), light.matches);
}
light.addEventListener("change", colour);

/** Return the time of the first output, where playing begins. */
async function findFirstOutput(source: RecordingSource, start: number): Promise<number> {
  const reader = new EventReader(source, start);
  for (let tries = 0; tries < MAX_SKIPPED; tries++) {
    const next = await reader.peek();
    if (next === undefined) break;
    if (next.code === "o") return next.at;
    reader.skip();
  }
  return 0;
}

/** Read the whole recording once for the timeline's marks, keeping nothing else. `draw` gets all so far, now and then. */
async function findMarks(source: RecordingSource, start: number, draw: (marks: readonly Mark[]) => void): Promise<void> {
  const marks = new Marks();
  const reader = new EventReader(source, start);
  let drawn = 0;
  let drawnAt = 0;
  for (let line = await reader.line(); line !== undefined; line = await reader.line()) {
    if (findOutputTime(line.line) !== undefined) continue;
    const marked = parseEvent(line.line, line.next);
    if (marked !== undefined) marks.add(marked);
    if (marks.all.length === drawn || performance.now() - drawnAt <= REDRAW_MS) continue;
    drawnAt = performance.now();
    draw(marks.all);
    drawn = marks.all.length;
  }
  draw(marks.all);
  document.body.dataset.looked = "true"; // for tests
}

/** Copy the selection, or all text if there is none. */
function copyText(): void {
  const selected = term.getSelection();
  if (!selected) term.selectAll();
  void copy(selected || term.getSelection().trimEnd()).then(() => say(selected ? t`The selection is copied.` : t`All text is copied.`));
  if (!selected) term.clearSelection();
}

/** Call an act by its key. Buttons, boxes and lists keep the keys of their own. */
function listenForKeys(acts: Partial<Record<string, () => void>>): void {
  addEventListener("keydown", (pressed) => {
    if (pressed.altKey || pressed.metaKey) return;
    if (pressed.ctrlKey) {
      if (pressed.code === "KeyC" && term.hasSelection()) {
        pressed.preventDefault();
        void copy(term.getSelection());
      }
      return;
    }
    const on = pressed.target instanceof Element ? pressed.target : document.body;
    const own = on.matches("button, input[type=checkbox]") && (pressed.key === " " || pressed.key === "Enter");
    const act = acts[pressed.key];
    if (act === undefined || own || on.matches("select, a")) return;
    pressed.preventDefault();
    act();
  });
}

async function begin(): Promise<void> {
  const source = new RecordingSource(makeFetch(url), Number(bytes));
  const [first, duration] = await Promise.all([new EventReader(source, 0).line(), source.duration(), document.fonts.ready]);
  term.open(screen);
  raiseContrast(term);
  fitGlyphs(term);
  colour();
  if (first === undefined) return say(t`This recording is empty.`);
  const about = parseHeader(first.line);
  term.resize(about.width, about.height);
  fit();
  new ResizeObserver(fit).observe(screen);
  term.onResize(() => requestAnimationFrame(fit));
  const player = new Player(source, new Painter(term, serialize), { time, state, mark, handleFailure }, about, first.next, duration);
  let marks: readonly Mark[] = [];
  let dragged = false;

  function time(at: number): void {
    if (!dragged) seek.value = String(at);
    showTime(at);
  }

  function showTime(at: number): void {
    const text = `${formatDuration(at)} / ${formatDuration(player.duration)}`;
    const place = getElement("clock");
    if (place.textContent === text) return;
    place.textContent = text;
    seek.setAttribute("aria-valuetext", t`${formatDuration(at)} of ${formatDuration(player.duration)}`);
  }

  function state(now: PlayerState): void {
    document.body.dataset.state = now;
    const plays = now === "playing";
    playButton.textContent = plays ? t`Pause` : now === "ended" ? t`Play again` : t`Play`;
    say(now === "seeking" ? t`Seeking` : now === "ended" ? t`The end.` : "");
  }

  function mark(event: { code: string; data: string }): void {
    if (event.code === "m") say(event.data.slice(0, 100));
  }

  function to(seconds: number): void {
    void player.seek(seconds);
  }

  /** Seek to the nearest mark on that side. A mark just passed is left out, so that going back twice moves twice. */
  function toMark(back: boolean): void {
    const mark = back ? marks.findLast(({ at }) => at < player.at - 0.5) : marks.find(({ at }) => at > player.at + 0.01);
    if (mark !== undefined) {
      void player.seek(mark.at).then(() => mark.label && say(mark.label));
    } else if (back) to(0);
  }

  function faster(by: number): void {
    const at = SPEEDS.indexOf(Number(speed.value)) + by;
    const next = SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, at))];
    speed.value = String(next);
    pace();
  }

  function pace(): void {
    player.pace(Number(speed.value), idle.checked);
  }

  function toggle(): void {
    if (player.state === "playing") player.pause();
    else player.play();
  }

  function drawMarks(all: readonly Mark[]): void {
    marks = all;
    previous.disabled = next.disabled = marks.length === 0;
    getElement("marks").replaceChildren(
      ...marks.map(({ at, label }) => {
        const tick = createElement("i", "", { title: label });
        tick.style.left = `${(100 * at) / (player.duration || 1)}%`;
        return tick;
      }),
    );
  }

  seek.max = String(duration);
  seek.addEventListener("pointerdown", () => (dragged = true));
  addEventListener("pointerup", () => (dragged = false));
  seek.addEventListener("input", () => to(Number(seek.value)));
  playButton.addEventListener("click", toggle);
  previous.addEventListener("click", () => toMark(true));
  next.addEventListener("click", () => toMark(false));
  speed.addEventListener("change", pace);
  idle.addEventListener("change", pace);
  size.addEventListener("change", fit);
  getElement<HTMLInputElement>("reader").addEventListener("change", (changed) => {
    term.options.screenReaderMode = (changed.target as HTMLInputElement).checked;
  });
  getElement("copy").addEventListener("click", copyText);
  listenForKeys({
    " ": toggle,
    ArrowLeft: () => to(player.at - STEP_S),
    ArrowRight: () => to(player.at + STEP_S),
    "[": () => toMark(true),
    "]": () => toMark(false),
    "<": () => faster(-1),
    ">": () => faster(1),
    Home: () => to(0),
    End: () => to(player.duration),
  });
  showTime(0);
  state("paused");
  // A search leads to the place of its line: `#at=SECONDS`.
  const wanted = Number(new URLSearchParams(location.hash.slice(1)).get("at"));
  await player.seek(wanted > 0 ? Math.min(wanted, duration) : await findFirstOutput(source, first.next));
  document.body.dataset.ready = "true";
  void findMarks(source, first.next, drawMarks).catch(handleFailure);
}

void begin().catch(handleFailure);
