"use strict";
// Shows the pass that stands in the page as JSON. Elements are made and given text; no text is read as markup.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const MATH = "http://www.w3.org/1998/Math/MathML";
  const MATH_TAGS = new Set(
    "mi mn mo mtext mspace mrow mfrac msqrt msub msup msubsup munder mover munderover mtable mtr mtd".split(" "),
  );
  const PACE = 1400; // milliseconds a step is shown at speed 1
  const READABLE = 0.55; // graphs that would be shown smaller than this begin at their end instead

  const data = opened(JSON.parse(document.getElementById("data").textContent));
  const { boxes, edges, steps } = data;
  const last = steps.length;
  const find = (id) => document.getElementById(id);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  // What occurs more than once stands in a pool, and {"$": n} in its place.
  function opened({ pool, page }) {
    const known = [];
    const open = (thing) => {
      if (Array.isArray(thing)) return thing.map(open);
      if (thing === null || typeof thing !== "object") return thing;
      if ("$" in thing) return known[thing.$];
      return Object.fromEntries(Object.entries(thing).map(([name, value]) => [name, open(value)]));
    };
    for (const thing of pool) known.push(open(thing));
    return open(page);
  }

  // ----- making elements ---------------------------------------------------------------------------------------

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  function formulaPart(tree) {
    if (typeof tree === "string") return tree;
    const [tag, attributes] = data.forms[tree[0]] || [tree[0], {}];
    const element = document.createElementNS(MATH, MATH_TAGS.has(tag) ? tag : "mtext");
    return fill(element, attributes, tree.slice(1).map(formulaPart));
  }
  const math = (tree) => fill(document.createElementNS(MATH, "math"), {}, [formulaPart(tree)]);

  function matrix(rows) {
    const table = ["mtable", ...rows.map((row) => ["mtr", ...row.map((text) => ["mtd", number(text)])])];
    return math(["mrow", ["mo.open", "["], table, ["mo.close", "]"]]);
  }
  function number(text) {
    if (text.startsWith("-")) return ["mrow", ["mo.sign", "−"], number(text.slice(1))];
    const [digits, power] = text.split("e");
    if (power === undefined || !/^[-+]?\d+$/.test(power)) return ["mn", text];
    return ["mrow", ["mn", digits], ["mo", "⋅"], ["msup", ["mn", "10"], number(String(Number(power)))]];
  }

  // Words in which code stands between backquotes.
  const words = (text) => text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));

  function valueOf(thing, withKind = true) {
    const text = thing.text || "nothing";
    let shown = make("span", { class: "value" }, text);
    if (thing.rows) shown = matrix(thing.rows);
    else if (!thing.kind && /^-?[\d.]+(e[-+]\d+)?$/.test(text)) shown = math(number(text));
    return make("span", {}, shown, withKind && thing.kind ? make("span", { class: "kind" }, thing.kind) : null);
  }

  function button(label, act, attributes = {}) {
    const element = make("button", { type: "button", class: "chip", ...attributes }, label);
    element.addEventListener("click", act);
    return element;
  }

  // ----- the graph ---------------------------------------------------------------------------------------------

  const picture = find("picture");
  const world = draw("g");
  const spark = draw("path", { id: "spark" });
  const arrows = edges.map(([, , curve]) => draw("path", { class: "arrow", d: curve }));
  const gradients = []; // box -> the text that shows its gradient
  const groups = boxes.map(drawBox);

  function drawBox(box, i) {
    const [x, y, width, height] = box.at;
    const group = draw("g", {
      class: `box ${box.kind}`,
      transform: `translate(${x - width / 2} ${y - height / 2})`,
      role: "button",
      tabindex: "-1",
      "data-box": i,
    });
    group.append(draw("rect", { width, height }));
    let line = 0;
    const write = (text, kind) => {
      const element = draw("text", { class: kind, x: width / 2, y: 17 + 16 * line++ }, text);
      group.append(element);
      return element;
    };
    box.lines.forEach((text, at) => write(text, at ? "" : "head"));
    gradients[i] = height > 16 * box.lines.length + 11 ? write("", "gradient") : null;
    return group;
  }

  // The rectangle that an arrow needs: left, top, right, bottom. Its curve is absolute in all points.
  function extentOf([, , curve]) {
    const numbers = curve.match(/-?[\d.]+/g).map(Number);
    const xs = numbers.filter((_, i) => i % 2 === 0);
    const ys = numbers.filter((_, i) => i % 2);
    return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  }

  function label(i) {
    const box = boxes[i];
    const gradient = now[i] === undefined ? "" : `, gradient ${now[i]}`;
    return `${box.text}${box.value ? `, value ${box.value.text}` : ""}${gradient}`;
  }

  const frames = data.frames.map(([text, x, y, width, height]) =>
    draw(
      "g",
      { class: "frame" },
      draw("rect", { x, y, width, height, rx: 12 }),
      draw("text", { x: x + width / 2, y: y + 15, "text-anchor": "middle" }, text),
    ),
  );
  // Everything with its rectangle (left, top, right, bottom) and the layer that it is in while it is in sight.
  const layers = [draw("g"), draw("g"), draw("g")];
  const things = [
    ...frames.map((element, i) => {
      const [, x, y, width, height] = data.frames[i];
      return { element, layer: layers[0], extent: [x, y, x + width, y + height], seen: false };
    }),
    ...arrows.map((element, i) => ({ element, layer: layers[1], extent: extentOf(edges[i]), seen: false })),
    ...groups.map((element, i) => {
      const [x, y, width, height] = boxes[i].at;
      const extent = [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
      return { element, layer: layers[2], extent, seen: false };
    }),
  ];
  const thingOfBox = (i) => things[frames.length + arrows.length + i];
  world.append(layers[0], layers[1], spark, layers[2]);
  picture.append(world);

  // ----- where one looks ---------------------------------------------------------------------------------------

  const view = { x: 0, y: 0, scale: 1 };
  let reachable = 0; // the box that the tab key comes to
  let gliding = 0;

  function look() {
    world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.scale})`);
    picture.classList.toggle("far", view.scale < 0.3);
    // What is out of sight is not laid out, so that thousands of boxes cost what a few do.
    const { width, height } = room();
    const [left, top] = [-view.x / view.scale - 60, -view.y / view.scale - 60];
    const [right, low] = [(width - view.x) / view.scale + 60, (height - view.y) / view.scale + 60];
    const kept = thingOfBox(reachable);
    for (const thing of things) {
      const side = thing.extent;
      setSeen(thing, (side[2] > left && side[0] < right && side[3] > top && side[1] < low) || thing === kept);
    }
  }

  function setSeen(thing, inside) {
    if (thing.seen === inside) return;
    thing.seen = inside;
    if (inside && thing.layer === layers[0]) placeFrame(thing);
    else if (inside) thing.layer.append(thing.element);
    else thing.element.remove();
  }

  // Inner frames come after those around them.
  function placeFrame(thing) {
    const at = things.indexOf(thing);
    const next = things.slice(at + 1, frames.length).find((other) => other.seen);
    layers[0].insertBefore(thing.element, next ? next.element : null);
  }

  let size = null; // of the picture; asked for anew when the window changes
  const room = () => (size ??= { width: picture.clientWidth || 1, height: picture.clientHeight || 1 });

  function lookAt(x, y, scale) {
    const { width, height } = room();
    cancelAnimationFrame(gliding);
    Object.assign(view, { x: width / 2 - x * scale, y: height / 2 - y * scale, scale });
    look();
  }

  function lookAtAll() {
    const { width, height } = room();
    const [wide, high] = data.size;
    const scale = Math.min(width / wide, height / high, 1.6);
    lookAt(wide / 2, high / 2, scale);
    return scale;
  }

  function begin() {
    if (lookAtAll() >= READABLE || !data.seeds.length) return;
    const [x, y] = boxes[data.seeds[0].node].at;
    lookAt(x, y - room().height * 0.3, 0.9);
  }

  function zoom(factor, x = room().width / 2, y = room().height / 2) {
    const scale = Math.min(Math.max(view.scale * factor, 0.01), 4);
    const ratio = scale / view.scale;
    cancelAnimationFrame(gliding);
    Object.assign(view, { x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio, scale });
    look();
  }

  function glideBy(dx, dy, quick) {
    cancelAnimationFrame(gliding);
    if (quick || calm.matches) {
      view.x += dx;
      view.y += dy;
      look();
      return;
    }
    const start = performance.now();
    let done = 0;
    const frame = (time) => {
      const share = Math.min(Math.max((time - start) / 260, 0), 1);
      const eased = share * share * (3 - 2 * share);
      view.x += dx * (eased - done);
      view.y += dy * (eased - done);
      done = eased;
      look();
      if (share < 1) gliding = requestAnimationFrame(frame);
    };
    gliding = requestAnimationFrame(frame);
  }

  // Bring boxes into view, those named first if not all have room.
  function reveal(chosen, quick) {
    const { width, height } = room();
    let left = Infinity, top = Infinity, right = -Infinity, low = -Infinity;
    for (const i of chosen) {
      const [x, y, wide, high] = boxes[i].at;
      const sides = [Math.min(left, x - wide / 2), Math.min(top, y - high / 2)];
      sides.push(Math.max(right, x + wide / 2), Math.max(low, y + high / 2));
      const fits = (sides[2] - sides[0]) * view.scale <= width && (sides[3] - sides[1]) * view.scale <= height;
      if (left < Infinity && !fits) break;
      [left, top, right, low] = sides;
    }
    const margin = 4;
    const x = [left * view.scale + view.x, right * view.scale + view.x];
    const y = [top * view.scale + view.y, low * view.scale + view.y];
    const outside = x[0] < margin || x[1] > width - margin || y[0] < margin || y[1] > height - margin;
    if (outside) glideBy((width - x[0] - x[1]) / 2, (height - y[0] - y[1]) / 2, quick);
  }

  const pointers = new Map();
  let dragged = false;
  picture.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    dragged = dragged && pointers.size > 1;
  });
  addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const here = [event.clientX, event.clientY];
    const moved = Math.hypot(here[0] - before[0], here[1] - before[1]);
    if (!dragged && moved < 5) return;
    dragged = true;
    picture.classList.add("held");
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    pointers.set(event.pointerId, here);
    if (other) {
      const [x, y] = other[1];
      const edge = picture.getBoundingClientRect();
      const ratio = Math.hypot(here[0] - x, here[1] - y) / Math.max(Math.hypot(before[0] - x, before[1] - y), 1);
      zoom(ratio, (here[0] + x) / 2 - edge.left, (here[1] + y) / 2 - edge.top);
    } else {
      glideBy(here[0] - before[0], here[1] - before[1], true);
    }
  });
  const release = (event) => {
    pointers.delete(event.pointerId);
    if (!pointers.size) picture.classList.remove("held");
  };
  addEventListener("pointerup", release);
  addEventListener("pointercancel", release);
  picture.addEventListener(
    "wheel",
    (event) => {
      const edge = picture.getBoundingClientRect();
      const { width, height } = room();
      const fits = data.size[0] * view.scale <= width && data.size[1] * view.scale <= height;
      if (event.ctrlKey || event.metaKey) {
        zoom(Math.exp(-event.deltaY / 300), event.clientX - edge.left, event.clientY - edge.top);
      } else if (!fits) {
        glideBy(-event.deltaX, -event.deltaY, true);
      } else {
        return; // the page around may scroll
      }
      event.preventDefault();
    },
    { passive: false },
  );
  find("closer").addEventListener("click", () => zoom(1.3));
  find("farther").addEventListener("click", () => zoom(1 / 1.3));
  find("whole").addEventListener("click", lookAtAll);

  // ----- steps -------------------------------------------------------------------------------------------------

  let at = 0; // how many steps have been taken
  let shown = -1;
  const now = []; // box -> its gradient so far, in few characters
  const lit = [];
  boxes.forEach((box, i) => setGradient(i, undefined));
  for (const seed of data.seeds) setGradient(seed.node, seed.short);

  function setGradient(i, text) {
    now[i] = text;
    if (gradients[i]) gradients[i].textContent = `∇ ${text === undefined ? "–" : text}`;
    groups[i].classList.toggle("done", text !== undefined);
  }

  function light(element, kind) {
    element.classList.add(kind);
    lit.push([element, kind]);
  }

  function go(wanted, options = {}) {
    wanted = Math.min(Math.max(wanted, 0), last);
    for (; at < wanted; at++) {
      const step = steps[at];
      setGradient(step.target, step.after);
      if (step.edge !== undefined) arrows[step.edge].classList.add("done");
    }
    for (; at > wanted; at--) {
      const step = steps[at - 1];
      setGradient(step.target, step.before);
      if (step.edge !== undefined) arrows[step.edge].classList.remove("done");
    }
    if (at === shown) return;
    shown = at;
    show(options.quick);
  }

  function show(quick) {
    for (const [element, kind] of lit.splice(0)) element.classList.remove(kind);
    const step = at ? steps[at - 1] : null;
    const edge = step && step.edge;
    spark.setAttribute("d", edge === undefined || edge === null ? "" : edges[edge][2]);
    if (step) {
      light(groups[step.node], "source");
      light(groups[step.target], "target");
      if (edge !== undefined) light(arrows[edge], "now");
      const near = edge === undefined ? step.target : edges[edge][0];
      if (near !== step.target) light(groups[near], "target");
      reveal([near, step.node], quick);
    } else {
      data.seeds.forEach((seed) => light(groups[seed.node], "target"));
    }
    slider.value = at;
    slider.setAttribute("aria-valuetext", step ? `step ${step.number} of ${data.total}` : "the start");
    count.textContent = `${step ? step.number : 0} / ${data.total}`;
    find("back").disabled = find("first").disabled = at === 0;
    find("on").disabled = find("last").disabled = at === last;
    find("step").replaceChildren(...(step ? stepCard(step) : startCard()), ...(at === last ? leavesCard() : []));
    if (chosen === null) find("cards").scrollTop = 0;
    else fillNode();
    if (playing === null || pace() > 900) find("live").textContent = step ? told(step) : "The start";
    markInList();
  }

  function told(step) {
    const way = `Step ${step.number} of ${data.total}: from ${step.heading} to ${boxes[step.target].name}.`;
    return [way, `Result ${step.result.text}.`, ...(step.said || [])].join(" ").replaceAll("`", "");
  }

  function stepCard(step) {
    const source = boxes[step.node];
    const rows = [];
    const nothing = () => make("span");
    const equation = (left, right, kind) => {
      rows.push(left, make("span", {}, "="), make("span", { class: kind }, right));
    };
    if (step.right) equation(math(step.left), math(step.right), "");
    if (step.numbers) equation(step.right ? nothing() : math(step.left), math(step.numbers), "");
    equation(step.right || step.numbers ? nothing() : math(step.left), valueOf(step.result), "result");
    const parts = [
      make("p", { class: "kicker" }, `Step ${step.number} of ${data.total}`),
      make("h2", {}, make("code", {}, step.heading)),
      where(source),
      make("div", { class: "chips" }, "from ", chip(step.node), " to ", chip(step.target)),
      make("div", { class: "formula" }, ...rows),
    ];
    if (!step.right) parts.push(make("p", { class: "note" }, "A backward function of its own, for which the table states no formula."));
    if (step.note) {
      const shown = step.note.map((part) => (typeof part === "string" ? part : math(part)));
      parts.push(make("p", { class: "note" }, ...shown));
    }
    if (step.used) parts.push(make("h3", {}, "What goes in"), listOf(step.used));
    for (const text of step.said || []) parts.push(make("p", { class: "said" }, ...words(text)));
    return parts.filter(Boolean);
  }

  function startCard() {
    return [
      make("p", { class: "kicker" }, "Start"),
      make("h2", {}, "The gradient of the end is given"),
      ...data.seeds.map((seed) =>
        make(
          "div",
          { class: "formula" },
          math(["mrow", ["msub", ["mi.up", "∇"], seed.name], ["mi", "L"]]),
          make("span", {}, "="),
          make("span", { class: "result" }, valueOf(seed.value)),
        ),
      ),
      make("p", { class: "note" }, "Each step takes it on against an arrow: from a result to what it was made of."),
    ];
  }

  function leavesCard() {
    const leaves = boxes.filter((box) => box.kind === "leaf" && box.gradient);
    if (!leaves.length) return [];
    const entries = leaves.slice(0, 40).map((box) => ({ name: ["mtext", box.name], value: box.gradient }));
    const more = leaves.length > 40 ? [make("p", { class: "note" }, `and ${leaves.length - 40} more`)] : [];
    return [make("h3", {}, "Gradients of the leaves"), listOf(entries), ...more];
  }

  function listOf(entries) {
    return definitions(entries.map((entry) => [math(entry.name), entry.value]));
  }

  function definitions(pairs) {
    const parts = pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, valueOf(value))]);
    return make("dl", { class: "values" }, ...parts);
  }

  function where(box) {
    const parts = [];
    if (box.module) parts.push("in ", make("code", {}, box.module));
    if (box.place) parts.push(box.module ? ", " : "", `${box.place[0]} `, make("code", {}, box.place[1]));
    return parts.length ? make("p", { class: "where" }, ...parts) : null;
  }

  function chip(i) {
    return button(make("code", {}, boxes[i].name || boxes[i].text), () => choose(i, true), { "data-shows": i });
  }

  // ----- all steps ---------------------------------------------------------------------------------------------

  const entries = steps.map((step, i) => {
    const entry = make(
      "button",
      { type: "button" },
      make("span", { class: "number" }, String(step.number)),
      make("span", { class: "what" }, make("code", {}, boxes[step.node].operation), " → ", make("code", {}, boxes[step.target].name)),
      make("span", { class: "after" }, step.after || ""),
    );
    entry.addEventListener("click", () => jump(i + 1));
    return entry;
  });
  const items = entries.map((entry) => make("li", {}, entry));
  const gap = steps.findIndex((step, i) => i && step.number !== steps[i - 1].number + 1);
  if (gap > 0) {
    const missing = steps[gap].number - steps[gap - 1].number - 1;
    items.splice(gap, 0, make("li", { class: "gap" }, `… ${missing} steps …`));
  }
  const list = find("list");
  list.firstElementChild.append(...items);
  let marked = null;

  function markInList() {
    if (marked) marked.removeAttribute("aria-current");
    marked = at ? entries[at - 1] : null;
    if (!marked) list.scrollTop = 0;
    if (!marked || list.scrollHeight <= list.clientHeight) {
      if (marked) marked.setAttribute("aria-current", "step");
      return;
    }
    marked.setAttribute("aria-current", "step");
    const item = marked.getBoundingClientRect();
    const box = list.getBoundingClientRect();
    if (item.top < box.top + 30 || item.bottom > box.bottom - 30) {
      list.scrollTop += item.top - box.top - box.height / 2;
    }
  }

  // ----- a box that was clicked --------------------------------------------------------------------------------

  let chosen = null;
  const incoming = new Map(); // box -> the steps that bring it a gradient, and those that take it on
  steps.forEach((step, i) => {
    for (const [key, side] of [[step.target, 0], [step.node, 1]]) {
      if (!incoming.has(key)) incoming.set(key, [[], []]);
      incoming.get(key)[side].push(i);
    }
  });

  function reach(i) {
    groups[reachable].setAttribute("tabindex", "-1");
    reachable = i;
    setSeen(thingOfBox(i), true);
    groups[i].setAttribute("tabindex", "0");
    groups[i].setAttribute("aria-label", label(i));
  }

  function choose(i, bring) {
    if (chosen !== null) groups[chosen].classList.remove("chosen");
    chosen = i;
    find("node").hidden = i === null;
    if (i === null) return;
    groups[i].classList.add("chosen");
    reach(i);
    fillNode();
    if (bring) reveal([i]);
    find("node").scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  }

  function fillNode() {
    const box = boxes[chosen];
    const [comes, leaves] = incoming.get(chosen) || [[], []];
    const lines = draw("path", { d: "M6 6l12 12M18 6L6 18" });
    const cross = draw("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, lines);
    const close = button(cross, leave, { class: "close", "aria-label": "Close", title: "Close (Escape)" });
    const heading = make("h2", {}, make("code", {}, box.text));
    const parts = [make("p", { class: "kicker" }, "Forward"), heading, where(box), close];
    if (box.value) parts.push(make("div", {}, valueOf(box.value)));
    if (box.given) {
      const nameOf = ({ node, text }) => (node === null ? make("code", {}, text) : chip(node));
      parts.push(make("h3", {}, "Computed from"), definitions(box.given.map((given) => [nameOf(given), given.value])));
    }
    const users = [...new Set(edges.filter(([start]) => realBox(start) === chosen).map(([, end]) => end))];
    if (users.length) {
      parts.push(make("h3", {}, "Used by"), make("div", { class: "chips" }, ...users.slice(0, 30).map(chip)));
    }
    if (comes.length || leaves.length || box.gradient) {
      parts.push(make("h3", { class: "kicker" }, "Backward"));
      const soFar = now[chosen] === undefined ? "Nothing has arrived yet." : `So far ${now[chosen]}.`;
      parts.push(make("p", {}, soFar));
      if (box.gradient) parts.push(make("h3", {}, "In the end"), make("div", {}, valueOf(box.gradient)));
      if (comes.length) parts.push(make("h3", {}, "Arrives in"), stepChips(comes));
      if (leaves.length) parts.push(make("h3", {}, "Taken on in"), stepChips(leaves));
    }
    find("node").replaceChildren(...parts.filter(Boolean));
  }

  function leave() {
    const i = chosen;
    choose(null);
    groups[i].focus({ preventScroll: true });
  }

  function stepChips(numbers) {
    const chips = numbers.slice(0, 30).map((i) => {
      return button(`step ${steps[i].number}`, () => jump(i + 1), { "data-step": i + 1 });
    });
    return make("div", { class: "chips" }, ...chips);
  }

  // A box that only stands for another, which is far away, leads to that.
  const realBox = (i) => boxes[i].of ?? i;

  picture.addEventListener("click", (event) => {
    const group = event.target.closest(".box");
    const i = group ? Number(group.dataset.box) : null;
    if (group && !dragged) choose(realBox(i), realBox(i) !== i);
    dragged = false;
  });
  picture.addEventListener("focusin", (event) => {
    const group = event.target.closest(".box");
    if (group) reach(Number(group.dataset.box));
  });

  // ----- playing and keys --------------------------------------------------------------------------------------

  const slider = find("slider");
  const count = find("count");
  const speed = find("speed");
  const playButton = find("play");
  let playing = null;
  slider.max = last;
  if (last > 200) speed.value = "5";
  const pace = () => PACE / Number(speed.value);

  function play() {
    if (at === last) go(0);
    const next = () => {
      go(at + 1, { quick: pace() < 300 });
      playing = at < last ? setTimeout(next, pace()) : null;
      showPlaying();
    };
    playing = setTimeout(next, Math.min(pace(), 350));
    showPlaying();
  }

  function pause() {
    clearTimeout(playing);
    playing = null;
    showPlaying();
  }

  function showPlaying() {
    const running = playing !== null;
    playButton.classList.toggle("playing", running);
    playButton.setAttribute("aria-label", running ? "Pause" : "Play");
  }

  const toggle = () => (playing === null ? play() : pause());
  const jump = (wanted) => {
    pause();
    go(wanted);
  };
  playButton.addEventListener("click", toggle);
  slider.addEventListener("input", () => jump(Number(slider.value)));
  find("first").addEventListener("click", () => jump(0));
  find("back").addEventListener("click", () => jump(at - 1));
  find("on").addEventListener("click", () => jump(at + 1));
  find("last").addEventListener("click", () => jump(last));

  const KEYS = {
    ArrowLeft: () => jump(at - 1),
    ArrowRight: () => jump(at + 1),
    PageUp: () => jump(at - 10),
    PageDown: () => jump(at + 10),
    Home: () => jump(0),
    End: () => jump(last),
    " ": toggle,
    "+": () => zoom(1.3),
    "=": () => zoom(1.3),
    "-": () => zoom(1 / 1.3),
    0: lookAtAll,
    Escape: () => choose(null),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === speed) return;
    const group = event.target.closest && event.target.closest(".box");
    if (group && (event.key === "Enter" || event.key === " ")) {
      choose(realBox(Number(group.dataset.box)), true);
    } else if (group && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      const i = reachable + (event.key === "ArrowUp" ? -1 : 1);
      if (i < 0 || i >= boxes.length) return;
      reach(i);
      groups[i].focus({ preventScroll: true });
      reveal([i]);
    } else {
      if (event.key === " " && event.target.closest && event.target.closest("button")) return; // it is pressed
      if (!(event.key in KEYS)) return;
      KEYS[event.key]();
    }
    event.preventDefault();
  });

  // ----- the beginning -----------------------------------------------------------------------------------------

  const fromAddress = () => {
    const wanted = /^#(\d+)$/.exec(location.hash);
    return wanted ? Number(wanted[1]) : 0;
  };
  find("about").append(...data.about.map((text) => make("p", {}, ...words(text))));
  reach(data.seeds.length ? data.seeds[0].node : 0);
  begin();
  go(fromAddress(), { quick: true });
  addEventListener("hashchange", () => jump(fromAddress()));
  addEventListener("resize", () => {
    const before = room();
    size = null;
    glideBy((room().width - before.width) / 2, (room().height - before.height) / 2, true);
  });
})();
