// A broadcast server on uWebSockets: what one client sends, every client of that path gets.
//
// Usage: node uwebsockets.js PORT [IDLE_TIMEOUT_SECONDS]
"use strict";

const uws = require("uwebsockets");

// As much as a Fanfare node lets wait for a session (limits.outbox_bytes_max). Who is over it is closed, so that a loss
// is seen; the default would drop the message and say nothing.
const BACKPRESSURE_BYTES_MAX = 1024 * 1024;

const port = Number(process.argv[2]);
// A client is pinged some seconds before. 120 is the default.
const idleTimeoutSeconds = Number(process.argv[3] ?? 120);
const app = uws.App();

app.ws("/*", {
  compression: uws.DISABLED,
  idleTimeout: idleTimeoutSeconds,
  maxPayloadLength: 64 * 1024,
  maxBackpressure: BACKPRESSURE_BYTES_MAX,
  closeOnBackpressureLimit: true,
  upgrade(response, request, context) {
    response.upgrade(
      { topic: request.getUrl() },
      request.getHeader("sec-websocket-key"),
      request.getHeader("sec-websocket-protocol"),
      request.getHeader("sec-websocket-extensions"),
      context,
    );
  },
  open(socket) {
    socket.subscribe(socket.getUserData().topic);
  },
  message(socket, message, isBinary) {
    app.publish(socket.getUserData().topic, message, isBinary);
  },
});

app.listen("127.0.0.1", port, (listening) => {
  if (!listening) {
    console.error(`port ${port} cannot be listened on`);
    process.exit(1);
  }
});
