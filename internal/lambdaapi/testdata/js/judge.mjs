// Calls a function with the SDK for JavaScript, unmodified, and prints what came of it.
import { InvokeCommand, InvokeWithResponseStreamCommand, LambdaClient, ListFunctionsCommand } from "@aws-sdk/client-lambda";

const client = new LambdaClient({ region: "eu-west-1", endpoint: process.env.AWS_ENDPOINT_URL, maxAttempts: 3 });
const name = process.argv[2];
const text = (bytes) => new TextDecoder().decode(bytes);

const answer = await client.send(new InvokeCommand({ FunctionName: name, Payload: JSON.stringify({ n: 1, text: "ü" }), LogType: "Tail" }));
console.log("answer", text(answer.Payload), answer.StatusCode, Buffer.from(answer.LogResult, "base64").toString().split("\n")[1]);

const event = await client.send(new InvokeCommand({ FunctionName: name, InvocationType: "Event", Payload: "{}" }));
console.log("event", event.StatusCode);

let streamed = "";
const stream = await client.send(new InvokeWithResponseStreamCommand({ FunctionName: name, Payload: '"streamed"' }));
for await (const e of stream.EventStream) {
  if (e.PayloadChunk) streamed += text(e.PayloadChunk.Payload);
}
console.log("stream", streamed);

const list = await client.send(new ListFunctionsCommand({}));
console.log("list", list.Functions.map((f) => f.FunctionName).join(" "));

try {
  await client.send(new InvokeCommand({ FunctionName: "nobody" }));
} catch (e) {
  console.log("error", e.name, e.$metadata.attempts);
}
