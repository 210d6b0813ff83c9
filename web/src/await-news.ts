/** A page that waits for something: it is loaded again only once the gateway's says something else, and disturbs no reader before. */

/** Ask for the page each `everyS` seconds. */
export async function awaitNews(everyS: number): Promise<void> {
  let first: string | undefined;
  for (;;) {
    const now = await read().catch(() => first); // the gateway may be away for a moment
    first ??= now;
    if (now !== first) return location.reload();
    await new Promise((resolve) => setTimeout(resolve, everyS * 1000));
  }
}

async function read(): Promise<string | undefined> {
  const page = new DOMParser().parseFromString(await (await fetch(location.href, { cache: "no-store" })).text(), "text/html");
  return page.getElementById("main")?.textContent ?? "";
}
