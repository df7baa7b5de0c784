// A broadcast server on ws: what one client sends, every client of that path gets.
//
// Usage: node ws.js PORT [PING_INTERVAL_SECONDS]
"use strict";

const { WebSocketServer, WebSocket } = require("ws");

// As much as a Fanfare node lets wait for a session (limits.outbox_bytes_max). ws has no limit of its own.
const BACKPRESSURE_BYTES_MAX = 1024 * 1024;

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 4096,
  clientTracking: false,
  maxPayload: 64 * 1024,
  perMessageDeflate: false,
});

const topics = new Map();

// As the manual of ws pings: one timer for all. By default there are none.
const pingIntervalSeconds = Number(process.argv[3] ?? 0);
if (pingIntervalSeconds > 0) setInterval(pingAll, pingIntervalSeconds * 1000);

function pingAll() {
  for (const topic of topics.values()) for (const subscriber of topic) subscriber.ping();
}

// As the manual of ws broadcasts.
server.on("connection", (socket, request) => {
  const topic = subscribers(request.url);
  topic.add(socket);
  socket.on("message", (message, isBinary) => {
    for (const subscriber of topic) send(subscriber, message, isBinary);
  });
  socket.on("close", () => topic.delete(socket));
  socket.on("error", () => socket.terminate());
});

function subscribers(path) {
  const known = topics.get(path);
  if (known) return known;
  const made = new Set();
  topics.set(path, made);
  return made;
}

function send(subscriber, message, isBinary) {
  if (subscriber.readyState !== WebSocket.OPEN) return;
  if (subscriber.bufferedAmount > BACKPRESSURE_BYTES_MAX) return subscriber.terminate();
  subscriber.send(message, { binary: isBinary });
}
