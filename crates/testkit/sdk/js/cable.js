// A TCP path to the node that can be cut, as a tunnel or a train does it: no close frame, and nobody gets through.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Cable {
  static async lay(target) {
    const cable = new Cable();
    const [host, port] = target.split(":");
    cable.up = true;
    cable.sockets = new Set();
    cable.server = createServer((near) => cable.#carry(near, connect(Number(port), host)));
    cable.server.listen(0, "127.0.0.1");
    await once(cable.server, "listening");
    cable.address = `127.0.0.1:${cable.server.address().port}`;
    return cable;
  }

  cut() {
    this.up = false;
    for (const socket of this.sockets) socket.destroy();
  }

  mend() {
    this.up = true;
  }

  async remove() {
    this.cut();
    this.server.close();
    await once(this.server, "close");
  }

  #carry(near, far) {
    if (!this.up) return void [near.destroy(), far.destroy()];
    near.pipe(far).pipe(near);
    for (const [socket, other] of [[near, far], [far, near]]) {
      this.sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.sockets.delete(socket) && other.destroy());
    }
  }
}
