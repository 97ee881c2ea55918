// Requests under way: those of this server, or once an operator has signed in, those of all gateways
// of the cluster, each with a button that ends it. Ending asks first.

import { confirm } from './actions.js';
import { $, make, put, reconcile } from './dom.js';
import { count, duration, plural } from './format.js';
import { ask } from './server.js';

const ROWS_SHOWN = 100;

let isOfCluster = false;
let isAsked = false;

function confirmCancel(id, tokens) {
  confirm({
    title: `Cancel request ${id}?`,
    says: [`Its client is told that an operator cancelled it, after ${plural(tokens, 'token')}.`,
           'It cannot be taken up again; what it held is free at once.'],
    label: 'Cancel it',
    isGrave: true,
    run: async () => {
      const said = await ask('cluster', `/api/v1/requests/${id}`, { method: 'DELETE' });
      return `Request ${said.id}: ${said.state}.`;
    },
  });
}

function createRow() {
  const row = make('tr');
  const names = ['', '', 'extra', 'extra', 'num extra', 'num', 'num', ''];
  row.append(...names.map((className) => make('td', { className })));
  row.cells[0].append(make('code'));
  row.cells[1].append(make('span', { className: 'stage' }));
  return row;
}

function updateRow(row, r) {
  const [id, state, route, key, prompt, generated, age, action] = row.cells;
  id.firstChild.title = r.request_id || r.id;
  put(id.firstChild, r.id);
  state.firstChild.dataset.stage = r.state;
  put(state.firstChild, r.state);
  put(route, r.route + (r.stream ? ', streamed' : ''));
  put(key, r.key || '–');
  put(prompt, count(r.prompt_tokens));
  put(generated, count(r.generated_tokens));
  put(age, r.age_s < 100 ? `${Math.floor(r.age_s)} s` : duration(r.age_s));
  if (!isOfCluster) {
    action.replaceChildren();
    return;
  }
  if (!action.firstChild) {
    const button = make('button', { type: 'button', className: 'quiet',
                                    aria: { label: `Cancel request ${r.id}` } }, 'Cancel');
    button.addEventListener('click', () => confirmCancel(row.dataset.key, Number(row.dataset.tokens)));
    action.append(button);
  }
  row.dataset.tokens = r.generated_tokens;
}

function show(live, more, silent) {
  reconcile($('live-rows'), live.slice(0, ROWS_SHOWN), (r) => r.id, createRow, updateRow);
  $('live').hidden = live.length === 0;
  $('live-empty').hidden = live.length > 0;
  const beyond = more + Math.max(0, live.length - ROWS_SHOWN);
  const notes = [beyond > 0 && `the oldest ${ROWS_SHOWN}, and ${count(beyond)} more`,
                 silent.length && `no answer from gateway ${silent.join(', ')}`];
  put('live-note', notes.filter(Boolean).join('; '));
}

/// Of this server, as long as nobody has signed in to its cluster.
export function showOwnRequests(live) {
  if (!isOfCluster) show(live, 0, []);
}

/// Of the cluster. Not waited for, since a gateway that is gone does not answer.
export async function pollRequests() {
  if (isAsked) return;
  isAsked = true;
  try {
    const said = await ask('cluster', '/api/v1/requests');
    isOfCluster = true;
    show(said.items, said.more, said.silent);
  } catch {
    // Whoever asks for the cluster's state tells what is wrong.
  } finally {
    isAsked = false;
  }
}

/// Nobody is signed in any more.
export function forgetRequests() { isOfCluster = false; }
