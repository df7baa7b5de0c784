// The channels of this page, and who is in each of them.

import { channelHue, element } from "/page/dom.js";

const namesMax = 12;

export class Roster {
  self = "";
  #list;
  #names;
  #leave;
  #channels = new Map();

  // `leave(channel)` is called when somebody presses the button that leaves it.
  constructor(list, names, leave) {
    this.#list = list;
    this.#names = names;
    this.#leave = leave;
  }

  open(channel) {
    if (this.#channels.has(channel)) return;
    const { row, people } = this.#row(channel);
    this.#channels.set(channel, { row, people, present: new Map() });
    this.#list.append(row);
    this.#suggest();
  }

  close(channel) {
    this.#channels.get(channel)?.row.remove();
    this.#channels.delete(channel);
    this.#suggest();
  }

  has(channel) {
    return this.#channels.has(channel);
  }

  // The answer to a presence request.
  fill(channel, { presence, error }) {
    const entry = this.#channels.get(channel);
    if (!entry) return;
    if (error) return entry.people.replaceChildren(element("li", "none", "not told here"));
    entry.present = new Map(Object.values(presence.presence).map((info) => [info.client, info.user ?? ""]));
    this.#draw(entry);
  }

  join(channel, { client, user = "" }) {
    this.#change(channel, (present) => present.set(client, user));
  }

  leave(channel, { client }) {
    this.#change(channel, (present) => present.delete(client));
  }

  // Offline nobody can be seen.
  away() {
    for (const entry of this.#channels.values()) {
      entry.present.clear();
      entry.people.replaceChildren(element("li", "none", "not known while offline"));
    }
  }

  #change(channel, change) {
    const entry = this.#channels.get(channel);
    if (!entry) return;
    change(entry.present);
    this.#draw(entry);
  }

  #draw({ people, present }) {
    const shown = [...present].sort(([a], [b]) => (b === this.self) - (a === this.self)).slice(0, namesMax);
    const items = shown.map(([client, user]) => this.#person(client, user));
    const more = present.size - shown.length;
    people.replaceChildren(...items, ...(more > 0 ? [element("li", "none", `and ${more} more`)] : []));
  }

  #person(client, user) {
    const name = user || `guest ${client.slice(0, 4)}`;
    const item = element("li", "person", client === this.self ? `${name} (you)` : name);
    item.classList.toggle("you", client === this.self);
    item.title = client;
    return item;
  }

  #row(channel) {
    const row = element("li", "channel");
    row.dataset.channel = channel;
    row.style.setProperty("--hue", channelHue(channel));
    const people = element("ul", "present");
    people.ariaLabel = `In ${channel}`;
    row.append(element("span", "channel-name", channel), people, this.#leaveButton(channel));
    return { row, people };
  }

  #leaveButton(channel) {
    const button = element("button", "dismiss", "×");
    button.type = "button";
    button.ariaLabel = `Unsubscribe from ${channel}`;
    button.addEventListener("click", () => this.#leave(channel));
    return button;
  }

  #suggest() {
    const options = [...this.#channels.keys()].map((channel) => Object.assign(element("option"), { value: channel }));
    this.#names.replaceChildren(...options);
  }
}
