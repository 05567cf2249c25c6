// grpc-js as a client that finds its servers through xDS; the lines it reads and writes are those of ../client.py.
'use strict';
const grpc = require('@grpc/grpc-js');
const readline = require('readline');

require('@grpc/grpc-js-xds').register();

const [target, method] = process.argv.slice(2);
const raw = (message) => message;
const client = new grpc.Client(target, grpc.credentials.createInsecure());

function call({ message, headers }) {
  const metadata = new grpc.Metadata({ waitForReady: true });
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const options = { deadline: Date.now() + 5000 };
  return new Promise((done) => {
    client.makeUnaryRequest(method, raw, raw, Buffer.from(message), metadata, options, (error, reply) => {
      done(error ? { error: `${grpc.status[error.code]}: ${error.details}` } : { ok: reply.toString('latin1') });
    });
  });
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await call(JSON.parse(line))));
  }
  client.close();
})();
