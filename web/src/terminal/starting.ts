/** The steps of a starting shell, shown in the empty terminal with the time that each has taken. */
import { t } from "../language";
import { createElement } from "../page";

const TICK_MS = 100;

export function formatElapsed(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
}

interface Step {
  text: string;
  began: number;
  time: HTMLElement;
}

export class Starting {
  private readonly list = createElement("ol", "", { id: "starting", ariaLabel: t`The shell starts` });
  private last: Step | undefined;
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly place: HTMLElement) {}

  /** Show that the next step has begun. */
  step(text: string): void {
    if (this.last?.text === text) return;
    this.draw();
    const row = createElement("li");
    const time = createElement("span");
    row.append(text, time);
    this.list.append(row);
    this.last = { text, began: performance.now(), time };
    if (!this.list.isConnected) this.place.append(this.list);
    this.timer ??= setInterval(() => this.draw(), TICK_MS);
    this.draw();
  }

  /** Stop the clock of a start that failed. The steps stay, and show how far it went. */
  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** Remove the steps, since the shell runs. */
  end(): void {
    this.stop();
    this.list.remove();
    this.list.replaceChildren();
    this.last = undefined;
  }

  private draw(): void {
    if (this.last !== undefined) this.last.time.textContent = formatElapsed(performance.now() - this.last.began);
  }
}
