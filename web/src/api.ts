/** Requests to the gateway's API: JSON in, JSON out. */

import { t } from "./language";

/** Send `body` to the API and return its answer. Throws an Error whose message is one line for the user. */
export async function callApi<T>(path: string, what: string, body: object): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(`${path}/api/${what}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(40_000),
    });
  } catch {
    throw new Error(t`The gateway does not answer.`);
  }
  const result = (await answer.json().catch(() => ({}))) as { message?: string };
  if (!answer.ok) throw new Error(result.message ?? t`The gateway answered with status ${answer.status}.`);
  return result as T;
}

/** A person at a terminal. */
export interface AttachedPerson {
  name: string;
  from: string;
  looks: boolean;
  since: number;
}

export interface TerminalList {
  state: string;
  terminals: { name: string; locked: boolean; attached: AttachedPerson[] }[];
}

export interface Share {
  id: string;
  app: string;
  terminal: string;
  typing: boolean;
  expires_at: number;
}

/** Return the names of people at a terminal, as a list in words. */
export function listNames(people: AttachedPerson[]): string {
  return people.map((person) => person.looks ? t`${person.name} (watches)` : person.name).join(", ");
}

/** The pattern of a terminal's name. */
export const TERMINAL_NAME = "[a-z0-9]([a-z0-9_\\-]{0,38}[a-z0-9])?";

export const SHARE_KEY = "stagedoor.share";
