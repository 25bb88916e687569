"use strict";
// Everything that comes from the server is put in as text, never as markup.

const POLL_MS = 5000;
const ROWS = matchMedia("(max-width: 640px)").matches ? 6 : 20;
const MARKETS = ["um", "cm", "spot"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
// By letter of a calendar: class, how high its mark is (of 16), where it begins, in words.
const MARKS = {
  "s": ["s", 16, 0, "stored"],
  "p": ["p", 10, 6, "partly stored"],
  "g": ["g", 16, 0, "stored, with a gap"],
  "m": ["m", 6, 10, "missing"],
  "w": ["w", 4, 6, "waiting: to be fetched, stored or published"],
  "-": ["u", 2, 14, "never asked for"],
};
const SVG = "http://www.w3.org/2000/svg";
const state = { shown: null, etags: {}, paused: false, blocks: new Map(), range: [0, 0], opened: new Set() };
const $ = (id) => document.getElementById(id);

function make(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function draw(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// numbers and times

const count = (number) => number === null || number === undefined ? "" : number.toLocaleString("en-US");
const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many || one + "s"}`;

function bytes(number) {
  if (number === null || number === undefined) return "";
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let place = 0;
  while (number >= 1000 && place < units.length - 1) { number /= 1000; place += 1; }
  return `${place ? number.toFixed(1) : number} ${units[place]}`;
}

function time(us, digits) {
  return us === null || us === undefined ? "" : new Date(us / 1000).toISOString().replace("T", " ").slice(0, digits || 16);
}

function lasting(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${Math.floor(seconds % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const month = (number) => `${Math.floor(number / 12)}-${String(number % 12 + 1).padStart(2, "0")}`;
const nameOf = (one) => one.interval ? `${one.type} ${one.interval}` : one.type;
const keyOf = (one) => [one.market, one.type, one.symbol, one.interval].join("/");

// what is asked of the server

async function ask(path) {
  const answer = await fetch(path, { headers: state.etags[path] ? { "If-None-Match": state.etags[path] } : {}, cache: "no-store" });
  if (answer.status === 304) {
    await answer.text();  // What is not read to its end counts as broken off.
    return null;
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.message);
  state.etags[path] = answer.headers.get("ETag");
  return found;
}

async function refresh() {
  try {
    const found = await ask("/status.json");
    if (found) show(found);
    $("live").textContent = `as of ${new Date().toISOString().slice(11, 19)} UTC`;
    const bars = await ask("/bars.json");
    if (bars) showBars(bars.bars);
  } catch (error) {
    $("live").textContent = "the server does not answer";
  }
}

async function poll() {
  if (!state.paused && !document.hidden) await refresh();
  setTimeout(poll, POLL_MS);
}

// totals

function show(found) {
  state.shown = found;
  $("folder").textContent = "\u200e" + found.folder;
  $("message").textContent = found.message || "";
  $("message").hidden = !found.message;
  showTotals(found);
  showChoices(found.series);
  showChosen();
  showSpeed(found.speed);
  showRuns(found.runs);
}

// What follows the search.
function showChosen() {
  showCoverage();
  showGaps(state.shown.gaps);
  showFaults(state.shown.faults);
  showRevisions(state.shown.revisions);
}

function showTotals(found) {
  const { totals, states, disk } = found;
  const holes = found.series.reduce((sum, one) => sum + (one.holes || 0), 0);
  const stored = states.stored || 0, late = found.gaps.counts.late || 0;
  const tiles = [
    ["Series", count(totals.series), plural(new Set(found.series.map((one) => one.market + one.symbol)).size, "symbol")],
    ["Archives stored", count(stored), `of ${count(totals.archives)}, ${bytes(totals.archive_bytes)}`],
    ["Rows", count(totals.rows), totals.last_us ? `to ${time(totals.last_us)}` : ""],
    ["Parquet", bytes(totals.stored_bytes), plural(totals.partitions, "file")],
    ["Gaps", count(holes), late ? `${count(late)} of them late` : "with rows missing", holes > late],
    ["Failures and faults", count(found.faults.count), "of archives", found.faults.count],
    ["Revisions", count(found.revisions.count), "archives replaced"],
    ["Disk free", bytes(disk.free), `of ${bytes(disk.size)}`],
  ];
  $("totals").replaceChildren(...tiles.map(([name, number, more, bad]) => make("div", { class: bad ? "bad" : null },
    make("dt", {}, name), make("dd", {}, number, make("small", {}, more)))));
}

// coverage

function showChoices(series) {
  for (const [id, name] of [["market", "market"], ["type", "type"]]) {
    const select = $(id), chosen = select.value;
    const values = [...new Set(series.map((one) => one[name]))].sort();
    if (values.join() === [...select.options].slice(1).map((option) => option.value).join()) continue;
    select.replaceChildren(make("option", { value: "" }, "all"), ...values.map((value) => make("option", { value }, value)));
    select.value = values.includes(chosen) ? chosen : "";
  }
}

const isWhole = (one) => !/[^s ]/.test(one.months);

function isChosen(one) {
  const word = $("search").value.trim().toLowerCase(), market = $("market").value, type = $("type").value;
  return one.symbol.toLowerCase().includes(word) && (!market || one.market === market) && (!type || one.type === type);
}

function showCoverage() {
  const every = state.shown.series, series = every.filter((one) => isChosen(one) && !($("unwhole").checked && isWhole(one)));
  state.range = [Math.min(...every.map((one) => one.first)), Math.max(...every.map((one) => one.first + one.months.length))];
  const groups = new Map();
  for (const one of series) {
    const key = `${MARKETS.indexOf(one.market)}\n${one.symbol}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }
  const blocks = new Map();
  for (const key of [...groups.keys()].sort()) {
    const members = groups.get(key), says = JSON.stringify([state.range, members]);
    const known = state.blocks.get(key);
    blocks.set(key, known && known.says === says ? known : { says, node: block(members, known && known.node) });
  }
  for (const [key, known] of state.blocks) if (blocks.get(key) !== known) seen.unobserve(known.node);
  const nodes = [...blocks.values()].map((each) => each.node), home = $("symbols");
  if (nodes.length !== home.children.length || nodes.some((node, place) => node !== home.children[place])) {
    const focused = document.activeElement && document.activeElement.dataset.series;
    home.replaceChildren(...nodes);
    const again = focused && home.querySelector(`[data-series="${CSS.escape(focused)}"]`);
    if (again) again.focus({ preventScroll: true });
  }
  for (const [key, each] of blocks) if (state.blocks.get(key) !== each) seen.observe(each.node);
  state.blocks = blocks;
  const groupsOfAll = new Set(every.map((one) => one.market + one.symbol)).size;
  $("found").textContent = every.length === 0 ? "nothing is known of any series" :
    `${plural(series.length, "series", "series")} of ${plural(groups.size, "symbol")}` +
    (groups.size < groupsOfAll ? `, of ${count(groupsOfAll)}` : "") +
    `; ${month(state.range[0])} to ${month(state.range[1] - 1)}, a mark a month; a name opens its days`;
}

// A block is filled when it comes into sight: of hundreds of symbols only those are drawn that are looked at.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    fill(entry.target);
  }
}, { rootMargin: "300px" });

function block(members, before) {
  const node = make("article", { class: "symbol" },
    make("h3", {}, members[0].symbol, make("small", {}, members[0].market)));
  node.members = members;
  if (before && before.filled) fill(node);
  else node.append(...members.map((one) => make("div", { class: "series" }, opener(one))));
  return node;
}

function fill(node) {
  if (node.filled) return;
  node.filled = true;
  const focused = document.activeElement && node.contains(document.activeElement) ? document.activeElement.dataset.series : null;
  node.replaceChildren(node.firstChild, axis(), ...node.members.map((one) => make("div", { class: "series" },
    opener(one), strip(one), make("span", { class: "last", title: `${count(one.rows)} rows` }, one.last_us === null ? "nothing" : time(one.last_us, 10)))));
  if (focused) [...node.querySelectorAll("button")].find((button) => button.dataset.series === focused)?.focus({ preventScroll: true });
}

function opener(one) {
  const button = make("button", { type: "button", "aria-haspopup": "dialog", onclick: () => openDays(one) }, nameOf(one));
  button.dataset.series = keyOf(one);
  button.setAttribute("aria-label", `${one.symbol} ${nameOf(one)}, ${one.market}: open its days`);
  return button;
}

function axis() {
  const [first, end] = state.range, home = make("div", {});
  const years = [];
  for (let year = Math.ceil(first / 12); year * 12 < end; year += 1) years.push(year);
  const every = Math.max(1, Math.ceil(years.length / 8));
  for (const year of years) {
    const share = (year * 12 - first) / (end - first);
    if ((year - years[0]) % every || share > .95) continue;
    const label = make("i", {}, String(year));
    label.style.left = `${100 * share}%`;
    home.append(label);
  }
  return make("div", { class: "series axis", "aria-hidden": "true" }, home);
}

function strip(one) {
  const [first, end] = state.range, counts = {};
  const node = draw("svg", { class: "strip", viewBox: `0 0 ${(end - first) * 10} 16`, preserveAspectRatio: "none", role: "group" });
  [...one.months].forEach((letter, place) => {
    const mark = MARKS[letter];
    if (!mark) return;
    counts[letter] = (counts[letter] || 0) + 1;
    node.append(cell(mark, (one.first + place - first) * 10, `${month(one.first + place)}: ${mark[3]}`));
  });
  const words = Object.entries(counts).map(([letter, number]) => `${number} ${MARKS[letter][3]}`).join(", ");
  node.setAttribute("aria-label", `${one.symbol} ${nameOf(one)}: ${plural(one.months.length, "month")}, ${words}`);
  node.addEventListener("click", () => openDays(one));
  return node;
}

function cell([name, height, top, words], left, says) {
  const rect = draw("rect", { class: `c-${name}`, x: left + .6, y: top, width: 8.8, height, role: "img", "aria-label": says || words },
    draw("title", {}, document.createTextNode(says || words)));
  if (name !== "g") return rect;
  return draw("g", {}, rect, draw("rect", { class: "c-b", x: left + .6, y: 8, width: 8.8, height: 3, "aria-hidden": "true" }));
}

function showLegend() {
  $("legend").replaceChildren(...Object.values(MARKS).map((mark) => make("li", {},
    draw("svg", { viewBox: "0 0 10 16", "aria-hidden": "true" }, cell(mark, 0)), mark[3])));
}

// one series, day by day

async function openDays(one) {
  const words = { market: one.market, type: one.type, symbol: one.symbol, interval: one.interval };
  $("days-title").textContent = `${one.symbol} ${nameOf(one)} (${one.market})`;
  $("days-body").replaceChildren(make("p", { class: "quiet" }, "reading"));
  if (!$("days").open) $("days").showModal();
  try {
    const path = `/series.json?${new URLSearchParams(words)}`;
    delete state.etags[path];
    showDays(one, await ask(path));
  } catch (error) {
    $("days-body").replaceChildren(make("p", { class: "message" }, error.message));
  }
}

function showDays(one, found) {
  const counts = {};
  for (const letter of found.days.join("")) if (MARKS[letter]) counts[letter] = (counts[letter] || 0) + 1;
  const says = Object.entries(counts).map(([letter, number]) => `${plural(number, "day")} ${MARKS[letter][3]}`).join(", ");
  const years = new Map();
  found.days.forEach((letters, place) => {
    const at = found.first + place, year = Math.floor(at / 12);
    if (!years.has(year)) years.set(year, []);
    years.get(year).push([at, letters]);
  });
  const sections = [make("p", { class: "quiet" }, `${says}. ${count(one.rows)} rows` +
    (one.first_us === null ? "" : ` from ${time(one.first_us)} to ${time(one.last_us)}`))];
  sections.push(make("div", { class: "years" }, ...[...years].reverse().map(([year, months]) => calendar(year, months, found.gaps))));
  for (const [title, rows, write] of [["Gaps", found.gaps, gapTable], ["Failures and faults", found.faults, faultTable],
    ["Revisions", found.revisions, revisionTable]]) {
    if (rows.length) sections.push(make("h3", {}, title), make("div", { class: "table" }, write(rows)));
  }
  $("days-body").replaceChildren(...sections);
}

function calendar(year, months, gaps) {
  const body = make("tbody", {});
  for (const [at, letters] of months) {
    const row = make("tr", {}, make("th", { scope: "row" }, MONTHS[at % 12]));
    for (let day = 1; day <= 31; day += 1) {
      const mark = MARKS[letters[day - 1]];
      if (!mark) { row.append(make("td", {})); continue; }
      const label = `${month(at)}-${String(day).padStart(2, "0")}`;
      const from = Date.parse(label) * 1000, why = "gm".includes(letters[day - 1])
        ? gaps.filter((gap) => gap.start_us < from + 86400e6 && gap.end_us > from).map((gap) => gap.status).join(", ") : "";
      const says = `${label}: ${mark[3]}${why && ` (${why})`}`;
      row.append(make("td", { title: says }, make("b", { class: `d-${mark[0]}` }, make("span", { class: "unseen" }, says))));
    }
    body.append(row);
  }
  return make("table", { class: "calendar" }, make("caption", {}, String(year)), body);
}

// tables

function table(heads, rows, label) {
  const line = (cells) => make("tr", {}, ...cells.map((value, place) =>
    make("td", { class: heads[place][1], "data-label": heads[place][0] }, make("span", {}, value))));
  const isAll = state.opened.has(label) || rows.length <= ROWS + 5;
  const body = make("tbody", {}, ...rows.slice(0, isAll ? rows.length : ROWS).map(line));
  const node = make("table", { "aria-label": label },
    make("thead", {}, make("tr", {}, ...heads.map(([name, kind]) => make("th", { scope: "col", class: kind }, name)))), body);
  if (isAll) return node;
  const more = make("button", { type: "button", class: "more", onclick: () => {
    state.opened.add(label);
    body.append(...rows.slice(ROWS).map(line));
    more.remove();
  } }, `Show ${count(rows.length - ROWS)} more`);
  return make("div", {}, node, more);
}

const tag = (word, isBad) => make("span", { class: isBad ? "tag bad" : "tag" }, word);
const seriesText = (one) => `${one.symbol} ${nameOf(one)} (${one.market})`;
const code = (text) => make("code", {}, text);

function put(id, says, content) {
  $(id).querySelector(".quiet").textContent = says;
  $(id).querySelector(".table").replaceChildren(...(content ? [content] : []));
}

// All is how many there are; of very many the server sends the first ones only.
function shownOf(sent, all, shown) {
  const words = sent < all ? `; the first ${count(sent)} are here` : "";
  return shown < sent ? `${words}; ${count(shown)} of what is chosen above` : words;
}

const gapTable = (rows) => table([["Status"], ["Series"], ["From", "when"], ["To", "when"], ["Rows", "number"], ["Why"], ["Asked", "when"]],
  rows.map((gap) => [tag(gap.status, gap.hole && gap.status !== "late"), seriesText(gap), time(gap.start_us), time(gap.end_us), gap.rows ? count(gap.rows) : "unknown",
    gap.detail, gap.checked_us === null ? "never" : time(gap.checked_us)]), "Gaps");

function showGaps(gaps) {
  const all = Object.values(gaps.counts).reduce((sum, number) => sum + number, 0);
  const says = Object.entries(gaps.counts).sort().map(([status, number]) => `${count(number)} ${status}`).join(", ");
  const rows = gaps.shown.filter(isChosen);
  put("gaps", all ? says + shownOf(gaps.shown.length, all, rows.length) : "none is known; daily_update.py --fill-gaps looks for them",
    rows.length ? gapTable(rows) : null);
}

const faultTable = (rows) => table([["State"], ["Series"], ["Period", "when"], ["Reason"], ["Tries", "number"], ["Times asked", "number"], ["Since", "when"]],
  rows.map((one) => [tag(one.state, true), seriesText(one), one.period, one.reason, count(one.attempts), count(one.asks), time(one.at_us)]), "Failures and faults");

function showFaults(faults) {
  const rows = faults.shown.filter(isChosen);
  put("faults", faults.count ? plural(faults.count, "archive") + shownOf(faults.shown.length, faults.count, rows.length) : "none",
    rows.length ? faultTable(rows) : null);
}

function digests(before, after) {
  return make("span", {}, code(before || "unknown"), make("br"), code(after || "not here yet"));
}

const revisionTable = (rows) => table([["Archive"], ["Noticed", "when"], ["Replaced", "when"], ["SHA-256: old, new"], ["ETag: old, new"]],
  rows.map((one) => [one.key.split("/").pop(), time(one.noticed_us), one.replaced_us === null ? "not yet" : time(one.replaced_us),
    digests(one.old_sha256, one.new_sha256), digests(one.old_etag, one.new_etag)]), "Revisions");

function showRevisions(revisions) {
  const rows = revisions.shown.filter(isChosen);
  put("revisions", revisions.count ? `${plural(revisions.count, "archive")} replaced by the exchange` +
    shownOf(revisions.shown.length, revisions.count, rows.length) : "the exchange has replaced nothing that was here",
  rows.length ? revisionTable(rows) : null);
}

function showRuns(runs) {
  put("runs", runs.length ? "the newest first" : "none yet", runs.length ? table(
    [["Run", "number"], ["Command"], ["Began", "when"], ["Took", "number"], ["Ended"], ["Files", "number"], ["Bytes", "number"],
      ["Bytes a second", "number"], ["Rows", "number"], ["Failures", "number"]],
    runs.map((run) => [String(run.run), code(run.command), time(run.started_us), run.finished_us === null ? "" : lasting(run.seconds),
      tag(run.ended, ["killed", "stopped"].includes(run.ended)), count(run.files), bytes(run.bytes),
      run.bytes && run.seconds ? `${bytes(Math.round(run.bytes / run.seconds))}/s` : "", count(run.rows), count(run.failures)]), "Runs") : null);
}

function showBars(bars) {
  const all = bars.reduce((sum, one) => sum + one.bars, 0);
  put("bars", bars.length ? `${plural(all, "bar")} of ${plural(new Set(bars.map((one) => one.spec)).size, "spec")} and ` +
    plural(new Set(bars.map((one) => one.symbol)).size, "symbol") : "none are stored; pipeline.py features makes them",
  bars.length ? table([["Spec"], ["Symbol"], ["Of"], ["Bars", "number"], ["Last closed", "when"], ["Files", "number"], ["Size", "number"]],
    bars.map((one) => [code(one.spec), one.symbol, `${one.market} ${one.type}`, count(one.bars), time(one.last_us, 19), count(one.files),
      bytes(one.size_bytes)]), "Bars") : null);
}

// speed

function chart(title, values, labels, name, left, right) {
  const most = Math.max(...values, 1), wide = values.length * 10;  // Marks stretch to the width of the figure.
  const node = draw("svg", { class: "chart", viewBox: `0 0 ${wide} 100`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${title}; at most ${name(most)}` });
  values.forEach((value, place) => {
    const high = value ? Math.max(1, 100 * value / most) : 0;
    node.append(draw("rect", { class: "c-s", x: place * 10 + .5, y: 100 - high, width: 9, height: high },
      draw("title", {}, document.createTextNode(`${labels[place]}: ${name(value)}`))));
  });
  return make("figure", {}, make("figcaption", {}, title), make("div", { class: "scale" }, `at most ${name(most)}`), node,
    make("div", { class: "scale" }, make("span", {}, left), make("span", {}, right)));
}

function showSpeed(speed) {
  const figures = [], seconds = speed.step_us / 1e6;
  if (speed.run !== null) {
    const rates = speed.bytes.map((size) => size / seconds);
    const at = (place) => time(speed.start_us + place * speed.step_us, 19);
    figures.push(chart(`Run ${speed.run}, each mark ${lasting(seconds)}`, rates, rates.map((_, place) => at(place)),
      (rate) => `${bytes(Math.round(rate))}/s`, at(0), at(speed.bytes.length)));
  }
  if (speed.days.length) {
    const last = speed.days[speed.days.length - 1][0], first = Math.min(speed.days[0][0], last - 29), sizes = Array(last - first + 1).fill(0);
    for (const [day, size] of speed.days) sizes[day - first] = size;
    const at = (day) => time(day * 86400e6, 10);
    figures.push(chart("Each day", sizes, sizes.map((_, place) => at(first + place)), bytes, at(first), at(last)));
  }
  $("speed").querySelector(".quiet").textContent = figures.length
    ? "bytes of archives by when they were verified and stored; the newest run that stored any, and the last 90 days" : "nothing was stored yet";
  $("speed").querySelector(".charts").replaceChildren(...figures);
}

// the beginning

$("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  $("pause").textContent = state.paused ? "Go on" : "Pause";
  if (!state.paused) refresh();
});
for (const id of ["search", "market", "type", "unwhole"]) $(id).addEventListener("input", () => state.shown && showChosen());
$("close").addEventListener("click", () => $("days").close());
$("days").addEventListener("click", (event) => { if (event.target === $("days")) $("days").close(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && !state.paused) refresh(); });
$("live").textContent = "reading";
showLegend();
poll();
