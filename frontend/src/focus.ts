/** Where the keyboard goes after an action whose control is gone: into the writing field. */

/** Focusing a field on a touch screen opens the keyboard over the answer. */
const onTouch = (): boolean => window.matchMedia("(pointer: coarse)").matches;

/** Focuses the writing field; on a touch screen the conversation around it. */
export function focusWriting(field: HTMLElement | null): void {
  const target = field === null || onTouch() ? document.getElementById("conversation") : field;
  target?.focus({ preventScroll: true });
}

/** Whether nothing in particular has the focus, so that moving it takes nothing away from anybody. */
export const focusIsNowhere = (): boolean =>
  document.activeElement === null || document.activeElement === document.body;
