/** Loaded on demand by features that this page does not use: the inspector, generated pages, MCP apps, formulas. */
export const nothing = null;
