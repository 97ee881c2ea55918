// Where the copies of experts are: GET /api/v1/placement, asked for when its epoch has changed.
// Remembers for a while which experts have moved, and tells how much of the load each node has.

import { plural } from './format.js';

const MOVED_SHOWN_MS = 15000;

let placement = null;         // {epoch, nodes, at: Map(layer -> experts -> [{node, share}])}
let usual = 0;                // copies of most experts
let names = new Map();        // of nodes
let here = [];                // nodes that can serve now
const moved = new Map();        // "layer:expert" -> when
let chosen = null;            // a node whose experts are framed

const signature = (copies) => copies.map((c) => c.node).sort((a, b) => a - b).join(' ');

function mostCommon(layers) {
  const seen = new Map();
  for (const l of layers) {
    for (const copies of l.experts) seen.set(copies.length, (seen.get(copies.length) || 0) + 1);
  }
  return [...seen].reduce((a, b) => (b[1] > a[1] ? b : a), [0, 0])[0];
}

/// Gives what has moved since the placement before: {epoch, experts}, or null.
export function takePlacement(said) {
  const at = new Map(said.layers.map((l) => [l.layer, l.experts]));
  let changed = 0;
  if (placement) {
    for (const l of said.layers) {
      const before = placement.at.get(l.layer) || [];
      l.experts.forEach((copies, e) => {
        if (before[e] && signature(before[e]) !== signature(copies)) {
          moved.set(`${l.layer}:${e}`, performance.now());
          changed += 1;
        }
      });
    }
  }
  placement = { epoch: said.epoch, at };
  names = new Map(said.nodes.map((n) => [n.id, n.name]));
  here = said.nodes.filter((n) => n.state !== 'absent').map((n) => n.id);
  usual = mostCommon(said.layers);
  return changed ? { epoch: said.epoch, experts: changed } : null;
}

export const placementEpoch = () => (placement ? placement.epoch : null);
export const placedNodes = () => [...names];
export const choose = (node) => { chosen = node; };

const nameOf = (node) => names.get(node) || `node ${node}`;

/// "on expert-1 (60%), expert-3 (40%)"
export function whereIs(layer, expert) {
  const copies = placement && placement.at.get(layer) && placement.at.get(layer)[expert];
  if (!copies) return '';
  if (copies.length === 0) return 'no copy';
  const each = copies.map((c) =>
    nameOf(c.node) + (copies.length > 1 ? ` (${Math.round(100 * c.share)}%)` : ''));
  return `on ${each.join(', ')}`;
}

/// {frame: 'moved' | 'none' | 'chosen' | null, extra: copies beyond the usual number}
export function marksOf(layer, expert) {
  const copies = placement && placement.at.get(layer) && placement.at.get(layer)[expert];
  if (!copies) return null;
  const when = moved.get(`${layer}:${expert}`);
  const isMoved = when !== undefined && performance.now() - when < MOVED_SHOWN_MS;
  if (when !== undefined && !isMoved) moved.delete(`${layer}:${expert}`);
  const isChosen = chosen !== null && copies.some((c) => c.node === chosen);
  const frame = copies.length === 0 ? 'none' : isMoved ? 'moved' : isChosen ? 'chosen' : null;
  return { frame, extra: copies.length - usual };
}

/// node -> rows it has computed of these layers, by the shares of its copies.
export function loadOfNodes(layers) {
  const rows = new Map(here.map((n) => [n, 0]));
  if (!placement) return rows;
  for (const l of layers) {
    const experts = placement.at.get(l.layer);
    if (!experts) continue;
    l.experts.forEach((n, e) => {
      for (const c of experts[e] || []) rows.set(c.node, (rows.get(c.node) || 0) + n * c.share);
    });
  }
  return rows;
}

/// One sentence on what the marks mean; empty while there is no placement.
export function legend() {
  if (!placement) return '';
  return `Epoch ${placement.epoch}: most experts have ${plural(usual, 'copy', 'copies')}. ` +
    'A dot marks more, a red frame none, an amber frame a move within 15 s.';
}
