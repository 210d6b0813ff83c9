/** Questions to the gateway's interface: JSON there and back, and errors as one line for the person. */

export async function ask<T>(path: string, what: string, asked: object): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(`${path}/api/${what}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(asked),
      cache: "no-store",
      signal: AbortSignal.timeout(40_000),
    });
  } catch {
    throw new Error("The gateway does not answer.");
  }
  const said = (await answer.json().catch(() => ({}))) as { message?: string };
  if (!answer.ok) throw new Error(said.message ?? `The gateway answers ${answer.status}.`);
  return said as T;
}

/** Somebody at a terminal. */
export interface Person {
  name: string;
  from: string;
  looks: boolean;
  since: number;
}

export interface Listed {
  state: string;
  terminals: { name: string; locked: boolean; attached: Person[] }[];
}

export interface Share {
  id: string;
  app: string;
  terminal: string;
  typing: boolean;
  expires_at: number;
}

/** Who is there, in a few words. */
export function names(people: Person[]): string {
  return people.map((one) => `${one.name}${one.looks ? " (watches)" : ""}`).join(", ");
}

/** A time of day here, or with its date if that is not today. */
export function clock(seconds: number): string {
  const at = new Date(seconds * 1000);
  const today = at.toDateString() === new Date().toDateString();
  return today ? at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : at.toLocaleString();
}

/** What a name of a terminal has to be. */
export const NAME = "[a-z0-9]([a-z0-9_\\-]{0,38}[a-z0-9])?";

export const SHARE_KEY = "stagedoor.share";
