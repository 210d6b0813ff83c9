/** The script of every page: its times, also those in messages, are the user's, and a page that waits shows news. */

import { localizeTimes, showTimes } from "./local-time";

/** Ask for the page each `everyS` seconds, and load it again once its text has changed or it waits no more. */
async function awaitNews(everyS: number): Promise<void> {
  let first: string | undefined;
  for (;;) {
    const now = await readMain().catch(() => first); // the gateway may be away for a moment
    first ??= now;
    if (now !== first || now === "") return location.reload();
    await new Promise((resolve) => setTimeout(resolve, everyS * 1000));
  }
}

/** Return the text of the page as it is now, empty if it does not wait for news. */
async function readMain(): Promise<string> {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (answer.status >= 500) throw new Error(answer.statusText); // a proxy whose gateway is away
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.querySelector("main[data-refresh]")?.textContent ?? "";
}

// A time's own title keeps the original.
for (const titled of document.querySelectorAll<HTMLElement>("[title]:not(time)")) titled.title = localizeTimes(titled.title);
showTimes(document);
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = texts.nextNode(); node !== null; node = texts.nextNode())
  if (node instanceof Text) node.data = localizeTimes(node.data);
const { refresh } = document.getElementById("main")?.dataset ?? {};
if (refresh !== undefined) void awaitNews(Number(refresh));
