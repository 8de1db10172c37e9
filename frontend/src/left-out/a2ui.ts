/**
 * Takes the place of `@copilotkit/a2ui-renderer` (26 kB gzip with its parts): user interfaces that an agent generates.
 * CopilotKit imports it at the top, and uses it only when the backend's /info says `a2uiEnabled`, which ours never does.
 */
const nothing = () => null;

export const A2UI_SCHEMA_CONTEXT_DESCRIPTION = "";
export const DEFAULT_SURFACE_ID = "";
export const ROOT_COMPONENT_ID = "";
export const viewerTheme = {};
export const defaultTheme = {};
export class Catalog {}
export {
  nothing as A2UIProvider,
  nothing as A2UIRenderer,
  nothing as buildCatalogContextValue,
  nothing as extractCatalogComponentSchemas,
  nothing as filterCatalog,
  nothing as initializeDefaultCatalog,
  nothing as injectStyles,
  nothing as useA2UIActions,
  nothing as useA2UIError,
};
