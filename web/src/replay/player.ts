/** The player of a recording: it plays, pauses and seeks, and draws on a terminal. */

import { parseSize, type CastEvent, type Header } from "./cast";
import type { Painter, Picture } from "./picture";
import { EventReader, type RecordingSource } from "./recording-source";

/** The distance of kept screens in bytes of the file, which bounds the bytes to play after a seek. */
const KEYFRAME_BYTES = 2 * 1024 * 1024;
const MAX_KEYFRAMES = 64;
/** The most output that is written at once, so that the page stays responsive. */
const BATCH_CHARS = 256 * 1024;
const TICK_MS = 100;
/** The length to which a skipped pause is shortened, seconds. */
const PAUSE_S = 1;

interface Keyframe {
  /** The offset of the next line, and the time of the last event before it. */
  offset: number;
  at: number;
  picture: Picture;
}

export type PlayerState = "paused" | "playing" | "seeking" | "ended";

interface Watcher {
  /** Called often with the present time, in seconds. */
  time(at: number): void;
  state(state: PlayerState): void;
  /** Called at input, and at a marker of the recording. */
  mark(event: CastEvent): void;
  handleFailure(error: unknown): void;
}

export class Player {
  speed = 1;
  skipPauses = true;
  state: PlayerState = "paused";
  /** The time of the clock, and that of the last event shown. */
  at = 0;
  private shown = 0;
  private reader: EventReader;
  private keyframes: Keyframe[];
  private step = KEYFRAME_BYTES;
  /** The number of the newest loop; an earlier loop stops at its next step. */
  private turn = 0;
  private busy: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly source: RecordingSource,
    private readonly painter: Painter,
    private readonly watcher: Watcher,
    header: Header,
    start: number,
    public duration: number,
  ) {
    this.reader = new EventReader(source, start);
    this.keyframes = [
      { offset: start, at: 0, picture: { columns: header.width, rows: header.height, text: "" } },
    ];
  }

  play(): void {
    if (this.state === "playing") return;
    const turn = ++this.turn;
    void this.reportFailure(async () => {
      if (this.state === "ended") await this.show(0, turn);
      await this.run(turn);
    });
  }

  pause(): void {
    this.turn += 1;
    this.enter("paused");
  }

  /** Seek to `seconds`, and play on from there if the recording was playing. */
  seek(seconds: number): Promise<void> {
    const goOn = this.state === "playing" || (this.state === "seeking" && this.goesOn);
    const turn = ++this.turn;
    this.goesOn = goOn;
    return this.reportFailure(async () => {
      this.enter("seeking");
      await this.show(Math.min(Math.max(0, seconds), this.duration), turn);
      if (turn !== this.turn) return;
      if (goOn) return this.run(turn);
      this.enter("paused");
    });
  }

  private goesOn = false;

  /** Play on at another speed. */
  pace(speed: number, skipPauses: boolean): void {
    this.speed = speed;
    this.skipPauses = skipPauses;
    if (this.state !== "playing") return;
    const turn = ++this.turn;
    void this.reportFailure(() => this.run(turn));
  }

  private async run(turn: number): Promise<void> {
    if (turn !== this.turn) return;
    this.enter("playing");
    let base = this.at;
    let began = performance.now();
    while (turn === this.turn) {
      const next = this.reader.near ?? (await this.reader.peek());
      if (turn !== this.turn) return;
      if (next === undefined) {
        this.setTime(Math.max(this.at, this.duration));
        this.enter("ended");
        return;
      }
      let now = base + ((performance.now() - began) / 1000) * this.speed;
      if (this.skipPauses && next.at - now > PAUSE_S) {
        now = base = next.at - PAUSE_S;
        began = performance.now();
      }
      this.setTime(Math.min(now, Math.max(this.duration, next.at)));
      if (next.at > now) {
        const wait = ((next.at - now) / this.speed) * 1000;
        await new Promise((resolve) => setTimeout(resolve, Math.min(wait, TICK_MS)));
      } else await this.runExclusive(turn, () => this.showDue(now, true));
    }
  }

  /** Draw the screen at `seconds`, from the nearest kept screen before it. */
  private async show(seconds: number, turn: number): Promise<void> {
    await this.runExclusive(turn, async () => {
      const best = this.keyframes.findLast((keyframe) => keyframe.at <= seconds);
      // The present screen may be nearer than the kept one, unless it is later than `seconds`.
      if (best === undefined || (this.shown <= seconds && this.reader.offset >= best.offset && this.started)) return;
      this.started = true;
      this.reader = new EventReader(this.source, best.offset);
      this.shown = best.at;
      await this.painter.show(best.picture);
    });
    while (turn === this.turn) {
      const next = this.reader.near ?? (await this.reader.peek());
      if (next === undefined || next.at > seconds || turn !== this.turn) break;
      await this.runExclusive(turn, () => this.showDue(seconds, false));
      this.setTime(this.shown);
    }
    if (turn === this.turn) this.setTime(seconds);
  }

  private started = false;

  /** Show a batch of the events up to `now` that are read already. */
  private async showDue(now: number, marks: boolean): Promise<void> {
    let text = "";
    for (let next = this.reader.near; next !== undefined && next.at <= now; next = this.reader.near) {
      if (next.code === "o") text += next.data;
      const size = next.code === "r" ? parseSize(next.data) : undefined;
      if (size !== undefined) {
        if (text) await this.painter.write(text);
        text = "";
        this.painter.resize(...size);
      }
      if (marks && (next.code === "i" || next.code === "m")) this.watcher.mark(next);
      this.shown = Math.max(this.shown, next.at);
      this.reader.skip();
      if (text.length > BATCH_CHARS) break;
    }
    if (text) await this.painter.write(text);
    this.keep();
  }

  private keep(): void {
    const last = this.keyframes.at(-1);
    if (last === undefined || this.reader.offset - last.offset < this.step) return;
    const picture = this.painter.capture();
    if (picture === undefined) return;
    this.keyframes.push({ offset: this.reader.offset, at: this.shown, picture });
    if (this.keyframes.length <= MAX_KEYFRAMES) return;
    this.keyframes = this.keyframes.filter((_, number) => number % 2 === 0);
    this.step *= 2;
  }

  /** Run `act` after earlier work on the terminal, unless another loop has begun meanwhile. */
  private runExclusive(turn: number, act: () => Promise<void>): Promise<void> {
    const done = this.busy.then(() => (turn === this.turn ? act() : undefined));
    this.busy = done.catch(() => undefined);
    return done;
  }

  /** Run `act`. If it fails, pause and report the failure. */
  private async reportFailure(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.pause();
      this.watcher.handleFailure(error);
    }
  }

  private setTime(at: number): void {
    this.at = at;
    this.watcher.time(at);
  }

  private enter(state: PlayerState): void {
    if (this.state === state) return;
    this.state = state;
    this.watcher.state(state);
  }
}
