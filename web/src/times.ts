/** Times are written in UTC; where this runs, they are shown in the person's own zone, with that in their title. */

import { written } from "./when";

for (const time of document.querySelectorAll("time")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  time.title = `${time.textContent ?? ""}, ${at.toLocaleString([], { dateStyle: "full", timeStyle: "long" })}`;
  time.textContent = written(at);
}
