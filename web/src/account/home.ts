/** The home page works without this; it makes buttons that copy, lists and a filter. */
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

// The terminals that are there: asked for by a gesture, since the shell has to be asked.
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
      const made = document.createElement("li");
      made.textContent = text;
      list.append(made);
      return made;
    };
    ask<Listed>(page.replace(/\/app\/[^/]*$/, ""), "terminals", { target: app })
      .then((found) => {
        if (["absent", "starting", "failed"].includes(found.state)) row("The shell does not run, so there are none.");
        else if (found.terminals.length === 0) row("None yet.");
        for (const one of found.terminals) {
          const link = document.createElement("a");
          link.href = `${page}?terminal=${encodeURIComponent(one.name)}`;
          link.textContent = one.name;
          row("").append(link, one.attached.length > 0 ? ` ${names(one.attached)}` : "");
        }
      })
      .catch((error: unknown) => row(error instanceof Error ? error.message : String(error)));
  });
}

filter();
