// The demo page: puts the connection and the parts of the page together.

import { Connection } from "/page/connection.js";
import { Feed } from "/page/feed.js";
import { Latency } from "/page/latency.js";
import { Notices } from "/page/notices.js";
import { Publisher } from "/page/publish.js";
import { Roster } from "/page/roster.js";

const firstChannels = ["news", "deploys", "incidents"];
const cutMs = 5000;

const byId = (id) => document.getElementById(id);

const feed = new Feed(byId("feed"), byId("filters"), byId("empty"));
const latency = new Latency(byId);
const notices = new Notices(byId("notices"));
const roster = new Roster(byId("roster"), byId("channel-names"), leave);
const publisher = new Publisher(byId, published, (channel) => roster.has(channel));
const connection = new Connection(`ws://${location.host}/connection/websocket`, {
  state: showState,
  subscribed: (channel) => connection.presence(channel, (reply) => roster.fill(channel, reply)),
  publication: received,
  join: (channel, info) => roster.join(channel, info),
  leave: (channel, info) => roster.leave(channel, info),
  refused: (channel, code, message) => refused(channel, code, message),
  resumed: (awayMs, outcomes) => resumed(awayMs, outcomes),
});

// Alerts

function received(channel, publication, how) {
  const alert = feed.add(channel, publication, how);
  const sent = publisher.sentAt(channel, publication.offset);
  if (sent !== undefined) measured(alert, sent);
}

// The answer to a request may come before the alert or after it.
function published(channel, offset, sentAt) {
  const alert = feed.find(channel, offset);
  if (!alert) return;
  publisher.forget(channel, offset);
  measured(alert, sentAt);
}

function measured(alert, sentAt) {
  if (alert.recovered) return;
  const latencyMs = alert.arrived - sentAt;
  latency.add(latencyMs);
  feed.markOwn(alert, latencyMs);
}

// Channels

function join(channel) {
  feed.open(channel);
  roster.open(channel);
  connection.subscribe(channel);
}

function leave(channel) {
  connection.unsubscribe(channel);
  feed.close(channel);
  roster.close(channel);
}

function refused(channel, code, message) {
  feed.close(channel);
  roster.close(channel);
  notices.problem(`No subscription to ${channel}: ${message} (${code}).`);
}

// Coming back

function resumed(awayMs, outcomes) {
  const missed = outcomes.filter((outcome) => outcome.missed).map((outcome) => outcome.channel);
  if (missed.length) {
    feed.gap(missed);
    notices.gap(missed, awayMs);
  }
  notices.back(awayMs, outcomes.filter((outcome) => outcome.recovered));
}

// Connection state

let countdown;

function showState(state) {
  clearInterval(countdown);
  byId("state").dataset.state = state.name;
  byId("cut").disabled = state.name !== "connected";
  byId("retry").hidden = !["waiting", "closed"].includes(state.name);
  if (state.name === "waiting") countdown = setInterval(() => showRest(state), 250);
  if (state.name === "connected") roster.self = state.client;
  else roster.away();
  byId("state-text").textContent = describe(state);
  showRest(state);
}

function describe({ name, reason, code }) {
  if (name === "waiting") return `Offline: ${reason}`;
  if (name === "closed") return `Closed: ${reason} (${code})`;
  return name === "connected" ? "Connected" : "Connecting";
}

// Apart from the state, so that a screen reader does not read out every second.
function showRest({ until }) {
  byId("state-more").textContent = until ? `${Math.max(0, Math.ceil((until - performance.now()) / 1000))} s` : "";
}

// What the person at the page does

function on(id, event, then) {
  byId(id).addEventListener(event, (happening) => {
    happening.preventDefault();
    then();
  });
}

function takeText(id) {
  const text = byId(id).value.trim();
  byId(id).value = "";
  return text;
}

// A token may come in the fragment, which no server sees; it does not stay in the address.
function tokenOfFragment() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
  if (token) history.replaceState(null, "", location.pathname);
  return token;
}

on("cut", "click", () => connection.cut(cutMs));
on("older", "click", () => byId("feed").classList.add("whole"));
on("retry", "click", () => connection.reopen());
on("add", "submit", () => join(takeText("add-channel")));
on("identity", "submit", () => connection.open(takeText("token")));
window.addEventListener("online", () => connection.retry());

firstChannels.forEach(join);
connection.open(tokenOfFragment());
