/** The home page's copy buttons, lists of terminals and filter. The page works without them. */
import { ask, names, type Listed } from "../ask";
import { filter } from "./filter";
import { copyByHand } from "../page";

for (const button of document.querySelectorAll<HTMLButtonElement>("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const text = button.dataset.copy ?? "";
    const done = (): void => {
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    };
    if (navigator.clipboard === undefined) {
      copyByHand(text);
      done();
    } else void navigator.clipboard.writeText(text).then(done);
  });
}

// The list of terminals, fetched on a click, since the gateway has to ask the shell for it.
for (const button of document.querySelectorAll<HTMLButtonElement>("button.terminals")) {
  const { app = "", page = "" } = button.dataset;
  const list = document.createElement("ul");
  list.className = "keys";
  button.hidden = false;
  button.addEventListener("click", () => {
    list.replaceChildren();
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    if (!open) return list.remove();
    button.closest("li")?.append(list);
    const row = (text: string): HTMLLIElement => {
      const entry = document.createElement("li");
      entry.textContent = text;
      list.append(entry);
      return entry;
    };
    ask<Listed>(page.replace(/\/app\/[^/]*$/, ""), "terminals", { target: app })
      .then((listed) => {
        if (["absent", "starting", "failed"].includes(listed.state)) row("The shell does not run, so there are none.");
        else if (listed.terminals.length === 0) row("None yet.");
        for (const { name, attached } of listed.terminals) {
          const link = document.createElement("a");
          link.href = `${page}?terminal=${encodeURIComponent(name)}`;
          link.textContent = name;
          row("").append(link, attached.length > 0 ? ` ${names(attached)}` : "");
        }
      })
      .catch((error: unknown) => row(error instanceof Error ? error.message : String(error)));
  });
}

filter();
