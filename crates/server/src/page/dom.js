// Small things that every part of the page writes with.

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// Channels get colours far apart, in the order in which the page meets them.
const firstHue = 212;
const goldenAngle = 137.5;
const hues = new Map();

export function channelHue(channel) {
  if (!hues.has(channel)) hues.set(channel, (firstHue + hues.size * goldenAngle) % 360);
  return hues.get(channel);
}

export function clock(date) {
  return date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function milliseconds(ms) {
  return `${ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

export function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}

export function list(words) {
  return new Intl.ListFormat("en").format(words);
}
