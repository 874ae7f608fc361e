// What the page draws with: nodes that keep their place, numbers as text, charts, and the graph.
// Everything that comes from the bus is put in as text, never as markup.

export const SAMPLES = 120; // in a chart, one a second

export const at = id => document.getElementById(id);
export const seconds = span => span ? span.secs + span.nanos / 1e9 : null;
export const sum = (list, of) => list.reduce((all, one) => all + of(one), 0);

export function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name in node) node[name] = value; else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Sets a text only where it changes, so that selections and readers are left alone.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Brings the children of a list into line with what they show; a child that stays is the same node as before.
export function keep(parent, items, key, build, update) {
  const old = new Map([...parent.children].map(node => [node.dataset.key, node]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let node = old.get(name);
    old.delete(name);
    if (!node) {
      node = build(item);
      node.dataset.key = name;
    }
    if (update) update(node, item);
    if (node === place) place = place.nextElementSibling; else parent.insertBefore(node, place);
  }
  old.forEach(node => node.remove());
}

export const whole = number => Math.round(number).toLocaleString("en");

export function rate(number) {
  if (number >= 999950) return (number / 1e6).toFixed(number < 1e7 ? 2 : 1) + "M";
  if (number >= 9999.5) return (number / 1e3).toFixed(1) + "k";
  return number >= 99.95 || Number.isInteger(number) ? whole(number) : number.toFixed(1);
}

export function span(time) {
  if (time === null || time === undefined) return "–";
  const unit = (number, name) => number.toFixed(number < 9.95 ? 1 : 0).replace(".0", "") + name;
  if (time < 9.995e-4) return unit(time * 1e6, " µs");
  if (time < .9995) return unit(time * 1e3, " ms");
  if (time < 120) return unit(time, " s");
  const minutes = Math.floor(time / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  return days ? `${days} d ${hours % 24} h` : hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}

export const clock = stamp => new Date(stamp * 1000).toLocaleTimeString("en-GB");

// ---- charts --------------------------------------------------------------------------------------------------------

// A chart of the last samples. `lines`: name, style and key of each; `scale`: value to share of the height, and its marks.
export function chart(id, label, samples, lines, scale, text) {
  const box = at(id), legend = make("div", { className: "legend" });
  const picture = draw("svg", { role: "img", "aria-label": label });
  const values = lines.map(([name, style]) => {
    const value = make("b", {}, "–");
    const mark = draw("svg", { "aria-hidden": "true" }, draw("path", { class: "line " + style, d: "M1 4H21" }));
    legend.append(make("span", {}, mark, name + " ", value));
    return value;
  });
  box.append(legend, picture);
  const paint = () => {
    const width = box.clientWidth, height = 180, left = 46, bottom = height - 20, top = 8;
    const { share, marks } = scale(samples, lines.map(line => line[2]));
    const x = index => left + (width - left - 6) * (index + SAMPLES - samples.length) / (SAMPLES - 1);
    const y = value => bottom - (bottom - top) * Math.max(0, Math.min(1, share(value)));
    const parts = marks.flatMap(mark => [
      draw("line", { class: "grid", x1: left, x2: width, y1: y(mark), y2: y(mark) }),
      draw("text", { x: left - 6, y: y(mark) + 4, "text-anchor": "end" }, text(mark)),
    ]);
    parts.push(draw("text", { x: left, y: height - 4 }, "2 min ago"), draw("text", { x: width, y: height - 4, "text-anchor": "end" }, "now"));
    for (const [, style, key] of lines) {
      let path = "", pen = "M", drawn = 0;
      samples.forEach((sample, index) => {
        if (sample[key] === null) { pen = "M"; return; }
        path += `${pen}${x(index).toFixed(1)} ${y(sample[key]).toFixed(1)}`;
        pen = "L";
        drawn += 1;
      });
      if (key === "emitted" && drawn > 1 && samples.every(sample => sample[key] !== null)) {
        parts.push(draw("path", { class: "area", d: `${path}L${x(samples.length - 1)} ${bottom}L${x(0)} ${bottom}Z` }));
      }
      parts.push(draw("path", { class: "line " + style, d: path }));
    }
    const shown = paint.at !== null && samples[paint.at] ? paint.at : samples.length - 1;
    if (paint.at !== null) parts.push(draw("line", { class: "cursor", x1: x(shown), x2: x(shown), y1: top, y2: bottom }));
    lines.forEach(([, , key], index) => say(values[index], samples[shown] && samples[shown][key] !== null ? text(samples[shown][key]) : "–"));
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.replaceChildren(...parts);
  };
  paint.at = null;
  picture.addEventListener("pointermove", event => {
    const area = picture.getBoundingClientRect();
    const index = Math.round((event.clientX - area.left - 46) / (area.width - 52) * (SAMPLES - 1)) - SAMPLES + samples.length;
    paint.at = Math.max(0, Math.min(samples.length - 1, index));
    paint();
  });
  picture.addEventListener("pointerleave", () => { paint.at = null; paint(); });
  new ResizeObserver(paint).observe(box);
  return paint;
}

export function linear(list, keys) {
  const most = Math.max(1, ...list.flatMap(sample => keys.map(key => sample[key])));
  const power = 10 ** Math.floor(Math.log10(most)), step = [1, 2, 2.5, 5, 10].map(one => one * power).find(one => one >= most);
  return { share: value => value / step, marks: [0, step / 2, step] };
}

export function logarithmic(list, keys) {
  const found = list.flatMap(sample => keys.map(key => sample[key])).filter(value => value !== null);
  const low = Math.floor(Math.log10(Math.min(1e-4, ...found))), high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(1e-3, ...found))));
  const marks = [];
  for (let power = low; power <= high; power += high - low > 4 ? 2 : 1) marks.push(10 ** power);
  return { share: value => (Math.log10(value) - low) / (high - low), marks };
}

// ---- topology ------------------------------------------------------------------------------------------------------

let drawn = "", nodes = new Map();

// How far behind the first ones each topic stands: behind all that it follows from, but for what would close a loop.
function depths(topics, causes) {
  const depth = new Map(), open = new Set();
  const find = topic => {
    if (depth.has(topic)) return depth.get(topic);
    open.add(topic);
    const before = causes.filter(({ from, to }) => to === topic && topics.includes(from) && !open.has(from));
    const found = Math.min(6, Math.max(0, ...before.map(({ from }) => find(from) + 1)));
    open.delete(topic);
    depth.set(topic, found);
    return found;
  };
  topics.forEach(find);
  return depth;
}

export function showTopology(topology) {
  const topics = Object.keys(topology.topics).slice(0, 40), handlers = topology.handlers.slice(0, 40);
  const wide = at("findings").clientWidth;
  const isEmpty = topics.length + handlers.length === 0;
  at("no-topology").hidden = !isEmpty;
  at("topology").hidden = isEmpty;
  const all = [Object.keys(topology.topics).length, topology.handlers.length], left = all[0] + all[1] - topics.length - handlers.length;
  say(at("topology-size"), isEmpty ? "" : `${all[0]} topics, ${all[1]} handlers${left ? `; ${left} not drawn` : ""}`);
  const shape = [topology.fingerprint, wide, topics.length, handlers.map(one => one.topics.length)].join();
  if (shape !== drawn && !isEmpty) {
    drawn = shape;
    drawGraph(topology, topics, handlers, wide);
  }
  const heard = new Set(handlers.flatMap(one => one.topics));
  for (const topic of topics) nodes.get("t " + topic).classList.toggle("orphan", !heard.has(topic));
  for (const one of handlers) nodes.get(handlerKey(one)).classList.toggle("full", one.full);
  const isFine = topology.handlers.length > 0 && topology.findings.length === 0;
  const findings = isFine ? [{ message: "Nothing is odd about it.", isFine }] : topology.findings;
  const build = finding => make("li", { className: finding.isFine ? "fine" : "" });
  keep(at("findings"), findings, finding => finding.message.replace(/\d+ %/, ""), build, (node, finding) => say(node, finding.message));
}

export const handlerKey = one => `h ${one.name} ${one.pattern} ${one.lane}`;

const short = (text, most) => text.length > most ? text.slice(0, Math.max(1, most - 1)) + "…" : text;

// What stands in which column: topics and handlers in turn, and in between the places where longer lines pass, so that none runs
// behind a box. Lines that lead to the same box share such places.
function arrange(topology, topics, handlers) {
  const depth = depths(topics, topology.causes), columns = [], where = new Map(), links = [];
  const put = (column, item) => {
    (columns[column] ||= []).push(item);
    where.set(item.key, column);
  };
  for (const topic of topics) {
    const carried = (topology.topics[topic].carries || "").split("::").pop();
    const title = carried ? `${topic}, ${carried}` : topic;
    put(2 * depth.get(topic), { key: "t " + topic, kind: "topic", name: topic, under: carried, title });
  }
  for (const one of handlers) {
    const behind = Math.max(0, ...one.topics.map(topic => depth.get(topic) || 0));
    const title = `${one.name}: ${one.pattern} on ${one.lane}`;
    put(2 * behind + 1, { key: handlerKey(one), kind: "handler", name: one.name, under: " ", title });
  }
  const connect = (from, to, style) => {
    if (!where.has(from) || !where.has(to)) return;
    let before = from;
    for (let column = where.get(from) + 1; column < where.get(to); column += 1) {
      const key = `p ${column} ${to}`;
      if (!where.has(key)) put(column, { key, kind: "passage" });
      links.push({ from: before, to: key, style });
      before = key;
    }
    links.push({ from: before, to, style });
  };
  for (const one of handlers) for (const topic of one.topics) connect("t " + topic, handlerKey(one), "");
  // A type says what its handlers emit, and these listen to its topic by name. Which of several does is not known: then the line
  // begins at the topic.
  for (const { from, to } of topology.causes) {
    const all = handlers.filter(one => one.pattern === from);
    connect(all.length === 1 ? handlerKey(all[0]) : "t " + from, "t " + to, "cause");
  }
  for (let column = 0; column < columns.length; column += 1) columns[column] ||= [];
  return { columns, links: [...new Map(links.map(link => [`${link.from} > ${link.to} ${link.style}`, link])).values()] };
}

// Puts each box near the middle of those that it is connected with, from left to right and back, some times.
function untangle(columns, links) {
  const place = new Map();
  const number = column => column.forEach((item, index) => place.set(item.key, index - (column.length - 1) / 2));
  columns.forEach(number);
  for (let sweep = 0; sweep < 6; sweep += 1) {
    const [mine, other] = sweep % 2 ? ["from", "to"] : ["to", "from"];
    for (const column of sweep % 2 ? [...columns].reverse() : columns) {
      const wish = new Map(column.map(item => {
        const near = links.filter(link => link[mine] === item.key).map(link => place.get(link[other]));
        return [item.key, near.length ? sum(near, one => one) / near.length : place.get(item.key)];
      }));
      column.sort((a, b) => wish.get(a.key) - wish.get(b.key));
      number(column);
    }
  }
}

function drawGraph(topology, topics, handlers, wide) {
  const { columns, links } = arrange(topology, topics, handlers), count = columns.length;
  untangle(columns, links);
  const tall = 40, row = 54, box = Math.max(132, Math.min(190, (wide - (count - 1) * 44 - 4) / Math.max(1, count)));
  const most = Math.floor((box - 18) / 7.4);
  const gap = Math.max(36, Math.min(180, (wide - count * box - 4) / Math.max(1, count - 1)));
  const rows = Math.max(1, ...columns.map(column => column.length)), height = rows * row + 24, width = count * box + (count - 1) * gap + 4;
  const places = new Map(), parts = [];
  nodes = new Map();
  columns.forEach((items, column) => {
    const x = 2 + column * (box + gap), first = 24 + (rows - items.length) * row / 2;
    parts.push(draw("text", { class: "head", x: x + box / 2, y: 12, "text-anchor": "middle" }, column % 2 ? "handlers" : "topics"));
    items.forEach((item, index) => {
      const y = first + index * row;
      places.set(item.key, { x, y: y + tall / 2 });
      if (item.kind === "passage") return;
      const text = (name, up, text) => draw("text", { class: name, x: x + 12, y: y + up }, text);
      const group = draw("g", { class: item.kind }, draw("title", {}, item.title),
        draw("rect", { x, y, width: box, height: tall, rx: item.kind === "topic" ? 20 : 8 }),
        text("name", item.under ? 17 : 25, short(item.name, most)), text("under", 32, short(item.under, most + 2)));
      nodes.set(item.key, group);
      parts.push(group);
    });
  });
  const lines = links.map(({ from, to, style }) => {
    const [a, b] = [places.get(from), places.get(to)], isLast = !to.startsWith("p ");
    const x = a.x + box, end = b.x - (isLast ? 5 : 0), isBack = end < x;
    // What leads back, in a loop, goes below everything.
    const bend = isBack ? 10 : Math.max(18, (end - x) / 2), [y, above] = isBack ? [height, height] : [a.y, b.y];
    const through = from.startsWith("p ") ? `M${a.x} ${a.y}H${x}` : `M${x} ${a.y}`;
    const d = `${through}C${x + bend} ${y} ${end - bend} ${above} ${end} ${b.y}`;
    return draw("path", { class: style, d, ...(isLast && { "marker-end": "url(#arrow)" }) });
  });
  const arrow = draw("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" },
    draw("path", { d: "M0 0L8 4L0 8Z" }));
  const label = `${topics.length} topics and ${handlers.length} handlers`;
  at("topology").replaceChildren(draw("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    draw("defs", {}, arrow), ...lines, ...parts));
}

// What stands in the handlers' boxes: that changes with every look, the graph seldom.
export function labelHandlers(textOf) {
  for (const [key, group] of nodes) if (key.startsWith("h ")) say(group.lastChild, textOf(key));
}
