// Check the messages of a page as this version of the package does; say the body that it would post.

import { readFileSync } from "node:fs";

const { DefaultChatTransport, convertToModelMessages, validateUIMessages } = await import(`ai${process.argv[2]}`);
const { messages, trigger, messageId } = JSON.parse(readFileSync(0, "utf-8"));
await validateUIMessages({ messages });
await convertToModelMessages(messages);
let body;
const transport = new DefaultChatTransport({
  fetch: async (url, init) => {
    body = init.body;
    return new Response(new ReadableStream({ start: (controller) => controller.close() }));
  },
});
await transport.sendMessages({ chatId: "page", messages, trigger, messageId, abortSignal: undefined });
console.log(body);
