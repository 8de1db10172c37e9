/** How many messages a conversation can still take, so that its end is announced before it is reached. Pure. */

/** The backend's limits on one conversation; null where it has none or does not say. */
export interface Limits {
  /** Messages of the user. */
  readonly turns: number | null;
  /** Runs; an approval takes one of its own. */
  readonly runs: number | null;
}

export const NO_LIMITS: Limits = { turns: null, runs: null };
export const WARN_BELOW = 10;

const countOf = (value: unknown): number | null =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : null;

/** The limits in an answer of the backend, of whatever shape it is. */
export function limitsOf(value: unknown): Limits {
  const { turns, runs } = (value ?? {}) as Record<string, unknown>;
  return { turns: countOf(turns), runs: countOf(runs) };
}

/** Messages that are left; null if nothing limits them. */
export function roomOf(limits: Limits, turns: number, runs: number): number | null {
  const left = [
    ...(limits.turns === null ? [] : [limits.turns - turns]),
    ...(limits.runs === null ? [] : [limits.runs - Math.max(runs, turns)]),
  ];
  return left.length > 0 ? Math.max(0, Math.min(...left)) : null;
}

/** What the user is told about it; empty while there is plenty. */
export function roomNotice(left: number | null): string {
  if (left === null || left > WARN_BELOW) return "";
  if (left === 0) return "This conversation has reached its limit. It stays readable; go on in a new one.";
  return `This conversation can take ${left} more ${left === 1 ? "message" : "messages"}.`;
}
