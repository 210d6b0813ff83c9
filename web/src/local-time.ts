/** Times in the user's zone. */
import { t } from "./language";

/** Return a time in the form that suits a column, `2026-03-02 10:30`, in this device's zone or in `zone`. */
export function formatInstant(at: Date, zone?: string): string {
  const style = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" } as const;
  // The Swedish locale writes dates as ISO 8601 does.
  return at.toLocaleString("sv-SE", { ...style, timeZone: zone });
}

/** Return a local time of day of 24 hours, with its date if that is not today. */
export function formatClock(seconds: number): string {
  const at = new Date(seconds * 1000);
  const today = at.toDateString() === new Date().toDateString();
  const shown = formatInstant(at);
  return today ? shown.slice(-5) : shown;
}

/** Return a time with this device's offset from UTC (RFC 3339): `2026-03-02T10:30:00+08:00`. */
function formatIso(at: Date): string {
  const minutes = -at.getTimezoneOffset();
  const local = new Date(at.getTime() + minutes * 60_000).toISOString().slice(0, 19);
  const two = (part: number): string => String(Math.floor(part)).padStart(2, "0");
  return `${local}${minutes < 0 ? "-" : "+"}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
}

/** Convert each time in a message of the gateway, which writes them in UTC. */
export function localizeTimes(text: string, zone?: string): string {
  return text.replace(/\b(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC\b/g, (match: string, day: string, minute: string) => {
    const at = new Date(`${day}T${minute}Z`);
    return Number.isNaN(at.getTime()) ? match : formatInstant(at, zone);
  });
}

/** Return how long ago a time is: `now`, `5 min ago`, `3 h ago`, `yesterday`, `6 days ago`, or its date. */
export function formatAgo(at: Date, now: Date): string {
  const minutes = Math.floor((now.getTime() - at.getTime()) / 60_000);
  if (minutes < 1) return t`now`;
  if (minutes < 60) return t`${minutes} min ago`;
  if (minutes < 24 * 60) return t`${Math.floor(minutes / 60)} h ago`;
  const days = Math.floor(minutes / (24 * 60));
  if (days < 2) return t`yesterday`;
  return days < 30 ? t`${days} days ago` : formatInstant(at).slice(0, 10);
}

/** Write the times within `root` in the user's zone, and those with `data-ago` as a time ago. */
export function showTimes(root: ParentNode): void {
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime()) || time.title) continue;
    time.title = formatIso(at);
    time.textContent = time.dataset.ago === undefined ? formatInstant(at) : formatAgo(at, new Date());
  }
}
