/** The people at this terminal: in the bar, in notices with a sound, and in a dialog where the owner can act. */

import { formatClock } from "../local-time";
import { openDialog } from "./dialogs";
import { IdentityLevel, Mode, type ClientFrame, type HolderFrame, type Person } from "./frames";
import { createButton, createElement, getElement } from "../page";
import type { Settings } from "../settings";
import { t } from "../language";

export type People = HolderFrame & { kind: "people" };

const COLOURS = 6;
const NEWS_MS = 8000;
const IN_BAR = 3;

/** Return all people except the user of this page. */
export function listOthers(people: People): Person[] {
  return people.people.filter((person) => person.number !== people.you);
}

export function formatName(person: Person): string {
  if (person.level === IdentityLevel.Claimed) return person.name ? `${person.name}?` : t`unnamed`;
  if (person.level === IdentityLevel.Guest) return t`${person.name} by link`;
  if (person.level !== IdentityLevel.Ssh) return person.name || t`unnamed`;
  return person.name ? t`unverified ssh login as ${person.name}` : t`unverified ssh login`;
}

function describeActivity(person: Person): string {
  return person.mode === Mode.Watch ? t`watches` : t`types`;
}

/**
 * Return a function from people to CSS classes with their colours. A name has the same colour in every browser, and
 * names have different colours while there are enough; on a conflict, the person who came first keeps theirs. People
 * that no gateway has admitted have a warning colour.
 */
export function assignColours(people: Person[]): (person: Person) => string {
  const given = new Map<string, number>();
  for (const { name, level } of people) {
    if (level === IdentityLevel.Ssh || given.has(name)) continue;
    let at = 0;
    for (const letter of name) at = (at * 31 + (letter.codePointAt(0) ?? 0)) % 9973;
    const taken = new Set(given.size < COLOURS ? given.values() : []);
    while (taken.has(at % COLOURS)) at += 1;
    given.set(name, at % COLOURS);
  }
  return (person) => (person.level === IdentityLevel.Ssh ? "person-ssh" : `person-${given.get(person.name) ?? 0}`);
}

/**
 * Return a line for each person who came or left. People are compared by name, since a person who reconnects gets
 * another number, which is no news. A name that is not proved yet is announced when it is, or a few seconds later,
 * when it is known that it cannot be.
 */
export function listNews(before: People, after: People): { text: string; came: boolean }[] {
  const announced = (people: People): { name: string; line: string }[] =>
    listOthers(people)
      .filter(({ level }) => level !== IdentityLevel.Claimed)
      .map((person) => ({ name: formatName(person), line: `${formatName(person)} ${describeActivity(person)}` }));
  const left = announced(before);
  const lines: { text: string; came: boolean }[] = [];
  for (const { line } of announced(after)) {
    const at = left.findIndex((each) => each.line === line);
    if (at >= 0) left.splice(at, 1);
    else lines.push({ text: t`${line} here now`, came: true });
  }
  for (const { name } of left) lines.push({ text: t`${name} has left`, came: false });
  return lines;
}

function ring(): void {
  const audio = new AudioContext();
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  volume.gain.value = 0.05;
  tone.frequency.value = 880;
  tone.connect(volume).connect(audio.destination);
  tone.addEventListener("ended", () => void audio.close());
  tone.start();
  tone.stop(audio.currentTime + 0.15);
}

/** The people in the bar, the notices about them, and their dialog. */
export class PeopleBar {
  private last: People | undefined;
  private updatedAt = 0;
  private hiding: number | undefined;
  private readonly bar = getElement<HTMLButtonElement>("people");
  private readonly dialog = getElement<HTMLDialogElement>("dialog");
  /** The dialog's list, while the dialog shows people. */
  private list: HTMLElement | undefined;

  constructor(private readonly settings: Settings, private readonly send: (frame: ClientFrame) => void) {
    this.bar.addEventListener("click", () => this.open());
    this.dialog.addEventListener("close", () => (this.list = undefined));
  }

  update(people: People): void {
    const before = this.last;
    this.last = people;
    this.updatedAt = Date.now() / 1000;
    // People who were here before this page are no news.
    if (before !== undefined) this.announce(listNews(before, people));
    this.draw(people);
    if (this.list?.isConnected) this.fill(this.list, people);
  }

  /** Whether the terminal is locked, as far as the page knows. */
  get locked(): boolean {
    return this.last?.locked === true;
  }

  unlock(): void {
    this.send({ kind: "lock", on: false });
  }

  private announce(lines: { text: string; came: boolean }[]): void {
    if (lines.length === 0) return;
    const place = getElement("news");
    place.textContent = lines.map(({ text }) => text).join("; ");
    place.hidden = false;
    clearTimeout(this.hiding);
    this.hiding = window.setTimeout(() => (place.hidden = true), NEWS_MS);
    if (this.settings.bell && lines.some(({ came }) => came)) ring();
  }

  private draw(people: People): void {
    const there = listOthers(people);
    const alone = there.length === 0;
    this.bar.hidden = false;
    this.bar.replaceChildren();
    if (people.locked) this.bar.append(createElement("b", t`Locked`, { className: "locked" }));
    if (alone) this.bar.append(createElement("span", t`Only you`));
    this.bar.append(...there.slice(0, IN_BAR).map((person) => this.makeChip(person, assignColours(people.people)(person))));
    if (there.length > IN_BAR) this.bar.append(createElement("span", `+${there.length - IN_BAR}`));
    const names = there.map((person) => `${formatName(person)} ${describeActivity(person)}${person.typed ? t`, typed last` : ""}`).join("; ");
    this.bar.title = names + (people.locked ? `${alone ? "" : ". "}${people.mayRule ? t`Locked: a click unlocks it` : t`Locked: by its owner`}` : "");
    this.bar.setAttribute("aria-label", `${people.locked ? t`Locked. ` : ""}${alone ? t`Only you are here` : t`Also here: ${names}`}`);
  }

  private makeChip(person: Person, colour: string): HTMLElement {
    const chip = createElement("span", "", { className: `person ${colour}${person.typed ? " typed" : ""}` });
    chip.append(createElement("b", formatName(person)), createElement("i", ` ${describeActivity(person)}`));
    return chip;
  }

  private open(): void {
    const { body } = openDialog(t`Who is here`);
    this.list = createElement("div");
    body.append(this.list);
    if (this.last !== undefined) this.fill(this.list, this.last);
  }

  private fill(place: HTMLElement, people: People): void {
    const list = createElement("ul", "", { className: "keys" });
    for (const person of people.people) list.append(this.makeRow(person, people));
    place.replaceChildren(list);
    if (!people.mayRule) return;
    const lock = createElement("input", "", { type: "checkbox", id: "lock", checked: people.locked });
    lock.addEventListener("change", () => this.send({ kind: "lock", on: lock.checked }));
    const label = createElement("label");
    label.append(lock, t` Keep this terminal to myself: others are disconnected and refused`);
    place.append(label);
  }

  private makeRow(person: Person, people: People): HTMLElement {
    const row = createElement("li");
    const you = person.number === people.you;
    row.append(createElement("span", you ? t`${formatName(person)} (you)` : formatName(person), { className: `person ${assignColours(people.people)(person)}` }));
    row.append(createElement("span", t`${describeActivity(person)} since ${formatClock(this.updatedAt - person.forS)}` + (person.typed ? t`, typed last` : "")));
    if (people.mayRule && !you)
      row.append(createButton(t`Remove`, () => this.send({ kind: "remove", number: person.number })));
    return row;
  }
}
