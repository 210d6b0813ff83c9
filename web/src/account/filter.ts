/** The filter of the home page's table: rows by typed words and by a chosen group, pinned ones first. Pure. */
import { t } from "../language";

/** An app's row, as the filter sees it. */
export interface Row {
  name: string;
  environment: string;
  state: string;
  /** Whether the user has opened a session there. */
  used: boolean;
}

/** A group of rows to choose, with the number of its rows. */
export interface Group {
  label: string;
  count: number;
  has: (row: Row) => boolean;
}

/** The most groups by environment; the filter finds the others. */
const MAX_ENVIRONMENTS = 4;

/** Return a test of whether a name contains all typed words, in any order and case. */
export function makeMatcher(typed: string): (name: string) => boolean {
  const words = typed.toLowerCase().split(/\s+/).filter((word) => word !== "");
  return (name) => {
    const lower = name.toLowerCase();
    return words.every((word) => lower.includes(word));
  };
}

/** Return a line on how many apps match. */
export function describeCount(seen: number, all: number): string {
  if (seen === all) return t`${all} apps`;
  return seen === 0 ? t`none of ${all} apps` : t`${seen} of ${all} apps`;
}

/** Return the groups with rows in them: all, recent and pinned, running, and the most frequent environments. */
export function listGroups(rows: Row[], pinned: ReadonlySet<string>): Group[] {
  const environments = new Map<string, number>();
  for (const { environment } of rows) if (environment) environments.set(environment, (environments.get(environment) ?? 0) + 1);
  const most = [...environments].sort(([one, ones], [other, others]) => others - ones || one.localeCompare(other));
  const chosen: [string, (row: Row) => boolean][] = [
    [t`All`, () => true],
    [t`Recent and pinned`, (row) => row.used || pinned.has(row.name)],
    [t`Running`, (row) => row.state === "ready"],
    ...most.slice(0, MAX_ENVIRONMENTS).map(([name]): [string, (row: Row) => boolean] => [name, (row) => row.environment === name]),
  ];
  return chosen
    .map(([label, has]) => ({ label, has, count: rows.filter(has).length }))
    .filter(({ label, count }) => label === t`All` || count > 0);
}

/** Return the rows of a group that match, pinned ones first, else in the given order. */
export function filterRows<T extends Row>(rows: T[], typed: string, group: Group, pinned: ReadonlySet<string>): T[] {
  const matches = makeMatcher(typed);
  const found = rows.filter((row) => group.has(row) && matches(row.name));
  return [...found.filter((row) => pinned.has(row.name)), ...found.filter((row) => !pinned.has(row.name))];
}
