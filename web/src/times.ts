/** Times of the page, which has them in UTC, in the user's zone, with the original in their title. */

import { localizeTimes, formatInstant } from "./local-time";

for (const titled of document.querySelectorAll<HTMLElement>("[title]")) titled.title = localizeTimes(titled.title);
for (const time of document.querySelectorAll("time")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  time.title = `${time.textContent ?? ""}, ${at.toLocaleString([], { dateStyle: "full", timeStyle: "long" })}`;
  time.textContent = formatInstant(at);
}
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = texts.nextNode(); node !== null; node = texts.nextNode())
  if (node instanceof Text) node.data = localizeTimes(node.data);
