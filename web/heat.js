// The heat map: rows by layer and expert, of all time or of the last minute, drawn on a canvas. In
// a cluster it also shows where the copies are (placement.js).

import { $, put } from './dom.js';
import { plural } from './format.js';
import { colour, ink, isDark, shade } from './colour.js';
import { marksOf, whereIs } from './placement.js';

const MINUTE_MS = 60000;

let snapshots = [];      // {at, layers}: of the last minute
let onlyMinute = false;
let heat = null;         // what is drawn
let cursor = null;       // {row, column}

/// Rows by layer and expert that are to be shown: all, or those of the last minute.
function rowsShown() {
  const now = snapshots[snapshots.length - 1].layers;
  if (!onlyMinute) return now;
  const then = snapshots[0].layers;
  return now.map((l, i) => ({
    layer: l.layer, experts: l.experts.map((n, e) => n - then[i].experts[e]),
  }));
}

/// Of each layer: {layer, experts, sum, mean, most}.
export function layersShown() {
  if (snapshots.length === 0) return [];
  return rowsShown().map((l) => {
    const sum = l.experts.reduce((a, b) => a + b, 0);
    return { ...l, sum, mean: sum / l.experts.length, most: Math.max(...l.experts) };
  });
}

export function forgetRows() { snapshots = []; }

/// Takes {layers: [{layer, experts: [rows]}]}.
export function showExperts(said) {
  const at = performance.now();
  const before = snapshots[snapshots.length - 1];
  const isOther = before && (before.layers.length !== said.layers.length ||
    before.layers.some((l, i) => l.experts.some((n, e) => n > said.layers[i].experts[e])));
  if (isOther) snapshots = [];  // what counts has begun anew
  snapshots.push({ at, layers: said.layers });
  while (snapshots.length > 2 && at - snapshots[1].at > MINUTE_MS) snapshots.shift();
  drawHeat();
}

export function drawHeat() {
  if (snapshots.length === 0) return;
  const layers = layersShown();
  const hasMap = layers.length > 0;
  $('map').hidden = !hasMap;
  $('experts-empty').hidden = hasMap;
  if (!hasMap) {
    put('experts-empty', 'This model has no routed experts: every layer is dense.');
    return;
  }
  const ratio = (l) => (l.mean > 0 ? l.most / l.mean : 0);
  const hot = layers.reduce((a, b) => (ratio(b) > ratio(a) ? b : a));
  const top = Math.max(2, Math.ceil(ratio(hot)));
  put('hottest', ratio(hot) > 0
    ? `Hottest: layer ${hot.layer}, expert ${hot.experts.indexOf(hot.most)}, ` +
      `${ratio(hot).toFixed(1)}× its layer’s mean`
    : 'No rows yet: cells colour as tokens pass through experts');
  put('scale-top', `${top}×`);
  paint(layers, top);
  drawScale(top);
  if (cursor) put('readout', textOf(cursor.row, cursor.column).join(': '));
}

function measure(layers) {
  const columns = layers[0].experts.length;
  const left = 30, right = 46, above = 16;
  const w = Math.max(4, ($('map').clientWidth - left - right) / columns);
  const h = Math.max(9, Math.min(22, 460 / layers.length));
  return { layers, columns, left, right, above, w, h };
}

function canvasOf(map) {
  const canvas = $('heat');
  const dense = window.devicePixelRatio || 1;
  const wide = Math.floor(map.left + map.right + map.w * map.columns);
  const high = Math.ceil(map.above + map.h * map.layers.length);
  canvas.width = Math.round(wide * dense);
  canvas.height = Math.round(high * dense);
  canvas.style.width = `${wide}px`;
  canvas.style.height = `${high}px`;
  const g = canvas.getContext('2d');
  g.scale(dense, dense);
  g.font = '11px system-ui, "DejaVu Sans", sans-serif';
  g.textBaseline = 'middle';
  return g;
}

function paint(layers, top) {
  heat = measure(layers);
  const { left, above, w, h, columns } = heat;
  const g = canvasOf(heat);
  const gap = w >= 7 ? 1 : w >= 5 ? 0.5 : 0;
  const high = h - (h >= 9 ? 1 : gap);
  layers.forEach((l, r) => l.experts.forEach((n, c) => {
    g.fillStyle = colour(l.mean > 0 ? shade(n / l.mean, top) : 0);
    g.fillRect(left + c * w, above + r * h, w - gap, high);
  }));
  drawMarks(g, w - gap, high);
  g.fillStyle = ink('--soft-ink');
  const every = Math.ceil(13 / h);
  layers.forEach((l, r) => {
    if (r % every) return;
    const y = above + r * h + h / 2;
    g.textAlign = 'right';
    g.fillText(String(l.layer), left - 8, y);
    g.textAlign = 'left';
    if (l.mean > 0) g.fillText(`${(l.most / l.mean).toFixed(1)}×`, left + w * columns + 8, y);
  });
  g.textAlign = 'center';
  const step = [1, 2, 4, 8, 16, 32, 64].find((n) => n * w >= 34) || 64;
  for (let c = 0; c < columns; c += step) g.fillText(String(c), left + c * w + w / 2, 6);
  if (!cursor) return;
  g.strokeStyle = ink('--ink');
  g.lineWidth = 2;
  g.strokeRect(left + cursor.column * w, above + cursor.row * h, w - gap, h - 1);
}

/// What placement.js has to say of cells, drawn over them.
function drawMarks(g, wide, high) {
  const { layers, left, above, w, h } = heat;
  const styles = { moved: ink('--warn'), chosen: ink('--ink'), none: ink('--bad') };
  layers.forEach((l, r) => l.experts.forEach((_, c) => {
    const marks = marksOf(l.layer, c);
    if (!marks) return;
    const x = left + c * w, y = above + r * h;
    if (marks.frame) {
      g.strokeStyle = styles[marks.frame];
      g.lineWidth = marks.frame === 'chosen' ? 1 : 2;
      g.strokeRect(x + 1, y + 1, wide - 2, high - 2);
    }
    if (marks.extra > 0) {
      g.fillStyle = ink('--card');
      g.beginPath();
      g.arc(x + wide / 2, y + high / 2, Math.min(wide, high) / 4, 0, 2 * Math.PI);
      g.fill();
      g.strokeStyle = styles.chosen;
      g.lineWidth = 1;
      g.stroke();
    }
  }));
}

function drawScale(top) {
  const g = $('scale').getContext('2d');
  const { width: wide, height: high } = g.canvas;
  g.clearRect(0, 0, wide, high);
  for (let x = 0; x < wide; x += 1) {
    g.fillStyle = colour(x / (wide - 1));
    g.fillRect(x, 0, 1, 10);
  }
  const mean = Math.round(shade(1, top) * wide);
  g.fillStyle = ink('--soft-ink');
  g.fillRect(mean, 0, 1, 14);
  g.font = '11px system-ui, "DejaVu Sans", sans-serif';
  g.textAlign = 'center';
  g.fillText('mean', mean, high - 2);
}

function textOf(row, column) {
  const l = heat.layers[row];
  const n = l.experts[column];
  const ratio = l.mean > 0 ? `, ${(n / l.mean).toFixed(2)}× the mean` : '';
  const where = whereIs(l.layer, column);
  return [`Layer ${l.layer}, expert ${column}`,
          `${plural(n, 'row')}${ratio}${where ? `; ${where}` : ''}`];
}

function cellAt(event) {
  const box = $('heat').getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left - heat.left) / heat.w);
  const row = Math.floor((event.clientY - box.top - heat.above) / heat.h);
  const isIn = row >= 0 && row < heat.layers.length && column >= 0 && column < heat.columns;
  return isIn ? { row, column } : null;
}

function pointAt(event) {
  const at = heat && cellAt(event);
  $('tip').hidden = !at;
  if (!at) return;
  put('tip', textOf(at.row, at.column).join('\n'));
  const box = $('map').getBoundingClientRect();
  const tip = $('tip').getBoundingClientRect();
  const x = Math.min(event.clientX - box.left + 14, box.width - tip.width);
  $('tip').style.left = `${Math.max(0, x)}px`;
  $('tip').style.top = `${event.clientY - box.top + 18}px`;
}

function moveCursor(event) {
  const by = {
    ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0],
    Home: [0, -Infinity], End: [0, Infinity], PageUp: [-Infinity, 0], PageDown: [Infinity, 0],
  }[event.key];
  if (!by || !heat) return;
  event.preventDefault();
  const clamp = (v, most) => Math.min(Math.max(v, 0), most);
  cursor = cursor
    ? { row: clamp(cursor.row + by[0], heat.layers.length - 1),
        column: clamp(cursor.column + by[1], heat.columns - 1) }
    : { row: 0, column: 0 };
  drawHeat();
}

function forgetCursor() {
  cursor = null;
  put('readout', '\u00a0');
  drawHeat();
}

function showSpan(minute) {
  onlyMinute = minute;
  $('span-all').setAttribute('aria-pressed', String(!minute));
  $('span-minute').setAttribute('aria-pressed', String(minute));
  drawHeat();
}

export function beginHeat() {
  const canvas = $('heat');
  canvas.addEventListener('pointermove', pointAt);
  canvas.addEventListener('pointerleave', () => { $('tip').hidden = true; });
  canvas.addEventListener('keydown', moveCursor);
  canvas.addEventListener('focus', () => {
    if (!cursor && heat && canvas.matches(':focus-visible')) {
      cursor = { row: 0, column: 0 };
      drawHeat();
    }
  });
  canvas.addEventListener('blur', forgetCursor);
  $('span-all').addEventListener('click', () => showSpan(false));
  $('span-minute').addEventListener('click', () => showSpan(true));
  new ResizeObserver(drawHeat).observe($('map'));
  isDark.addEventListener('change', drawHeat);
}
