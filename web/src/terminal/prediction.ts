/**
 * Local echo on slow lines, as in mosh: a typed letter is predicted at the cursor until the program's own echo arrives.
 * Pure: the clock and the screen are arguments, and the result is what to draw over the screen, which itself never has a
 * predicted letter. Times are in milliseconds of any monotonic clock.
 *
 * Letters are predicted from the first key on, and shown only once the line has proved slow and the program has echoed
 * a predicted letter since the last key that is not a letter. So a password, which no program echoes, is never shown.
 */

/** The terminal's screen. A row counts from the first line that is kept, so that it stays the same while lines scroll. */
export interface Screen {
  readonly columns: number;
  /** The cursor's column and row. */
  readonly x: number;
  readonly y: number;
  /** Whether the program may echo what is typed: not one that draws a full screen. */
  readonly echoes: boolean;
  /** Return the character in a cell, or a space. */
  at(x: number, y: number): string;
}

/** The characters to draw in row `y` from column `x` on, and the column of the cursor. */
export interface Overlay {
  x: number;
  y: number;
  text: string;
  cursor: number;
}

/** A key whose effect is not on the screen yet. */
interface Key {
  /** A letter, BACKSPACE, or OTHER. */
  what: string;
  /** The offset in the input after it. */
  end: number;
  typedAt: number;
  /** When the terminal had taken it. */
  takenAt?: number;
  place?: Place | undefined;
}

/** The predicted effect of a key: what it writes into a cell, and the column of the cursor before and after it. */
interface Place {
  x: number;
  y: number;
  char: string;
  from: number;
  cursor: number;
  /** Whether its echo proves that the program echoes: a cell that looked so before proves nothing. */
  proves: boolean;
}

const BACKSPACE = "\x7f";
const OTHER = "";
/** The characters that are predicted: all terminals draw them in one cell. */
const LETTER = /^[ -~\u00a1-\u00ac\u00ae-\u02ff\u0391-\u03a1\u03a3-\u03c9\u0410-\u044f]$/;
/** More characters at once are a paste, and its effect cannot be predicted. */
const MAX_TYPED = 16;

const SLOW_MS = 80;
const QUICK_MS = 60;
/** The line is as slow as the quickest of its last answers: a single late one proves nothing. */
const ANSWERS = 4;
/** How long after it has taken a key the program may echo it. */
export const GRACE_MS = 250;
/** The time without output after which the program has put the cursor where it stays. */
export const SETTLE_MS = 30;

export class Prediction {
  private keys: Key[] = [];
  private delays: number[] = [];
  private slow = false;
  /** Whether the program has echoed a letter since the last key that is none. */
  private proved = false;
  /** The cell where the typed letters begin. A Backspace there may reach the prompt. */
  private edge: { x: number; y: number } | undefined;
  private changedAt = -Infinity;
  /** The time at which the cursor left its predicted place: briefly, while a program draws elsewhere, or for good. */
  private strayedAt: number | undefined;

  /** Note input, which ends at the offset `end`. */
  noteInput(data: Uint8Array, end: number, now: number, screen: Screen): void {
    this.settle(now);
    for (const [what, size] of splitKeys(data)) {
      if (what === OTHER) this.doubt();
      this.keys.push({ what, end: end - data.length + size, typedAt: now });
    }
    this.predict(screen);
  }

  /** Note that the terminal has taken the input up to the offset `to`. */
  noteTaken(to: number, now: number): void {
    const keys = this.keys.filter((key) => key.takenAt === undefined && key.end <= to);
    if (keys[0] === undefined) return;
    for (const key of keys) key.takenAt = now;
    this.delays = [...this.delays, now - keys[0].typedAt].slice(-ANSWERS);
    const least = Math.min(...this.delays);
    if (this.slow ? least < QUICK_MS : this.delays.length === ANSWERS && least >= SLOW_MS) this.slow = !this.slow;
  }

  /** Note that the screen has changed. */
  noteOutput(now: number, screen: Screen): void {
    this.changedAt = now;
    this.look(now, screen);
  }

  /** Compare the screen with what was predicted. Call this again at `wakeAt`. */
  look(now: number, screen: Screen): void {
    this.confirm(screen);
    const [first] = this.keys;
    if (first?.place !== undefined) {
      const late = first.takenAt !== undefined && now - first.takenAt >= GRACE_MS;
      if (screen.y === first.place.y && screen.x === first.place.from) this.strayedAt = undefined;
      else this.strayedAt ??= now;
      const astray = this.strayedAt !== undefined && now - this.strayedAt >= SETTLE_MS;
      if (late || astray || !screen.echoes) this.takeBack();
    } else this.strayedAt = undefined;
    this.settle(now);
    this.predict(screen);
  }

  /** When to look again though nothing changes; undefined while no key awaits its echo. */
  get wakeAt(): number | undefined {
    const [first] = this.keys;
    if (this.strayedAt !== undefined) return this.strayedAt + SETTLE_MS;
    if (first?.takenAt === undefined) return undefined;
    return first.place === undefined ? this.restsAt : first.takenAt + GRACE_MS;
  }

  /** Forget all keys, for example since none of them will arrive. */
  reset(): void {
    this.takeBack();
    this.keys = [];
  }

  /** Return what to draw over the screen, if anything. */
  makeOverlay(): Overlay | undefined {
    const places = this.listPlaces();
    const [first, last] = [places[0], places.at(-1)];
    if (!this.slow || !this.proved || this.strayedAt !== undefined || first === undefined || last === undefined) return undefined;
    // The real cursor is covered as well.
    const cells = new Map([[first.from, " "], ...places.map(({ x, char }) => [x, char] as const)]);
    const x = Math.min(...cells.keys());
    const text = Array.from({ length: Math.max(...cells.keys()) - x + 1 }, (_, at) => cells.get(x + at) ?? " ").join("");
    return { x, y: last.y, text, cursor: last.cursor };
  }

  private listPlaces(): Place[] {
    return this.keys.flatMap(({ place }) => place ?? []);
  }

  /** Drop the keys whose effect is on the screen: as many as possible, since several echoes may come together. */
  private confirm(screen: Screen): void {
    const waits = this.keys.findIndex(({ place, takenAt }) => place === undefined || takenAt === undefined);
    for (let count = waits < 0 ? this.keys.length : waits; count > 0; count--) {
      const done = this.listPlaces().slice(0, count);
      const last = done.at(-1);
      const cells = new Map(done.map(({ x, char }) => [x, char]));
      if (last === undefined || screen.y !== last.y || screen.x !== last.cursor) continue;
      if (![...cells].every(([x, char]) => screen.at(x, last.y) === char)) continue;
      // Letters before another key were for the program that read them, and it may ask for a password next.
      const isLast = !this.keys.slice(count).some(({ what }) => what === OTHER);
      this.proved ||= isLast && done.some(({ proves }) => proves);
      this.keys.splice(0, count);
      return;
    }
  }

  /** When the cursor is where the taken keys have put it, unless there is output before. */
  private get restsAt(): number {
    return Math.max(this.changedAt, ...this.keys.map(({ takenAt }) => takenAt ?? -Infinity)) + SETTLE_MS;
  }

  /** Forget the taken keys from one on that was not predicted, once the screen has come to rest. */
  private settle(now: number): void {
    const [first] = this.keys;
    if (first?.takenAt === undefined || first.place !== undefined || now < this.restsAt) return;
    this.keys = this.keys.filter(({ takenAt }) => takenAt === undefined);
  }

  /** Predict the keys up to the first one that cannot be predicted. */
  private predict(screen: Screen): void {
    let at: { x: number; y: number } = screen;
    for (const key of this.keys) {
      key.place ??= screen.echoes ? this.predictKey(key.what, at.x, at.y, screen) : undefined;
      if (key.place === undefined) return;
      at = { x: key.place.cursor, y: key.place.y };
    }
  }

  private predictKey(what: string, x: number, y: number, screen: Screen): Place | undefined {
    const before = this.listPlaces().findLast((place) => place.x === x)?.char ?? screen.at(x, y);
    if (what === BACKSPACE) {
      const erases = this.edge?.y === y && this.edge.x < x && before === " ";
      return erases ? { x: x - 1, y, char: " ", from: x, cursor: x - 1, proves: false } : undefined;
    }
    // In the middle of a line a letter shifts the rest of it, and in the last column it wraps.
    if (what === OTHER || x >= screen.columns - 1 || (before !== " " && before !== what)) return undefined;
    if (this.edge?.y !== y) this.edge = { x, y };
    return { x, y, char: what, from: x, cursor: x + 1, proves: before !== what };
  }

  /** Take all predictions back. Later keys are predicted from where the cursor comes to rest. */
  private takeBack(): void {
    this.doubt();
    this.strayedAt = undefined;
    this.keys = this.keys.map(({ place: _, ...key }) => ({ ...key, what: OTHER }));
  }

  /** Show nothing until the echo of a later key proves that the program echoes. */
  private doubt(): void {
    this.proved = false;
    this.edge = undefined;
  }
}

/** Split input into letters, each with the offset behind it. All else is one key that is not predicted. */
function splitKeys(data: Uint8Array): [what: string, end: number][] {
  const chars = [...new TextDecoder().decode(data)];
  if (chars.length > MAX_TYPED || !chars.every((char) => char === BACKSPACE || LETTER.test(char))) return [[OTHER, data.length]];
  let end = 0;
  return chars.map((char) => [char, (end += new TextEncoder().encode(char).length)]);
}
