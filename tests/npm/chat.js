// What useChat does, without React: each state of the chat is said in a line, commands come in lines.

import { createInterface } from "node:readline";

const [version, api, chatId, authorization, cookie] = process.argv.slice(2);
const { AbstractChat, DefaultChatTransport } = await import(`ai${version}`);

class State {
  #status = "ready";
  #messages = [];
  error = undefined;

  get status() {
    return this.#status;
  }

  set status(status) {
    this.#status = status;
    this.say();
  }

  get messages() {
    return this.#messages;
  }

  set messages(messages) {
    this.#messages = messages;
    this.say();
  }

  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => (this.messages = this.messages.with(index, structuredClone(message)));
  snapshot = (thing) => structuredClone(thing);

  say() {
    const { status, messages, error } = this;
    console.log(JSON.stringify({ status, messages, error: error?.message ?? null }));
  }
}

class Chat extends AbstractChat {}

const state = new State();
let streamId = null;
const transport = new DefaultChatTransport({
  // The view of the project's own, where people are logged in.
  api: new URL("/chat/", api).href,
  headers: { cookie },
  prepareReconnectToStreamRequest: ({ id }) => ({ api: `${api}/chats/${id}/stream/`, headers: { authorization } }),
  fetch: async (url, init) => {
    const response = await fetch(url, init);
    streamId = response.headers.get("x-stream-id");
    return response;
  },
});
const chat = new Chat({ id: chatId, transport, state });
const commands = {
  resume: () => chat.resumeStream(),
  send: () => chat.sendMessage({ text: "Sencha?" }),
  // What a stop button does: the page stops reading, the writer stops writing.
  async stop() {
    await fetch(`${api}/chats/${chatId}/streams/${streamId}/cancel/`, { method: "POST", headers: { authorization } });
    await chat.stop();
  },
};

console.log("{}");
for await (const line of createInterface({ input: process.stdin })) {
  // Not awaited: a page takes the next click while the answer comes.
  commands[line]().then(() => state.say());
}
