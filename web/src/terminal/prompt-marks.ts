/**
 * Marks at a shell's prompts (OSC 133, which shells send by their own settings): a bar beside each command that failed,
 * with its exit code, and keys that go from prompt to prompt.
 */

import type { IMarker, Terminal } from "@xterm/xterm";
import { t } from "../language";

/** The most marks that are kept: about as many prompts as the kept lines have room for. */
const MAX_PROMPTS = 1000;

/** An exit code of OSC 133 ; D, or undefined for a command that was not run. */
export function parseExitCode(sequence: string): number | undefined {
  const [, code] = /^D;(\d{1,3})(?:;|$)/.exec(sequence) ?? [];
  return code === undefined ? undefined : Number(code);
}

/** Return the line of the prompt before or after `line`. */
export function findPrompt(lines: readonly number[], line: number, back: boolean): number | undefined {
  return back ? lines.findLast((at) => at >= 0 && at < line) : lines.find((at) => at > line);
}

/** Follow the prompts of a terminal; return a function that scrolls to the one before or after. It returns whether there is one. */
export function markPrompts(term: Terminal): (back: boolean) => boolean {
  const prompts: IMarker[] = [];
  const marked = new WeakSet<IMarker>();
  let ran: IMarker | undefined;

  function markFailure(code: number): void {
    // A program may repeat the end of one command without end, and each mark is an element of the page.
    if (ran === undefined || ran.isDisposed || marked.has(ran)) return;
    marked.add(ran);
    const mark = term.registerDecoration({ marker: ran, width: 1, overviewRulerOptions: { color: "#d9534f" } });
    mark?.onRender((place) => {
      place.classList.add("failed");
      place.title = t`Exit code ${code}`;
    });
  }

  term.parser.registerOscHandler(133, (sequence) => {
    if (term.buffer.active.type === "alternate") return true;
    if (sequence.startsWith("A")) {
      const marker = term.registerMarker();
      // A prompt that is drawn again stays one.
      if (prompts.at(-1)?.line === marker.line) prompts.pop()?.dispose();
      prompts.push(marker);
      if (prompts.length > MAX_PROMPTS) prompts.shift()?.dispose();
    } else if (sequence.startsWith("C")) ran = prompts.at(-1);
    const code = parseExitCode(sequence);
    if (code) markFailure(code);
    if (sequence.startsWith("D")) ran = undefined;
    return true;
  });

  return (back) => {
    const { active } = term.buffer;
    if (active.type === "alternate") return false;
    const line = findPrompt(prompts.map((marker) => marker.line), active.viewportY, back);
    if (line !== undefined) term.scrollToLine(line);
    else if (!back && prompts.length > 0) term.scrollToBottom();
    return prompts.length > 0;
  };
}
