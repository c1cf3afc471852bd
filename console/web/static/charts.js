// Draws the page's charts from JSON: <div class="chart" data-chart="/live/charts/NAME" data-kind="lines|bars|points">.

const AGAIN_MS = 30_000;
const LEAST_SECONDS = 600; // Of an axis of time: one reading is no span.
const drawn = new Map(); // element → chart

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const COLOURS = ["--chart-1", "--chart-2", "--chart-3", "--bad"];
const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 2 });

function values(list) {
  return list.map((each) => (each === null ? null : Number(each)));
}

function said(value, unit) {
  if (value === null || value === undefined) return "–";
  return unit === "$" ? "$" + number.format(value) : number.format(value) + (unit ? " " + unit : "");
}

function short(name) {
  return name.length > 11 ? name.slice(0, 10) + "…" : name;
}

// UTC: the day where days are counted, else the hour.
function moment(seconds, step) {
  const text = new Date(seconds * 1000).toISOString();
  return step >= 86_400 || text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16);
}

function axes(told) {
  const shared = { stroke: colour("--soft"), grid: { stroke: colour("--chart-grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  const x = told.names
    ? { ...shared, values: (_, at) => at.map((i) => short(told.names[i] ?? "")), space: 26, incrs: [1], grid: { show: false }, rotate: told.names.length > 5 ? -45 : 0, size: told.names.length > 5 ? 64 : 32 }
    : { ...shared, space: 76, size: 28, values: (_, at, __, ___, step) => at.map((each) => moment(each, step)) };
  const y = { ...shared, size: 64, values: (_, at) => at.map((each) => number.format(each)) };
  return [x, y];
}

function series(told, kind) {
  return told.series.map((each, i) => {
    const stroke = colour(each.colour ?? COLOURS[i % COLOURS.length]);
    const bars = kind === "bars" && !each.line;
    const points = kind === "points" && !each.line;
    return {
      label: each.label,
      stroke,
      width: points ? 0 : each.line ? 1.5 : bars ? 0 : 1.75,
      dash: each.line ? [6, 4] : undefined,
      fill: bars ? stroke : undefined,
      paths: bars ? uPlot.paths.bars({ size: [0.62, 46], align: 0 }) : points ? () => null : undefined,
      points: points || (!each.line && !bars && (told.x?.length ?? 0) < 3) ? { show: true, size: 5, fill: stroke } : { show: false },
      value: (_, value) => said(value, told.unit),
      spanGaps: false,
    };
  });
}

function options(element, told) {
  const kind = element.dataset.kind ?? "lines";
  const isTime = !told.names;
  const edge = (_, min, max) => (isTime ? (max - min < LEAST_SECONDS ? [max - LEAST_SECONDS, max] : [min, max]) : [-0.6, told.names.length - 0.4]);
  return {
    width: Math.max(200, element.clientWidth),
    height: Number(element.dataset.height ?? 220),
    scales: {
      x: { time: isTime, range: edge },
      y: { range: (_, min, max) => span(min, max, told.from_zero) },
    },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    axes: axes(told),
    series: [{ label: isTime ? "UTC" : "", value: isTime ? "{YYYY}-{MM}-{DD} {HH}:{mm}" : (_, v) => (v === null ? "–" : told.names[v]) }, ...series(told, kind)],
    cursor: { y: false, points: { size: 7 } },
    legend: { live: true },
  };
}

function span(min, max, fromZero) {
  if (min === null || max === null || min === undefined) return [0, 1];
  if (fromZero) return [0, max > 0 ? max * 1.08 : 1];
  const room = max > min ? (max - min) * 0.08 : Math.max(1, Math.abs(max) * 0.001);
  return [min - room, max + room];
}

function summary(told) {
  const first = told.series[0];
  const known = values(first?.values ?? []).filter((each) => each !== null);
  if (known.length === 0) return "nothing to draw yet";
  return `${first.label}: last ${said(known.at(-1), told.unit)}, lowest ${said(Math.min(...known), told.unit)}, highest ${said(Math.max(...known), told.unit)}`;
}

async function draw(element) {
  let told;
  try {
    const answer = await fetch(element.dataset.chart, { headers: { Accept: "application/json" }, redirect: "error" });
    if (!answer.ok) throw new Error(answer.status);
    told = await answer.json();
  } catch {
    if (!drawn.has(element)) element.textContent = "The chart cannot be read now.";
    return;
  }
  plot(element, told);
}

function plot(element, told) {
  drawn.get(element)?.chart?.destroy();
  element.replaceChildren();
  element.setAttribute("aria-label", `${element.dataset.title ?? "Chart"}. ${summary(told)}`);
  const x = told.names ? told.names.map((_, i) => i) : values(told.x);
  if (x.length === 0) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = told.empty ?? "Nothing to draw yet.";
    element.append(empty);
    drawn.set(element, { told, chart: null });
    return;
  }
  const chart = new uPlot(options(element, told), [x, ...told.series.map((each) => values(each.values))], element);
  drawn.set(element, { told, chart });
}

const charts = [...document.querySelectorAll("[data-chart]")];
const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const chart = drawn.get(target)?.chart;
    if (chart && Math.abs(chart.width - target.clientWidth) > 1) chart.setSize({ width: Math.max(200, target.clientWidth), height: chart.height });
  }
});
for (const each of charts) {
  draw(each);
  sizes.observe(each);
}
document.addEventListener("console:theme", () => charts.forEach((each) => drawn.has(each) && plot(each, drawn.get(each).told)));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("console:theme")));
if (charts.length > 0) {
  let at = Date.now();
  document.body.addEventListener("console:refresh", () => {
    if (Date.now() - at < AGAIN_MS) return;
    at = Date.now();
    charts.forEach(draw);
  });
}
