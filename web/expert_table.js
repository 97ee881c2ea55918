// The hottest experts as a table: what the heat map shows, for those who would rather read. And the
// choice of a node whose experts the heat map frames.

import { $, cell, make, put, reconcile } from './dom.js';
import { count } from './format.js';
import { drawHeat, layersShown } from './heat.js';
import { choose, legend, placedNodes, whereIs } from './placement.js';

const SHOWN = 50;

function hottest() {
  const all = layersShown().flatMap((l) => l.experts.map((rows, expert) => ({
    layer: l.layer, expert, rows, ratio: l.mean > 0 ? rows / l.mean : 0,
  })));
  return all.sort((a, b) => b.ratio - a.ratio).slice(0, SHOWN);
}

/// Draws the table where it is open, and keeps the list of nodes to choose from.
export function showExpertTable() {
  const nodes = placedNodes();
  $('choice').hidden = nodes.length === 0;
  reconcile($('chosen'), [[0, 'no node'], ...nodes], ([id]) => id,
    ([id]) => make('option', { value: String(id) }), (option, [, name]) => put(option, name));
  put('map-legend', legend());
  if (!$('as-table').open) return;
  const rows = hottest().map((e) => {
    const row = make('tr');
    row.append(make('th', { scope: 'row' }, `${e.layer}:${e.expert}`));
    cell(row, count(e.rows), 'num');
    cell(row, `${e.ratio.toFixed(2)}×`, 'num');
    cell(row, whereIs(e.layer, e.expert) || '–', 'detail');
    return row;
  });
  $('table-rows').replaceChildren(...rows);
}

export function beginExpertTable() {
  $('as-table').addEventListener('toggle', showExpertTable);
  $('chosen').addEventListener('change', () => {
    choose(Number($('chosen').value) || null);
    drawHeat();
  });
}
