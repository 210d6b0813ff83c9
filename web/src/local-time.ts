/** Return a time in the form that suits a column, `2026-03-02 10:30`, in this device's zone or in `zone`. */
export function formatInstant(at: Date, zone?: string): string {
  const style = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" } as const;
  // The Swedish locale writes dates as ISO 8601 does.
  return at.toLocaleString("sv-SE", { ...style, timeZone: zone });
}

/** Convert each time in a message of the gateway, which writes them in UTC. */
export function localizeTimes(text: string, zone?: string): string {
  return text.replace(/\b(\d{4}-\d\d-\d\d) (\d\d:\d\d) UTC\b/g, (match: string, day: string, minute: string) => {
    const at = new Date(`${day}T${minute}Z`);
    return Number.isNaN(at.getTime()) ? match : formatInstant(at, zone);
  });
}
