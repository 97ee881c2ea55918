// Ten minutes of history, kept in this page alone: tokens a second, latency, and how the cluster
// fared, under one time axis.

import { $, make, put } from './dom.js';
import { clock, duration, milliseconds, rate } from './format.js';

const SPAN_MS = 600000;
const SPAN_LEAST_MS = 60000;
const begun = Date.now();
const WIDE = 600;
const WINDOW_MS = 10000;   // of which latencies are told
const MARKS_MAX = 60;
const RECOVERIES_SHOWN = 8;
const RECOVERY_MS = 60000;  // a placement after that has another reason
const SVG = 'http://www.w3.org/2000/svg';

/// How much is shown: the time since the page was opened, at least a minute.
const spanShown = () => Math.min(SPAN_MS, Math.max(SPAN_LEAST_MS, Date.now() - begun));
const place = (at) => WIDE * (1 - (Date.now() - at) / spanShown());

/// The newest values of something, one a second, for ten minutes.
class Lane {
  constructor(id, text) {
    this.id = id;
    this.text = text;
    this.points = [];  // {at, value}: null where nothing was seen
  }

  add(value) {
    const at = Date.now();
    this.points.push({ at, value });
    while (this.points.length && at - this.points[0].at > SPAN_MS) this.points.shift();
  }

  draw(high) {
    const seen = this.points.filter((p) => p.value !== null);
    const top = Math.max(...seen.map((p) => p.value), 1e-9);
    let line = '';
    let last = null;
    for (const p of this.points) {
      const x = place(p.at).toFixed(1);
      const isNext = last !== null && p.at - last < 5000;
      last = p.value === null ? null : p.at;
      if (p.value === null) continue;
      line += `${isNext ? 'L' : 'M'}${x} ${(high - 1 - (p.value / top) * (high - 4)).toFixed(1)}`;
    }
    $(`${this.id}-line`).setAttribute('d', line);
    const newest = seen.length ? seen[seen.length - 1].value : null;
    put(`${this.id}-now`, newest === null ? '–' : this.text(newest));
    put(`${this.id}-top`, seen.length ? this.text(top) : '');
    $(`${this.id}-plot`).setAttribute('aria-label', newest === null
      ? 'No values in the last ten minutes'
      : `Now ${this.text(newest)}, at most ${this.text(top)} in the last ten minutes`);
  }
}

// ---------------------------------------------------------------- latency, of /metrics

/// [[upper bound, count], ...] of a histogram, all its series added up.
function buckets(text, name) {
  const sums = new Map();
  for (const line of text.split('\n')) {
    if (!line.startsWith(`${name}_bucket{`)) continue;
    const bound = /le="([^"]+)"/.exec(line);
    if (!bound) continue;
    const upper = bound[1] === '+Inf' ? Infinity : Number(bound[1]);
    sums.set(upper, (sums.get(upper) || 0) + Number(line.slice(line.lastIndexOf(' ') + 1)));
  }
  return [...sums].sort((a, b) => a[0] - b[0]);
}

/// The value below which that share of what came between two looks lies, or null where none came.
export function quantileBetween(before, now, share) {
  const came = now.map(([upper, n], i) => [upper, n - (before[i] ? before[i][1] : 0)]);
  const all = came.length ? came[came.length - 1][1] : 0;
  if (all <= 0) return null;
  const wanted = share * all;
  let lower = 0, below = 0;
  for (const [upper, n] of came) {
    if (n >= wanted) {
      if (upper === Infinity) return lower;
      return lower + (upper - lower) * ((wanted - below) / Math.max(n - below, 1e-9));
    }
    lower = upper;
    below = n;
  }
  return lower;
}

let looks = [];  // {at, buckets}

function latencyOf(text) {
  const at = performance.now();
  const now = buckets(text, 'atoll_inter_token_seconds');
  const newest = looks[looks.length - 1];
  const hasBegunAnew = newest && now.some(([, n], i) => newest.buckets[i] && n < newest.buckets[i][1]);
  if (hasBegunAnew) looks = [];
  looks.push({ at, buckets: now });
  while (looks.length > 2 && at - looks[1].at > WINDOW_MS) looks.shift();
  const before = looks[0].buckets;
  return [quantileBetween(before, now, 0.5), quantileBetween(before, now, 0.99)];
}

// ---------------------------------------------------------------- the cluster

const states = [];  // {at, state}: whole, reduced, recovering or unseen; one for each change
const marks = [];   // {at, kind, text}
let deaths = [];    // {at, text}: of nodes, since when no expert is known to be served again

function drawStates() {
  const strip = $('health-strip');
  const x = (at) => Math.max(0, place(at));
  const rectangles = states.map((s, i) => {
    const end = i + 1 < states.length ? x(states[i + 1].at) : WIDE;
    const r = document.createElementNS(SVG, 'rect');
    r.setAttribute('x', x(s.at).toFixed(1));
    r.setAttribute('y', '14');
    r.setAttribute('width', Math.max(0.5, end - x(s.at)).toFixed(1));
    r.setAttribute('height', '14');
    r.setAttribute('class', `health-${s.state}`);
    return r;
  });
  const lines = marks.filter((m) => place(m.at) >= 0).map((m) => {
    const line = document.createElementNS(SVG, 'path');
    line.setAttribute('d', `M${x(m.at).toFixed(1)} 2V32`);
    line.setAttribute('class', `mark mark-${m.kind}`);
    const title = document.createElementNS(SVG, 'title');
    title.textContent = m.text;
    line.append(title);
    return line;
  });
  strip.replaceChildren(...rectangles, ...lines);
}

/// Takes how the cluster is now.
export function addHealth(state) {
  const at = Date.now();
  const last = states[states.length - 1];
  if (!last || last.state !== state) states.push({ at, state });
  while (states.length > 1 && at - states[1].at > SPAN_MS) states.shift();
  put('health-now', state === 'unseen' ? 'not seen' : state);
  const since = duration((at - states[states.length - 1].at) / 1000);
  $('health-plot').setAttribute('aria-label', `The cluster is ${state}, for ${since}`);
  put('lanes-begin', `${duration(spanShown() / 1000)} ago`);
  drawStates();
}

/// By the times of the coordinator: how long after a death the placement without it was in force.
export function addRecovery(placedAt, text) {
  for (const death of deaths.filter((d) => d.at <= placedAt && placedAt - d.at < RECOVERY_MS)) {
    $('recoveries').prepend(make('li', {},
      make('time', { dateTime: new Date(death.at).toISOString() }, clock(death.at)),
      ` ${death.text}; ${milliseconds(placedAt - death.at)} later ${text}`));
  }
  deaths = deaths.filter((d) => d.at > placedAt);
  while ($('recoveries').children.length > RECOVERIES_SHOWN) $('recoveries').lastChild.remove();
  $('recoveries-empty').hidden = $('recoveries').children.length > 0;
}

/// A death, a node that joins: a line across the strip.
export function addMark(at, kind, text) {
  marks.push({ at, kind, text });
  if (marks.length > MARKS_MAX) marks.shift();
  if (kind === 'died') deaths.push({ at, text });
}

// ---------------------------------------------------------------- lanes

const tokens = new Lane('lane-tokens', (v) => `${rate(v)}/s`);
const middle = new Lane('lane-p50', (v) => milliseconds(1000 * v));
const slowest = new Lane('lane-p99', (v) => milliseconds(1000 * v));

let before = null;  // {at, generated}

export function addStatus(status, metricsText) {
  const at = performance.now();
  if (before && status.tokens.generated >= before.generated) {
    const passed = Math.max(at - before.at, 1) / 1000;
    tokens.add((status.tokens.generated - before.generated) / passed);
  }
  before = { at, generated: status.tokens.generated };
  put('lanes-begin', `${duration(spanShown() / 1000)} ago`);
  const [p50, p99] = latencyOf(metricsText);
  middle.add(p50);
  slowest.add(p99);
  tokens.draw(48);
  middle.draw(48);
  slowest.draw(48);
}
