// The cluster, as its coordinator tells it: asked every second, the parts that change seldom only
// where the answer says that they have changed.

import { $, cell, make, put } from './dom.js';
import { clock, count, plural } from './format.js';
import { drawHeat, layersShown, showExperts } from './heat.js';
import { loadOfNodes, placementEpoch, takePlacement } from './placement.js';
import { showNodes } from './nodes.js';
import { pollEvents } from './events.js';
import { pollPlans } from './plans.js';
import { pollRequests } from './requests.js';
import { addHealth } from './timeline.js';
import { showExpertTable } from './expert_table.js';
import { ask } from './server.js';

const OPERATIONS_SHOWN = 12;

let polls = 0;
let plansOf = 0;  // the revision that they were asked for at

/// whole; reduced: something is missing, and every expert serves; recovering: not even that.
function healthOf(c) {
  if (c.state === 'healthy') return 'whole';
  const p = c.placement;
  const isServing = c.ready && p.without_copy === 0 && p.loads_open === 0 && p.loads_left === 0;
  return isServing && !c.nodes.some((n) => n.state === 'suspect') ? 'reduced' : 'recovering';
}

const WORDS = { whole: 'Healthy', reduced: 'Reduced', recovering: 'Recovering' };

function showSummary(c, health) {
  $('cluster-state').dataset.state = health;
  put('cluster-word', WORDS[health]);
  put('cluster-name', c.name || c.cluster);
  const also = health === 'reduced' ? 'Every expert serves.' : '';
  put('cluster-reason', c.reason ? `${c.reason}. ${also}` : 'All nodes are here, every expert ' +
    'has its copies.');
  const p = c.placement;
  put('placed', count(p.experts));
  put('placed-note', `${plural(p.copies_least, 'copy', 'copies')} of each at least, ` +
    `${c.copies_wanted} wanted; epoch ${p.epoch}`);
  const open = p.loads_open + p.loads_left;
  put('moving', count(Math.max(p.loads_open, p.loads_left)));
  put('moving-note', open ? 'copies of experts are being loaded' : 'no copy is being loaded');
  const alive = c.nodes.filter((n) => n.state !== 'removed' && n.state !== 'absent');
  const sum = (field) => alive.reduce((all, n) => all + n[field], 0);
  put('sequences', count(sum('sequences')));
  put('sequences-note', `${plural(sum('pages_used'), 'page')} of keys and values, ` +
    `${plural(sum('rows_in_flight'), 'row')} between attention and experts`);
}

function showOperations(operations, nodes) {
  const names = new Map(nodes.map((n) => [n.id, n.name]));
  const newest = [...operations].reverse().slice(0, OPERATIONS_SHOWN);
  const rows = newest.map((o) => {
    const row = make('tr');
    row.append(make('th', { scope: 'row' }, String(o.id)));
    cell(row, o.kind);
    cell(row, names.get(o.node) || (o.node ? `node ${o.node}` : '–'));
    row.insertCell().append(
      make('span', { className: 'stage', dataset: { stage: o.state } }, o.state));
    cell(row, o.created ? clock(o.created) : '–', 'extra');
    cell(row, o.detail, 'detail');
    return row;
  });
  $('operations-rows').replaceChildren(...rows);
  $('operations').hidden = newest.length === 0;
  $('operations-empty').hidden = newest.length > 0;
}

function loadsNow() {
  const rows = loadOfNodes(layersShown());
  const values = [...rows.values()];
  const sum = values.reduce((a, b) => a + b, 0);
  return { rows, mean: values.length ? sum / values.length : 0, most: Math.max(0, ...values) };
}

/// Asked for when the map has changed.
async function pollPlacement(epoch) {
  if (epoch === 0 || epoch === placementEpoch()) return;
  const moved = takePlacement(await ask('cluster', '/api/v1/placement'));
  if (moved) put('moved-note', `${plural(moved.experts, 'expert')} moved in epoch ${moved.epoch}`);
  drawHeat();
}

/// One look; throws what ask() throws.
export async function pollCluster() {
  const c = await ask('cluster', '/api/v1/cluster');
  const health = healthOf(c);
  showSummary(c, health);
  addHealth(health);
  showNodes(c.nodes, loadsNow());
  showOperations(c.operations, c.nodes);
  pollRequests();
  await pollEvents(c.revision);
  await pollPlacement(c.placement.epoch);
  if (polls % 2 === 0) {
    showExperts(await ask('cluster', '/api/v1/load'));
    showExpertTable();
  }
  // Plans begin and end with events.
  if (polls % 2 === 0 || c.revision !== plansOf) await pollPlans();
  plansOf = c.revision;
  polls += 1;
  return c;
}

/// The coordinator cannot be asked now.
export function clusterUnseen(text) {
  $('cluster-state').dataset.state = 'unseen';
  put('cluster-word', 'Not seen');
  put('cluster-reason', text);
  addHealth('unseen');
}
