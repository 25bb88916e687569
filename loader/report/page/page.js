// Draws the pictures of a report. Their numbers stand in the page; colours are names that page.css gives a value.
"use strict";

const pictures = JSON.parse(document.getElementById("pictures").textContent);
const isCoarse = matchMedia("(pointer: coarse)").matches;
const narrow = matchMedia("(max-width: 640px)");
const config = { displaylogo: false, responsive: true, displayModeBar: false, showTips: false };

// Numbers are left as they are: there are many.
function isNamed(value) {
  return typeof value === "string" || (typeof value === "object" && value !== null);
}

function coloured(value, style) {
  if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
  if (Array.isArray(value)) return value.some(isNamed) ? value.map((one) => coloured(one, style)) : value;
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, coloured(each, style)]));
}

function themed(layout, style) {
  const colour = (name) => style.getPropertyValue(name).trim();
  const made = {
    ...layout,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: narrow.matches ? 11 : 12, color: colour("--text") },
    margin: narrow.matches ? { l: 52, r: 8, t: 8, b: 36 } : { l: 70, r: 14, t: 10, b: 42 },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
    dragmode: isCoarse ? false : "zoom",
  };
  for (const name of Object.keys(layout).filter((each) => /^[xy]axis\d*$/.test(each))) {
    const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--line"), linecolor: colour("--line"), ...layout[name] };
    if (name[0] === "x") axis.automargin = true;
    if (narrow.matches) axis.nticks = name[0] === "x" ? 5 : 6;
    if (axis.title) axis.title = { ...axis.title, standoff: 6, font: { size: 11, color: colour("--quiet") } };
    if (axis.rangeselector) {
      made.margin = { ...made.margin, t: 40 };
      axis.rangeselector = {
        ...axis.rangeselector, bgcolor: colour("--ground"), activecolor: colour("--line"), bordercolor: colour("--line"),
        borderwidth: 1, x: 0, y: 1.03, yanchor: "bottom", font: { size: 11, color: colour("--text") },
      };
    }
    made[name] = axis;
  }
  return made;
}

// From the least to the greatest of what lies between two times, with a little room; null of an axis without any.
function reach(traces, axis, from, to) {
  let least = Infinity, greatest = -Infinity;
  for (const trace of traces.filter((each) => (each.yaxis || "y") === axis)) {
    const low = trace.low || trace.y, high = trace.high || trace.y;
    trace.x.forEach((time, at) => {
      if (time < from || time > to || low[at] === null) return;
      least = Math.min(least, low[at]);
      greatest = Math.max(greatest, high[at]);
    });
    if (trace.type === "bar") least = Math.min(least, 0);
  }
  if (least > greatest) return null;
  const room = (greatest - least) * 0.05 || Math.abs(greatest) * 0.01 || 1;
  return [least === 0 ? 0 : least - room, greatest + room];
}

function fitted(picture, range) {
  const moment = (value) => (typeof value === "number" ? value : Date.parse(String(value).replace(" ", "T") + (/Z$/.test(value) ? "" : "Z")));
  const [from, to] = range ? range.map(moment) : [-Infinity, Infinity];
  const found = {};
  for (const name of Object.keys(picture.layout).filter((each) => each.startsWith("yaxis"))) {
    const span = reach(picture.traces, name.replace("axis", ""), from, to);
    if (span) found[name] = span;
  }
  return found;
}

async function draw(place) {
  const picture = pictures[place.dataset.picture];
  const style = getComputedStyle(document.documentElement);
  const layout = themed(picture.layout, style);
  const known = place.layout && place.layout.xaxis && !place.layout.xaxis.autorange ? place.layout.xaxis.range : null;
  if (known && picture.fit) layout.xaxis = { ...layout.xaxis, range: known };
  if (picture.fit) {
    for (const [name, range] of Object.entries(fitted(picture, layout.xaxis.range))) layout[name] = { ...layout[name], range };
  }
  await Plotly.react(place, coloured(picture.traces, style), layout, config);
  if (!picture.fit || place.isFollowed) return;
  place.isFollowed = true;
  place.on("plotly_relayout", (change) => {
    if (!Object.keys(change).some((name) => name.startsWith("xaxis."))) return;
    const axis = place.layout.xaxis;
    const ranges = fitted(picture, axis.autorange ? null : axis.range);
    const wanted = Object.fromEntries(Object.entries(ranges).map(([name, range]) => [`${name}.range`, range]));
    Plotly.relayout(place, wanted);
  });
}

async function drawAll() {
  for (const place of document.querySelectorAll(".chart")) await draw(place);
  document.documentElement.dataset.drawn = String(Number(document.documentElement.dataset.drawn || 0) + 1);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
narrow.addEventListener("change", drawAll);
drawAll();
