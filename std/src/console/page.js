// The console's page: asks for figures each second, and for graph and letters each third.
import { SAMPLES, at, chart, clock, handlerKey, keep, labelHandlers, linear, logarithmic, make, rate, say, seconds, showTopology, span, sum,
  whole } from "./picture.js";

const TAIL = "nervebus.console"; // the name of those who only look on
const EDGES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100]; // seconds: where buckets of durations end
const KEPT = 200; // live events

async function ask(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const body = await answer.json();
  if (!answer.ok && body.error) throw new Error(body.error);
  return body;
}

// ---- figures -------------------------------------------------------------------------------------------------------

const samples = []; // of each look: when, rates, percentiles
let last = null, looks = [];

const listeners = stats => stats.subscriptions.filter(one => one.name !== TAIL);

function rates(stats) {
  const now = seconds(stats.uptime), before = last && seconds(last.uptime);
  const handlers = new Map();
  if (last === null || now <= before) return { emitted: 0, handled: 0, failed: 0, handlers, fresh: false };
  const since = new Map(last.subscriptions.map(one => [one.id, one])), time = now - before;
  let handled = 0, failed = 0;
  for (const one of listeners(stats)) {
    const was = since.get(one.id) || { handled: 0, failed: 0, timed_out: 0 };
    const well = one.handled - was.handled, ill = one.failed + one.timed_out - was.failed - was.timed_out;
    handlers.set(one.id, (well + ill) / time);
    handled += well / time;
    failed += ill / time;
  }
  return { emitted: Math.max(0, stats.emitted - last.emitted) / time, handled, failed, handlers, fresh: true };
}

// The duration that a share of the calls between two looks did not exceed, estimated inside its bucket.
function percentile(counts, share) {
  const all = sum(counts, count => count);
  if (all === 0) return null;
  let rest = all * share;
  for (const [index, count] of counts.entries()) {
    if (rest <= count && count > 0) return EDGES[index] * 10 ** (rest / count - 1);
    rest -= count;
  }
  return EDGES[EDGES.length - 1];
}

function timed(stats) {
  const counts = EDGES.map(() => 0);
  for (const one of listeners(stats)) one.durations.counts.forEach((count, index) => { counts[index] += count; });
  return counts;
}

function showFigures(stats, now) {
  const letters = stats.dead_letters, all = listeners(stats);
  say(at("emitted"), rate(now.emitted) + "/s");
  say(at("emitted-total"), whole(stats.emitted) + " in all");
  say(at("handled"), rate(now.handled) + "/s");
  say(at("handled-total"), whole(sum(all, one => one.handled)) + " in all");
  const failed = sum(all, one => one.failed + one.timed_out);
  say(at("failed"), rate(now.failed) + "/s");
  say(at("failed-total"), whole(failed) + " in all");
  at("failed").classList.toggle("alarm", now.failed > 0);
  say(at("pending"), whole(stats.pending));
  say(at("dead"), whole(letters.len));
  say(at("dead-total"), `of ${whole(letters.capacity)} kept; ${whole(letters.total)} in all`);
  at("dead").classList.toggle("alarm", letters.len > 0);
  sign("ledger", stats.ledger.balanced, "ledger balanced", "ledger NOT balanced");
  say(at("uptime"), "up " + span(Math.floor(seconds(stats.uptime))));
}

function sign(id, good, well, ill) {
  say(at(id), (good ? "✓ " : "✗ ") + (good ? well : ill));
  at(id).classList.toggle("good", good);
  at(id).classList.toggle("bad", !good);
}

function showHealth(health) {
  sign("ready", health.status === "ready", "ready", "not ready");
  at("reasons").hidden = health.reasons.length === 0;
  keep(at("reasons"), health.reasons, one => one.message, one => make("li", {}, one.message));
}

function showLanes(stats, before) {
  at("no-lanes").hidden = stats.lanes.length > 0;
  const gaugeOf = lane => ({ className: "gauge", role: "meter", "aria-valuemin": 0, "aria-label": `Events waiting on lane ${lane.name}` });
  keep(at("lanes"), stats.lanes, lane => lane.name, lane => make("li", {},
    make("div", { className: "row" }, make("b", {}, lane.name), make("span")),
    make("div", gaugeOf(lane), make("span")),
    make("div", { className: "row quiet" }, make("span"), make("span", { className: "bad" }))), (node, lane) => {
    const [head, gauge, foot] = node.children, full = lane.len / lane.capacity;
    const was = before && before.lanes.find(one => one.name === lane.name);
    const time = before && seconds(stats.uptime) - seconds(before.uptime);
    const speed = was && time > 0 ? (lane.handled + lane.failed - was.handled - was.failed) / time : 0;
    say(head.children[1], `${whole(lane.len)} of ${whole(lane.capacity)} waiting`);
    gauge.className = "gauge" + (full >= 1 ? " full" : full >= .7 ? " high" : "");
    gauge.firstChild.style.width = `${lane.len ? Math.max(1, Math.min(100, full * 100)) : 0}%`;
    gauge.setAttribute("aria-valuemax", lane.capacity);
    gauge.setAttribute("aria-valuenow", lane.len);
    say(foot.children[0], `${rate(speed)}/s on ${lane.workers === 1 ? "one worker" : lane.workers + " workers"}`);
    say(foot.children[1], [
      !lane.healthy && "unserved", lane.shed && lane.shed.shedding && "shedding load", lane.stuck && `${lane.stuck} stuck`,
      lane.dropped && `${whole(lane.dropped)} dropped`, lane.retrying && `${whole(lane.retrying)} retrying`,
    ].filter(Boolean).join(", "));
  });
}

function showHandlers(stats, now) {
  const all = listeners(stats);
  at("no-handlers").hidden = all.length > 0;
  keep(at("handlers"), all.slice(0, 200), one => one.id, one => make("tr", {},
    make("td", {}, make("span", {}, one.name), make("small", {}, `${one.pattern} on ${one.lane}`)),
    ...["", "", "", "", ""].map(() => make("td"))), (node, one) => {
    const failed = one.failed + one.timed_out;
    const speed = rate(now.handlers.get(one.id) || 0), [p50, p99] = [one.p50, one.p99].map(took => span(seconds(took)));
    const texts = [speed, whole(one.handled), whole(failed), p50, p99];
    texts.forEach((text, index) => say(node.children[index + 1], text));
    node.children[3].classList.toggle("bad", failed > 0);
  });
}

function showRates(stats, now) {
  const speeds = new Map();
  for (const one of listeners(stats)) {
    const key = handlerKey(one);
    speeds.set(key, (speeds.get(key) || 0) + (now.handlers.get(one.id) || 0));
  }
  labelHandlers(key => `${rate(speeds.get(key) || 0)}/s`);
}

const paintThroughput = chart("throughput", "Events a second over the last two minutes", samples,
  [["emitted", "first", "emitted"], ["handled", "second", "handled"], ["failed", "third", "failed"]], linear, rate);
const paintLatency = chart("latency", "How long handlers took over the last two minutes", samples,
  [["p50", "second", "p50"], ["p99", "first", "p99"]], logarithmic, span);

// ---- dead letters --------------------------------------------------------------------------------------------------

let shownLetters = [];

async function showLetters() {
  const topic = at("letters-topic").value.trim();
  const { letters, kept } = await ask(`dead-letters?limit=100${topic ? `&topic=${encodeURIComponent(topic)}` : ""}`);
  shownLetters = letters.map(letter => letter.id);
  say(at("letters-size"), kept ? (letters.length === kept ? whole(kept) : `${whole(letters.length)} of ${whole(kept)}`) : "");
  at("no-letters").hidden = letters.length > 0;
  say(at("no-letters"), topic && kept ? "No dead letter is of such a topic." : "No dead letters. Events that a handler fails come here, for another try.");
  at("retry-all").disabled = at("purge-all").disabled = letters.length === 0;
  keep(at("letters"), letters, letter => letter.id, buildLetter, (node, letter) => {
    const times = letter.attempts === 1 ? "once" : `${letter.attempts} times`;
    say(node.querySelector(".error"), letter.error);
    say(node.querySelector(".about"), `${letter.reason} in ${letter.handler}, called ${times}, ${clock(letter.failed_at)}`);
  });
}

function buildLetter({ id, topic }) {
  const shown = make("pre", { hidden: true, tabIndex: 0 });
  const show = make("button", { type: "button", "aria-expanded": "false" }, "Show");
  show.addEventListener("click", async () => {
    shown.hidden = !shown.hidden;
    show.setAttribute("aria-expanded", String(!shown.hidden));
    say(show, shown.hidden ? "Show" : "Hide");
    if (!shown.hidden) {
      const letter = await ask(`dead-letters/${id}`).catch(error => ({ error: error.message }));
      say(shown, JSON.stringify(letter, null, 2));
    }
  });
  const retry = make("button", { type: "button", "aria-label": `Retry dead letter ${id}` }, "Retry");
  retry.addEventListener("click", () => change("POST", `dead-letters/${id}/retry`, null, () => `Letter ${id} went back to its handler.`));
  const purge = make("button", { type: "button", className: "danger", "aria-label": `Purge dead letter ${id}` }, "Purge");
  twice(purge, () => change("DELETE", `dead-letters/${id}`, null, () => `Letter ${id} is purged.`));
  return make("li", { className: "letter" },
    make("div", { className: "row" }, make("b", {}, topic), make("span", { className: "quiet" }, `#${id}`)),
    make("p", { className: "error" }), make("p", { className: "quiet about" }), make("div", { className: "buttons" }, show, retry, purge), shown);
}

// What cannot be undone is asked for twice.
function twice(button, act) {
  const text = button.textContent, label = button.getAttribute("aria-label");
  const calm = () => {
    delete button.dataset.sure;
    button.textContent = text;
    if (label) button.setAttribute("aria-label", label);
  };
  button.addEventListener("blur", calm);
  button.addEventListener("click", () => {
    if (button.dataset.sure) {
      calm();
      act();
      return;
    }
    button.dataset.sure = "asked";
    button.textContent = "Really purge?";
    if (label) button.setAttribute("aria-label", `Really: ${label}`);
  });
}

async function change(method, path, body, done) {
  const said = at("letters-said"), token = at("token").value;
  said.classList.remove("bad");
  if (!token) {
    said.classList.add("bad");
    say(said, "Type the console’s token first.");
    at("token").focus();
    return;
  }
  try {
    const headers = { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }) };
    say(said, done(await ask(path, { method, headers, body: body && JSON.stringify(body) })));
  } catch (error) {
    said.classList.add("bad");
    say(said, error.message);
  }
  showLetters().catch(() => {});
}

at("retry-all").addEventListener("click", () => change("POST", "dead-letters/retry", { ids: shownLetters },
  ({ sent, skipped }) => `${sent.length} sent back${skipped.length ? `, ${skipped.length} not: ${skipped[0].why}` : ""}.`));
twice(at("purge-all"), () => change("POST", "dead-letters/purge", { ids: shownLetters }, ({ purged }) => `${purged} purged.`));
at("letters-form").addEventListener("submit", event => event.preventDefault());
at("letters-topic").addEventListener("input", () => {
  showLetters().then(() => say(at("letters-said"), ""), error => say(at("letters-said"), error.message));
});

// ---- live events ---------------------------------------------------------------------------------------------------

let source = null, followed = "", events = [], dropped = 0, number = 0, painted = 0, painting = false;
const isPaused = () => at("pause").getAttribute("aria-pressed") === "true";

function follow() {
  if (source) source.close();
  const pattern = at("pattern").value.trim() || "*", mine = new EventSource(`events?pattern=${encodeURIComponent(pattern)}`);
  source = mine;
  followed = pattern;
  events = [];
  dropped = 0;
  at("pause").disabled = at("stop").disabled = false;
  at("pause").setAttribute("aria-pressed", "false");
  tailSays("connecting…");
  mine.onopen = () => { tailSays(`following ${pattern}`); paintSoon(); };
  mine.onmessage = message => {
    events.unshift({ number: number += 1, ...JSON.parse(message.data) });
    if (events.length > KEPT) events.length = KEPT;
    paintSoon();
  };
  mine.addEventListener("dropped", message => {
    dropped += JSON.parse(message.data).events;
    paintSoon();
  });
  mine.addEventListener("end", () => halt("The stream has ended: the bus or its console is shutting down."));
  mine.onerror = async () => {
    if (mine !== source || mine.readyState !== EventSource.CLOSED) return;
    const stopping = new AbortController();
    const why = await fetch(`events?pattern=${encodeURIComponent(pattern)}`, { signal: stopping.signal })
      .then(async answer => answer.ok ? "The stream broke off; follow again." : (await answer.json()).error)
      .catch(() => "The console does not answer.");
    stopping.abort();
    if (mine === source) halt(why);
  };
  paintEvents();
}

function tailSays(state, trouble = "") {
  say(at("tail-state"), state);
  say(at("tail-said"), trouble);
  at("tail-said").classList.toggle("bad", trouble !== "");
}

function halt(why) {
  if (source) source.close();
  source = null;
  at("pause").disabled = at("stop").disabled = true;
  tailSays("", why);
}

// At most one painting a frame, however many events come.
function paintSoon() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => { painting = false; paintEvents(); });
}

function paintEvents() {
  if (source) say(at("tail-said"), dropped ? `${whole(dropped)} events came too fast to be shown.` : "");
  at("no-events").hidden = events.length > 0;
  say(at("no-events"), source ? "No such event yet." : "Nothing is followed. Give a pattern, such as order.*, and press Follow.");
  if (source && isPaused()) {
    say(at("tail-state"), `paused, ${whole(number - painted)} more`);
    return;
  }
  painted = number;
  keep(at("events"), events, event => event.number, event => {
    const whole = make("pre", { tabIndex: 0 });
    const parts = [make("span", { className: "quiet" }, clock(event.timestamp)), make("b", {}, event.event_type)];
    const body = make("span", { className: "body mono" }, JSON.stringify(event.payload));
    const entry = make("details", {}, make("summary", {}, ...parts, body), whole);
    entry.addEventListener("toggle", () => { const { number: _, ...rest } = event; say(whole, JSON.stringify(rest, null, 2)); });
    return make("li", {}, entry);
  });
}

at("tail-form").addEventListener("submit", event => { event.preventDefault(); follow(); });
at("stop").addEventListener("click", () => { halt(""); paintEvents(); });
at("pause").addEventListener("click", () => {
  at("pause").setAttribute("aria-pressed", String(!isPaused()));
  say(at("tail-state"), `following ${followed}`);
  paintEvents();
});

// ---- the page ------------------------------------------------------------------------------------------------------

at("theme").addEventListener("click", () => {
  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = (root.dataset.theme || (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
});

function showStats(stats) {
  const now = rates(stats), counts = timed(stats);
  looks.push(counts);
  if (looks.length > 6) looks.shift();
  const before = looks[0], fresh = counts.map((count, index) => Math.max(0, count - before[index]));
  if (now.fresh) {
    samples.push({ ...now, p50: percentile(fresh, .5), p99: percentile(fresh, .99) });
    if (samples.length > SAMPLES) samples.shift();
  }
  showFigures(stats, now);
  showLanes(stats, last);
  showHandlers(stats, now);
  showRates(stats, now);
  last = stats;
  paintThroughput();
  paintLatency();
}

let round = 0;
async function look() {
  try {
    if (!document.hidden || round === 0) {
      const [stats, health] = await Promise.all([ask("stats"), ask("health")]);
      if (round % 3 === 0) await Promise.all([ask("topology").then(showTopology), showLetters().catch(() => {})]);
      showStats(stats);
      showHealth(health);
      round += 1;
    }
  } catch (error) {
    last = null;
    looks = [];
    sign("ready", false, "", error instanceof TypeError ? "the console does not answer" : error.message);
  }
  setTimeout(look, 1000);
}

look();
