/** Takes the place of `@copilotkit/web-components/threads-drawer`, which brings lit. This page has its own list. */
export const COPILOTKIT_THREADS_DRAWER_TAG = "copilotkit-threads-drawer";
export const defineCopilotKitThreadsDrawer = () => {};
