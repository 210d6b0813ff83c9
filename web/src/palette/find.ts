/** The commands of the palette, and the search among them. Pure. */
import { makeMatcher } from "../account/filter";

export interface Command {
  label: string;
  /** The kind of command, or the keys that do the same. */
  note: string;
  act: () => void;
}

/** The most commands that are shown at once. */
const MAX_SHOWN = 12;

/** Return the commands whose label has all typed words, those first that begin with the first word. */
export function findCommands(commands: Command[], typed: string): Command[] {
  const first = typed.trim().toLowerCase().split(/\s/)[0] ?? "";
  const begins = ({ label }: Command): boolean => label.toLowerCase().startsWith(first);
  const matches = makeMatcher(typed);
  const all = commands.filter(({ label }) => matches(label));
  return [...all.filter(begins), ...all.filter((command) => !begins(command))].slice(0, MAX_SHOWN);
}
