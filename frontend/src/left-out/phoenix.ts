/** Takes the place of `phoenix`: the socket of CopilotKit's hosted service. Our backend streams over HTTP. */
export class Socket {
  constructor() {
    throw new Error("this page has no connection to CopilotKit's hosted service");
  }
}
