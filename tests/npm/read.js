// What this version of the package makes of streams: a line with chunks and a stored message gives a line with the message.

import { createInterface } from "node:readline";

const { readUIMessageStream } = await import(`ai${process.argv[2]}`);
for await (const line of createInterface({ input: process.stdin })) {
  const { chunks, stored } = JSON.parse(line);
  const stream = ReadableStream.from(chunks);
  let message;
  for await (message of readUIMessageStream({ message: stored ?? undefined, stream, terminateOnError: true }));
  console.log(JSON.stringify(message));
}
