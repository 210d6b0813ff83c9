/** Times are written in UTC; where this runs, they are shown in the person's own zone, with that in their title. */

import { localizeTimes, formatInstant } from "./local-time";

for (const one of document.querySelectorAll<HTMLElement>("[title]")) one.title = localizeTimes(one.title);
for (const time of document.querySelectorAll("time")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  time.title = `${time.textContent ?? ""}, ${at.toLocaleString([], { dateStyle: "full", timeStyle: "long" })}`;
  time.textContent = formatInstant(at);
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = texts.nextNode(); node !== null; node = texts.nextNode())
  if (node instanceof Text) node.data = localizeTimes(node.data);
