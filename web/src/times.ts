/** The script of every page: its times, also those in messages, are the user's, and a page that waits shows news. */

import { awaitNews } from "./await-news";
import { localizeTimes, showTimes } from "./local-time";

// A time's own title keeps the original.
for (const titled of document.querySelectorAll<HTMLElement>("[title]:not(time)")) titled.title = localizeTimes(titled.title);
showTimes(document);
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = texts.nextNode(); node !== null; node = texts.nextNode())
  if (node instanceof Text) node.data = localizeTimes(node.data);
const { refresh } = document.getElementById("main")?.dataset ?? {};
if (refresh !== undefined) void awaitNews(Number(refresh));
