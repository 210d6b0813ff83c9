/** The apps that the user has pinned, stored in this browser. */

const KEY = "stagedoor.pins";
const MAX_PINS = 100;

export function loadPins(): Set<string> {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]") as unknown;
    return new Set(Array.isArray(kept) ? kept.filter((name) => typeof name === "string").slice(0, MAX_PINS) : []);
  } catch {
    return new Set(); // storage may be forbidden, or hold another version's data
  }
}

export function storePins(pins: ReadonlySet<string>): void {
  try {
    localStorage.setItem(KEY, JSON.stringify([...pins].slice(-MAX_PINS)));
  } catch {
    // Then they last until the page is closed.
  }
}
