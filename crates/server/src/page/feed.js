// The list of alerts, newest first, and the buttons that choose a channel.

import { channelHue, clock, element, milliseconds } from "/page/dom.js";

// Older ones leave the page: it stays quick whatever comes in.
const alertsMax = 200;
const lineMax = 80;

export class Feed {
  #list;
  #filters;
  #empty;
  #alerts = [];
  #waiting = [];
  #channels = new Map();
  #shown = "";

  constructor(list, filters, empty) {
    this.#list = list;
    this.#filters = filters;
    this.#empty = empty;
    this.#filters.append(this.#filterButton("", "All"));
  }

  open(channel) {
    if (this.#channels.has(channel)) return;
    const button = this.#filterButton(channel, channel);
    this.#channels.set(channel, button);
    this.#filters.append(button);
  }

  close(channel) {
    this.#channels.get(channel)?.remove();
    this.#channels.delete(channel);
    if (this.#shown === channel) this.#show("");
  }

  add(channel, { data, offset = 0, info }, { arrived, recovered }) {
    const alert = { channel, offset, arrived, recovered, data, from: info?.user, level: levelOf(data), at: new Date() };
    this.#count(channel);
    this.#put(alert);
    return alert;
  }

  find(channel, offset) {
    const same = (alert) => alert.channel === channel && alert.offset === offset;
    return offset ? this.#waiting.find(same) ?? this.#alerts.find(same) : undefined;
  }

  markOwn(alert, latencyMs) {
    alert.latencyMs = latencyMs;
    alert.item?.querySelector(".facts").append(latencyBadge(latencyMs));
  }

  // Where alerts are missing the list says so.
  gap(channels) {
    this.#put({ gap: channels, channel: channels.length === 1 ? channels[0] : "", at: new Date() });
  }

  // Alerts are drawn once per frame, however many arrive in between.
  #put(alert) {
    if (!this.#waiting.length) scheduleDraw(() => this.#draw());
    this.#waiting.push(alert);
    if (this.#waiting.length > alertsMax) this.#waiting.shift();
  }

  #draw() {
    const fresh = this.#waiting.splice(0).reverse();
    for (const alert of fresh) alert.item = alert.gap ? gapItem(alert) : alertItem(alert);
    for (const alert of fresh) alert.item.hidden = !this.#isShown(alert);
    this.#list.prepend(...fresh.map((alert) => alert.item));
    this.#alerts.unshift(...fresh);
    for (const old of this.#alerts.splice(alertsMax)) old.item.remove();
    this.#empty.hidden = this.#alerts.some((alert) => this.#isShown(alert));
  }

  #count(channel) {
    const badge = this.#channels.get(channel)?.querySelector(".count");
    if (badge) badge.textContent = Number(badge.textContent) + 1;
  }

  #show(channel) {
    this.#shown = channel;
    for (const button of this.#filters.children) button.ariaPressed = String(button.value === channel);
    for (const alert of this.#alerts) alert.item.hidden = !this.#isShown(alert);
    this.#empty.hidden = this.#alerts.some((alert) => this.#isShown(alert));
  }

  #isShown(alert) {
    return !this.#shown || alert.channel === this.#shown || Boolean(alert.gap?.includes(this.#shown));
  }

  #filterButton(channel, label) {
    const button = element("button", "filter", label);
    button.type = "button";
    button.value = channel;
    button.ariaPressed = String(channel === this.#shown);
    button.addEventListener("click", () => this.#show(channel));
    if (!channel) return button;
    button.style.setProperty("--hue", channelHue(channel));
    button.append(element("span", "count", "0"));
    return button;
  }
}

function alertItem(alert) {
  const item = element("li", "alert");
  item.dataset.channel = alert.channel;
  item.dataset.level = alert.level;
  item.style.setProperty("--hue", channelHue(alert.channel));
  item.append(body(alert.data), facts(alert));
  return item;
}

function gapItem({ gap, at }) {
  const item = element("li", "gap-line");
  item.dataset.channels = gap.join(" ");
  item.append(element("span", "", `Alerts may be missing here: ${gap.join(", ")}`), element("time", "", clock(at)));
  return item;
}

function body(data) {
  const text = typeof data === "string" ? data : data?.text;
  if (typeof text === "string") return element("p", "text", text);
  // Long data scrolls, with the keyboard too.
  return Object.assign(element("pre", "json", json(data)), { tabIndex: 0 });
}

// Short data stays on one line.
function json(data) {
  const line = JSON.stringify(data);
  return line.length <= lineMax ? line : JSON.stringify(data, null, 2);
}

function facts({ level, channel, offset, recovered, from, at, latencyMs }) {
  const line = element("p", "facts");
  line.append(element("span", "channel-name", channel));
  if (level !== "info") line.append(element("span", "badge level", level));
  if (offset) line.append(element("span", "offset", `#${offset}`));
  if (from) line.append(element("span", "from", `from ${from}`));
  line.append(element("time", "", clock(at)));
  if (recovered) line.append(element("span", "badge recovered", "recovered"));
  if (latencyMs !== undefined) line.append(latencyBadge(latencyMs));
  return line;
}

function latencyBadge(latencyMs) {
  return element("span", "badge own", milliseconds(latencyMs));
}

function levelOf(data) {
  return ["warning", "critical"].includes(data?.level) ? data.level : "info";
}

// A hidden page gets no frames.
function scheduleDraw(draw) {
  if (document.hidden) setTimeout(draw, 250);
  else requestAnimationFrame(draw);
}
