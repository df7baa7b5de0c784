// The publish form: sends over HTTP, as any backend does, and remembers when.

const burstSize = 20;
const pendingMax = 1000;

export class Publisher {
  #byId;
  #published;
  #isHeard;
  #sent = new Map();

  // `published(channel, offset, sentAt)` is called once the node has answered;
  // `isHeard(channel)` tells whether the page would show what is published there.
  constructor(byId, published, isHeard) {
    this.#byId = byId;
    this.#published = published;
    this.#isHeard = isHeard;
    byId("publish-channel").value = "news";
    byId("publish").addEventListener("submit", (event) => this.#submit(event));
    byId("publish").addEventListener("input", () => this.#showCurl());
    byId("burst").addEventListener("click", () => this.#burst());
    byId("copy").addEventListener("click", () => this.#copy());
    this.#showCurl();
  }

  // When the alert with this offset was sent, if this page did it; asked once.
  sentAt(channel, offset) {
    const key = keyOf(channel, offset);
    const sentAt = this.#sent.get(key);
    this.#sent.delete(key);
    return sentAt;
  }

  forget(channel, offset) {
    this.#sent.delete(keyOf(channel, offset));
  }

  async #submit(event) {
    event.preventDefault();
    if (await this.#publish(this.#channel, this.#alert())) this.#done("Published");
    this.#byId("publish-text").select();
  }

  async #burst() {
    if (!this.#byId("publish").reportValidity()) return;
    const { text, ...rest } = this.#alert();
    for (let n = 1; n <= burstSize; n++) {
      if (!(await this.#publish(this.#channel, { text: `${text} (${n}/${burstSize})`, ...rest }))) return;
    }
    this.#done(`Published ${burstSize}`);
  }

  async #publish(channel, alert) {
    const sentAt = performance.now();
    try {
      const { offset } = await post(channel, alert);
      this.#remember(channel, offset, sentAt);
      return true;
    } catch (error) {
      this.#say(`Not published: ${error.message}`, true);
      return false;
    }
  }

  #remember(channel, offset, sentAt) {
    if (!offset) return;
    if (this.#sent.size >= pendingMax) this.#sent.clear();
    this.#sent.set(keyOf(channel, offset), sentAt);
    this.#published(channel, offset, sentAt);
  }

  get #channel() {
    return this.#byId("publish-channel").value.trim();
  }

  #alert() {
    const text = this.#byId("publish-text").value;
    const level = this.#byId("publish").elements.level.value;
    return level === "info" ? { text } : { text, level };
  }

  #showCurl() {
    const data = JSON.stringify(this.#alert()).replaceAll("'", "'\\''");
    this.#byId("curl").textContent = `curl -d '${data}' ${location.origin}${path(this.#channel)}`;
  }

  async #copy() {
    const button = this.#byId("copy");
    try {
      await navigator.clipboard.writeText(this.#byId("curl").textContent);
      button.textContent = "Copied";
    } catch {
      // Some browsers keep the clipboard closed: then the line is selected, ready to be copied by hand.
      getSelection().selectAllChildren(this.#byId("curl"));
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }

  #done(what) {
    const channel = this.#channel;
    this.#say(this.#isHeard(channel) ? `${what}.` : `${what}. This page is not subscribed to ${channel}.`);
  }

  #say(text, failed = false) {
    const result = this.#byId("publish-result");
    result.textContent = text;
    result.classList.toggle("failed", failed);
  }
}

async function post(channel, alert) {
  const response = await fetch(path(channel), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(alert),
  });
  const { result, error } = await response.json();
  if (error) throw new Error(error.message);
  return result;
}

// Safe in a shell too, where encodeURIComponent leaves a quote alone.
function path(channel) {
  const escaped = encodeURIComponent(channel).replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);
  return `/api/publish/${escaped}`;
}

function keyOf(channel, offset) {
  return `${offset} ${channel}`;
}
