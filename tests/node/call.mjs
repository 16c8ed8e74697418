// Makes gRPC calls: the address and a FileDescriptorSet as arguments, calls as JSON on stdin, a JSON list of
// { answer } or { code, details } on stdout. Bytes are base64.
import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import { service as Health } from "grpc-health-check";

const [address, descriptors] = process.argv.slice(2);
const options = { keepCase: true, longs: Number, enums: String, bytes: String, oneofs: true };
const definitions = loadFileDescriptorSetFromBuffer(readFileSync(descriptors), options);
const services = { ...definitions, "grpc.health.v1.Health": Health };

function call({ service, method, request, milliseconds }) {
  const Client = grpc.makeGenericClientConstructor(services[service], service);
  const client = new Client(address, grpc.credentials.createInsecure());
  const deadline = Date.now() + (milliseconds ?? 30_000);
  return new Promise((resolve) => {
    client[method](request, { deadline }, (error, answer) => {
      client.close();
      resolve(error ? { code: grpc.status[error.code], details: error.details } : { answer });
    });
  });
}

const calls = JSON.parse(readFileSync(0));
console.log(JSON.stringify(await Promise.all(calls.map(call))));
