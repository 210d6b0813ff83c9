/** The panel for files: its menu, drag and drop, offers by programs, and the list of transfers. */

import type { Terminal } from "@xterm/xterm";
import { Mover, Refused, type Progress } from "./move";
import { parseFolder, parseOffer, encodePath, formatSize, type Path } from "./paths";
import { createButton, createElement, describeError, getElement } from "../page";
import { t } from "../language";

/** The most offers that wait for an answer, so that a flood of them cannot fill the page. */
const MAX_OFFERS = 4;
/** The number of finished transfers that stay in the list. */
const MAX_OVER = 20;
const HOME: Path = encodePath("~");

interface SavePicker {
  showSaveFilePicker?: (options: { suggestedName: string }) => Promise<FileSystemFileHandle>;
}

/** Set up the panel, if the page has one. */
export function setUpFiles(term: Terminal, path: string, app: string): void {
  const menu = document.getElementById("files-menu");
  if (menu === null) return;
  const mover = new Mover(`${path}/api/files/${encodeURIComponent(app)}`);
  const panel = getElement("files");
  const list = getElement("transfers");
  const pick = getElement<HTMLInputElement>("pick");
  const send = getElement<HTMLFormElement>("send");
  const into = getElement<HTMLInputElement>("folder");
  const wanted = getElement<HTMLInputElement>("fetch-path");
  let here: Path | undefined;
  let at: Path | undefined; // the folder that is listed
  let chosen: File[] = [];
  let folder = HOME;
  let asking = false; // for the folder to upload into
  let uploads: Promise<unknown> = Promise.resolve();
  let moving = 0;

  menu.hidden = false;
  menu.addEventListener("click", () => {
    open(panel.hidden === true);
    if (!panel.hidden) void browse(at ?? here ?? HOME);
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") open(false);
  });

  function open(shown: boolean): void {
    panel.hidden = !shown;
    menu?.setAttribute("aria-expanded", String(shown));
    if (shown) wanted.focus();
    else term.focus();
  }

  /** List a folder, from which files are downloaded and into which others are uploaded. */
  async function browse(folder: Path): Promise<void> {
    const place = getElement("browse");
    const [title, entries] = [place.querySelector("p"), place.querySelector("ul")];
    if (title === null || entries === null) return;
    let about;
    try {
      about = await mover.about(folder, undefined, true);
    } catch (error) {
      return row("").over(`${folder.shown}: ${describeError(error)}`, true);
    }
    if (about.kind !== "folder") return;
    at = about.path;
    title.textContent = at.shown;
    const inside = at.encoded.replace(/\/$/, "");
    const link = (shown: string, act: () => void, size = ""): HTMLLIElement => {
      const row = createElement("li");
      row.append(createButton(shown, act, { className: "quiet" }), createElement("span", size));
      return row;
    };
    const up = { encoded: inside.slice(0, inside.lastIndexOf("/")) || "/", shown: ".." };
    entries.replaceChildren(
      ...(inside === "" ? [] : [link("../", () => void browse(up))]),
      ...about.entries.map(({ name, shown, folder, size }) => {
        const path = { encoded: `${inside}/${name}`, shown: `${about.path.shown.replace(/\/$/, "")}/${shown}` };
        return folder ? link(`${shown}/`, () => void browse(path)) : link(shown, () => void follow(path), formatSize(size));
      }),
    );
    place.hidden = false;
  }

  /** List what a link leads to, if that is a folder; else download it. */
  async function follow(path: Path): Promise<void> {
    const about = await mover.about(path).catch(() => undefined);
    await (about?.kind === "folder" ? browse(path) : download(path));
  }

  function say(text: string): void {
    getElement("files-said").textContent = text;
  }

  /** Add a line to the list. `over` replaces it with its outcome. */
  function row(text: string): { place: HTMLElement; words: HTMLElement; button: (name: string, act: () => void) => void; over: (text: string, wrong?: boolean) => void } {
    const place = createElement("li");
    const words = createElement("span", text);
    place.append(words);
    list.prepend(place);
    const button = (name: string, act: () => void): void => place.append(" ", createButton(name, act));
    const over = (last: string, wrong = false): void => {
      place.replaceChildren(last);
      place.className = wrong ? "wrong" : "over";
      for (const old of [...list.querySelectorAll("li.over, li.wrong")].slice(MAX_OVER)) old.remove();
      say(last);
    };
    return { place, words, button, over };
  }

  /** Show the progress of a transfer until it is done. `act` returns its outcome for the user. */
  async function watch(what: string, size: number, act: (signal: AbortSignal, report: Progress) => Promise<string>): Promise<void> {
    const { place, words, button, over } = row(what);
    const bar = createElement("progress", "", { max: size || 1, value: 0, ariaLabel: what });
    place.append(" ", bar);
    const control = new AbortController();
    button(t`Cancel`, () => control.abort());
    say(what);
    moving += 1;
    try {
      over(await act(control.signal, (done, note) => {
        bar.value = done;
        words.textContent = note ? `${what}. ${note}` : t`${what}: ${formatSize(done)} of ${formatSize(size)}`;
      }));
    } catch (error) {
      if (control.signal.aborted) over(t`${what}: cancelled`);
      else over(`${what}: ${describeError(error)}`, true);
    } finally {
      moving -= 1;
    }
  }

  // Uploads.

  getElement("upload").addEventListener("click", () => pick.click());
  pick.addEventListener("change", () => {
    void choose([...(pick.files ?? [])]);
    pick.value = "";
  });

  function whatIsChosen(): string {
    const total = formatSize(chosen.reduce((sum, file) => sum + file.size, 0));
    return chosen.length === 1 ? `${chosen[0]?.name ?? ""} (${total})` : t`${chosen.length} files (${total})`;
  }

  /** Add chosen files. The user confirms the folder before the upload. */
  async function choose(files: File[]): Promise<void> {
    if (files.length === 0) return;
    chosen.push(...files);
    open(true);
    const label = send.querySelector("label");
    if (label !== null) label.textContent = t`Upload ${whatIsChosen()} into`;
    if (!send.hidden) return into.focus(); // added to the files before them, whose folder stays
    if (asking) return; // a second answer could overwrite a folder that the user has typed meanwhile
    asking = true;
    into.value = "";
    try {
      const wanted = at ?? here;
      const about = wanted && (await mover.about(wanted).catch(() => undefined));
      folder = about?.kind === "folder" ? about.path : (await mover.about(HOME)).path;
      into.value = folder.shown;
      send.hidden = false;
      into.focus();
    } catch (error) {
      row("").over(t`${whatIsChosen()} cannot be uploaded: ${describeError(error)}`, true);
      chosen = [];
    } finally {
      asking = false;
    }
  }

  send.addEventListener("submit", (event) => {
    event.preventDefault();
    const to = into.value === folder.shown ? folder : encodePath(into.value.trim() || "~");
    for (const file of chosen) {
      const what = t`Upload of ${file.name}`;
      // One after the other, since two at once would only slow each other down.
      uploads = uploads.then(() =>
        watch(what, file.size, async (signal, report) => {
          const name = await mover.upload(file, to, encodePath(file.name), signal, report);
          return name === file.name ? t`${file.name} is in ${to.shown}` : t`${file.name} is in ${to.shown} as ${name}`;
        }),
      );
    }
    chosen = [];
    send.hidden = true;
    term.focus();
  });
  getElement("send-not").addEventListener("click", () => {
    chosen = [];
    send.hidden = true;
    open(false);
  });

  // Files may be dropped anywhere on the page: beside the terminal, the browser would open them instead of the page.
  const hasFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    if (event.dataTransfer !== null) event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    const files: File[] = [];
    let folders = 0;
    for (const item of event.dataTransfer?.items ?? []) {
      const file = item.getAsFile();
      if (item.webkitGetAsEntry?.()?.isDirectory) folders += 1;
      else if (file !== null) files.push(file);
    }
    if (folders > 0) row("").over(t`A folder cannot be uploaded: pack it into one file first.`, true);
    if (folders > 0 && files.length === 0) open(true);
    void choose(files);
  });

  // Downloads.

  getElement("fetch").addEventListener("submit", (event) => {
    event.preventDefault();
    void download(encodePath(wanted.value.trim()));
  });

  async function download(path: Path): Promise<void> {
    for (const failed of list.querySelectorAll("li.wrong")) failed.remove();
    try {
      const about = await mover.about(path);
      if (about.kind !== "file") throw new Refused(about.kind === "folder" ? t`a folder: pack it into one file first, as by tar -czf FILE.tgz FOLDER` : t`not a regular file`);
      await fetchFile(about.path, about.size);
    } catch (error) {
      row("").over(`${path.shown}: ${describeError(error)}`, true);
    }
  }

  async function fetchFile(path: Path, size: number): Promise<void> {
    const name = path.shown.slice(path.shown.lastIndexOf("/") + 1);
    const picker = (globalThis as SavePicker).showSaveFilePicker;
    if (picker === undefined || size === 0) {
      // The browser's own download shows its progress, and resumes after an interruption.
      createElement("a", "", { href: mover.address(path), download: "" }).click();
      return row("").over(t`${path.shown} (${formatSize(size)}) goes to the browser's downloads`);
    }
    let handle: FileSystemFileHandle;
    try {
      handle = await picker({ suggestedName: name });
    } catch {
      return say(t`${name} was not downloaded`);
    }
    await watch(t`Download of ${name}`, size, async (signal, report) => {
      await mover.download(path, size, handle, signal, report);
      return t`${name} is downloaded (${formatSize(size)})`;
    });
  }

  // Sequences of programs.

  term.parser.registerOscHandler(7, (sequence) => {
    const folder = parseFolder(sequence);
    if (folder !== undefined && folder.encoded !== here?.encoded) [here, at] = [folder, undefined];
    return true;
  });
  term.parser.registerOscHandler(1337, (sequence) => {
    if (!sequence.startsWith("StagedoorGet=")) return false; // perhaps an image
    const path = parseOffer(sequence);
    if (path !== undefined) offer(path);
    return true;
  });

  function offer(path: Path): void {
    const waiting = [...list.querySelectorAll<HTMLElement>("li.offer")];
    if (waiting.some((row) => row.dataset.path === path.encoded) || waiting.length >= MAX_OFFERS) return;
    const { place, button } = row(t`A program in the terminal offers ${path.shown}`);
    place.className = "offer";
    place.dataset.path = path.encoded;
    // The panel opens without taking the focus, since typed input is for the terminal.
    panel.hidden = false;
    menu?.setAttribute("aria-expanded", "true");
    say(t`A program in the terminal offers the file ${path.shown}`);
    button(t`Download`, () => {
      place.remove();
      void download(path);
    });
    button(t`No`, () => {
      place.remove();
      term.focus();
    });
  }

  addEventListener("beforeunload", (event) => {
    if (moving > 0) event.preventDefault();
  });
}
