// An answer while it is written: chunks of a UI message stream, put together as the store will keep them.

import { call, chatUrl, renderUrl } from "./api.js";

// How often the server renders what has come so far, in milliseconds.
const PACE = 120;

export class Answer {
  // `show` gets the HTML of the answer so far, `end` the status in which the stream ended; `lost` is called some time
  // after the server has refused to be followed. To one that is away a browser comes back by itself.
  constructor(chatId, stream, { show, end, lost }) {
    this.chatId = chatId;
    this.stream = stream;
    this.show = show;
    this.end = end;
    this.parts = [];
    this.open = {};
    this.count = 0;
    this.pause = PACE;
    this.source = new EventSource(chatUrl(chatId, "streams", stream.id, "events"));
    this.source.onmessage = (event) => this.add(JSON.parse(event.data));
    this.source.addEventListener("end", (event) => this.finish(JSON.parse(event.data)));
    this.source.onerror = () => this.source.readyState === EventSource.CLOSED && setTimeout(() => this.isLeft || lost(), 3000);
  }

  // Stop following; the answer is written on.
  leave() {
    this.source.close();
    clearTimeout(this.timer);
    this.isLeft = true;
  }

  // Ask the writer to stop.
  cancel() {
    return call("POST", chatUrl(this.chatId, "streams", this.stream.id, "cancel"), {});
  }

  finish(last) {
    this.leave();
    this.end(last);
  }

  add(chunk) {
    const kind = chunk.type || "";
    const text = kind.startsWith("reasoning") ? "reasoning" : "text";
    if (kind === `${text}-start` || (kind === `${text}-delta` && !this.open[text + chunk.id])) {
      this.parts.push((this.open[text + chunk.id] = { type: text, text: "" }));
    }
    if (kind === `${text}-delta`) {
      this.open[text + chunk.id].text += chunk.delta;
    } else if (kind === "tool-input-available") {
      this.part(chunk).input = chunk.input;
    } else if (kind === "tool-output-available") {
      Object.assign(this.part(chunk), { state: "output-available", output: chunk.output });
    } else if (kind === "tool-output-error") {
      Object.assign(this.part(chunk), { state: "output-error", errorText: chunk.errorText });
    } else if (kind === "file" || kind === "source-url") {
      this.parts.push(chunk);
    }
    this.count += 1;
    this.timer ??= setTimeout(() => this.render(), this.pause);
  }

  part(chunk) {
    const id = `tool${chunk.toolCallId}`;
    if (!this.open[id]) {
      this.open[id] = { type: `tool-${chunk.toolName}`, toolCallId: chunk.toolCallId, state: "input-available", input: {} };
      this.parts.push(this.open[id]);
    }
    return this.open[id];
  }

  async render() {
    const began = performance.now();
    const { count } = this;
    const answer = await call("POST", renderUrl, { name: "assistant", data: { parts: this.parts } }).catch(() => null);
    if (answer && !this.isLeft) {
      this.show(answer.html);
      // A long answer takes longer: it is rendered less often.
      this.pause = Math.max(PACE, 4 * (performance.now() - began));
    }
    this.timer = count < this.count && !this.isLeft ? setTimeout(() => this.render(), this.pause) : undefined;
  }
}
