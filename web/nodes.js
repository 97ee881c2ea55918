// The nodes of the cluster by role: state, load, what they hold, and what can be done to them.

import { $, make, put, reconcile, widen } from './dom.js';
import { bytes, count, duration, plural } from './format.js';
import { ACTIONS, actionsFor, confirmAction } from './actions.js';

const ROLES = ['coordinator', 'gateway', 'attention', 'expert'];
const SHOWN_MAX = 120;  // of a role
const RANK = { suspect: 0, absent: 1, draining: 2, cordoned: 3, drained: 4, alive: 5, removed: 6 };
const seen = new Map();  // card -> its node, as of the last answer

function createCard() {
  const card = make('li', { className: 'node' });
  card.append(
    make('div', { className: 'node-head' },
      make('span', { className: 'node-state', aria: { hidden: 'true' } }),
      make('strong', { className: 'node-name' }), make('span', { className: 'node-id muted' }),
      make('span', { className: 'node-said' })),
    make('p', { className: 'note muted node-note' }),
    make('div', { className: 'bar node-bar', aria: { hidden: 'true' } },
      make('span', { className: 'fill' })),
    make('p', { className: 'note node-load' }),
    make('p', { className: 'note muted node-facts' }),
    make('div', { className: 'node-actions', aria: { role: 'group' } }));
  card.querySelector('.node-actions').addEventListener('click', (event) => {
    const name = event.target.dataset && event.target.dataset.key;
    if (name) confirmAction(name, seen.get(card));
  });
  return card;
}

/// Of an expert node: its rows over the mean of all, of the span that the heat map shows.
function loadText(node, loads) {
  const rows = loads.rows.get(node.id);
  if (rows === undefined || !(loads.mean > 0)) return '';
  return `${(rows / loads.mean).toFixed(2)}× the mean load`;
}

function factsOf(node) {
  const facts = [];
  if (node.experts_placed || node.experts) {
    facts.push(plural(node.experts, 'expert'));
    if (node.experts_leaving) facts.push(`${count(node.experts_leaving)} leaving`);
    if (node.expert_bytes_max) {
      facts.push(`${bytes(node.expert_bytes)} of ${bytes(node.expert_bytes_max)}`);
    }
  }
  if (node.speed) {
    const now = node.speed_now ? `, ${count(node.speed_now)} now` : '';
    facts.push(`${count(node.speed)} rows/s${now}`);
  }
  if (node.device) facts.push(node.device);
  // A node that fails alone is its own domain.
  if (node.domain && node.domain !== `node ${node.id}`) facts.push(`in ${node.domain}`);
  if (node.roles.includes('gateway')) facts.push(plural(node.requests, 'request'));
  if (node.roles.includes('attention')) {
    facts.push(plural(node.sequences, 'sequence'), `${plural(node.pages_used, 'page')} of keys`,
               `${plural(node.rows_in_flight, 'row')} in flight`);
  }
  if (node.life && node.state !== 'absent') facts.push(`up ${duration(node.up_s)}`);
  return facts.join(' · ');
}

function updateCard(card, node, loads) {
  seen.set(card, node);
  card.dataset.state = node.state;
  put(card.querySelector('.node-name'), node.name);
  put(card.querySelector('.node-id'), `node ${node.id}`);
  put(card.querySelector('.node-said'), node.state);
  const note = card.querySelector('.node-note');
  put(note, node.note);
  note.hidden = !node.note;
  const text = loadText(node, loads);
  const bar = card.querySelector('.node-bar');
  bar.hidden = !text;
  const rows = loads.rows.get(node.id) || 0;
  widen(bar.firstElementChild, rows, loads.most);
  bar.classList.toggle('hot', loads.mean > 0 && rows > 1.5 * loads.mean);
  put(card.querySelector('.node-load'), text);
  card.querySelector('.node-load').hidden = !text;
  put(card.querySelector('.node-facts'), factsOf(node));
  const actions = card.querySelector('.node-actions');
  actions.setAttribute('aria-label', `Actions on ${node.name}`);
  reconcile(actions, node.roles.includes('coordinator') ? [] : actionsFor(node), (name) => name,
    (name) => make('button', { type: 'button', className: 'quiet' }, ACTIONS[name].label),
    (button, name) => button.setAttribute('aria-label',
      `${ACTIONS[name].label} ${node.name}, node ${node.id}`));
}

const roleOf = (node) => ROLES.find((r) => node.roles.includes(r)) || 'expert';

/// `loads`: {rows: Map(node -> rows), mean, most}.
export function showNodes(nodes, loads) {
  const here = nodes.filter((n) => n.state !== 'removed');
  const groups = ROLES.map((role) => ({ role, nodes: here.filter((n) => roleOf(n) === role) }))
    .filter((g) => g.nodes.length > 0);
  reconcile($('nodes'), groups, (g) => g.role,
    (g) => make('section', { aria: { labelledby: `role-${g.role}` } },
      make('h3', { id: `role-${g.role}` }),
      make('ul', { className: 'node-list', aria: { labelledby: `role-${g.role}` } })),
    (section, g) => {
      section.style.flexGrow = Math.min(g.nodes.length, 6);
      const away = g.nodes.filter((n) => n.state === 'absent' || n.state === 'suspect').length;
      put(section.querySelector('h3'),
        `${g.role} · ${g.nodes.length}${away ? `, ${away} not well` : ''}`);
      const shown = [...g.nodes].sort((a, b) =>
        (g.nodes.length > SHOWN_MAX ? RANK[a.state] - RANK[b.state] : 0) || a.id - b.id)
        .slice(0, SHOWN_MAX);
      reconcile(section.querySelector('ul'), shown, (n) => n.id, createCard,
        (card, n) => updateCard(card, n, loads));
    });
  for (const card of [...seen.keys()]) if (!card.isConnected) seen.delete(card);
  const beyond = groups.reduce((sum, g) => sum + Math.max(0, g.nodes.length - SHOWN_MAX), 0);
  put('nodes-beyond', beyond ? `${plural(beyond, 'node')} more; atoll node list shows all` : '');
}
