// What has to be said once: back after a cut, what was recovered, what could not be.

import { element, list, seconds } from "/page/dom.js";

const shownMs = 12_000;
const noticesMax = 4;

export class Notices {
  #place;

  constructor(place) {
    this.#place = place;
  }

  // Stays until it is put away: somebody has to have seen it.
  gap(channels, awayMs) {
    const text = `Missed alerts could not be recovered in ${list(channels)}.`;
    const why = `The node has no record of what was published there during the ${seconds(awayMs)} away.`;
    this.#add("gap", "alert", text, why);
  }

  back(awayMs, recovered) {
    if (!recovered.length) return;
    const full = recovered.filter((outcome) => outcome.count);
    const total = full.reduce((sum, outcome) => sum + outcome.count, 0);
    const parts = full.map(({ count, channel }) => `${count} in ${channel}`);
    const text = total ? `Recovered ${total} missed ${total === 1 ? "alert" : "alerts"}: ${list(parts)}.` : "Nothing was missed.";
    this.#leaveLater(this.#add("back", "status", `Back after ${seconds(awayMs)}.`, text));
  }

  problem(text) {
    this.#add("problem", "alert", text, "");
  }

  #add(kind, role, text, more) {
    const notice = element("div", `notice ${kind}`);
    notice.role = role;
    const words = element("p");
    words.append(element("strong", "", text), ` ${more}`);
    notice.append(words, dismissButton(notice));
    this.#place.prepend(notice);
    while (this.#place.children.length > noticesMax) this.#place.lastElementChild.remove();
    return notice;
  }

  #leaveLater(notice) {
    setTimeout(() => notice.remove(), shownMs);
  }
}

function dismissButton(notice) {
  const button = element("button", "dismiss", "×");
  button.type = "button";
  button.ariaLabel = "Dismiss";
  button.addEventListener("click", () => notice.remove());
  return button;
}
