/** An instant as a column of them is read best: `2026-03-02 10:30`, in the zone of this device or of `zone`. */
export function formatInstant(at: Date, zone?: string): string {
  const style = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" } as const;
  // Of all locales Sweden's writes a date as ISO 8601 does.
  return at.toLocaleString("sv-SE", { ...style, timeZone: zone });
}

/** The same for each instant in a message of the gateway's, which writes them in UTC. */
export function localizeTimes(text: string, zone?: string): string {
  return text.replace(/\b(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC\b/g, (said: string, day: string, minute: string) => {
    const at = new Date(`${day}T${minute}Z`);
    return Number.isNaN(at.getTime()) ? said : formatInstant(at, zone);
  });
}
