// What an operator can do to a node. Each asks first and says what will happen; refusals show in
// the dialog, in the words of the API.

import { $, make, put } from './dom.js';
import { plural } from './format.js';
import { Refused, ask } from './server.js';

let wanted = null;  // of the dialog that is open
let done = () => {};

const named = (n) => `node ${n.id} (${n.name})`;
const work = (n) => [
  n.experts && plural(n.experts, 'expert'),
  n.sequences && plural(n.sequences, 'sequence'),
  n.requests && plural(n.requests, 'request'),
].filter(Boolean);
const list = (items) => (items.length > 1
  ? `${items.slice(0, -1).join(', ')} and ${items[items.length - 1]}` : items[0] || 'no work');

export const ACTIONS = {
  cordon: {
    label: 'Cordon',
    title: (n) => `Cordon ${named(n)}?`,
    says: (n) => ['It takes no new work: no expert is placed there, no request begins there.',
                  `What it has stays: ${list(work(n))}.`, 'Uncordon takes this back.'],
    how: (n) => ['POST', `/api/v1/nodes/${n.id}/cordon`],
  },
  uncordon: {
    label: 'Uncordon',
    title: (n) => `Uncordon ${named(n)}?`,
    says: () => ['It takes new work again. Experts may move there.'],
    how: (n) => ['POST', `/api/v1/nodes/${n.id}/uncordon`],
  },
  drain: {
    label: 'Drain',
    title: (n) => `Drain ${named(n)}?`,
    says: (n) => [`Other nodes take over what it has: ${list(work(n))}. Requests go on elsewhere.`,
                  'It takes no new work, and is drained when it is empty.',
                  'At the deadline the drain fails if an expert is on this node alone.',
                  'Cancel drain takes this back while it runs.'],
    how: (n) => ['POST', `/api/v1/nodes/${n.id}/drain`],
    asksDrain: true,
  },
  undrain: {
    label: 'Cancel drain',
    title: (n) => `Cancel the drain of ${named(n)}?`,
    says: () => ['It takes work again. What has moved away stays where it is now.'],
    how: (n) => ['DELETE', `/api/v1/nodes/${n.id}/drain`],
  },
  remove: {
    label: 'Remove',
    title: (n) => `Remove ${named(n)} for good?`,
    says: (n) => ['Its certificate is worth nothing from then on; to come back it has to join ' +
                  'with a new token.',
                  n.state === 'absent' ? 'It is not here now, so nothing moves.'
                    : `What it has moves to other nodes first: ${list(work(n))}.`],
    how: (n) => ['DELETE', `/api/v1/nodes/${n.id}`],
    isGrave: true,
  },
};

/// What can be done to a node in that state, the least grave first.
export function actionsFor(node) {
  switch (node.state) {
    case 'alive':
    case 'suspect': return ['cordon', 'drain'];
    case 'cordoned': return ['uncordon', 'drain'];
    case 'draining': return ['undrain'];
    case 'drained': return ['uncordon', 'remove'];
    case 'absent': return ['remove'];
    default: return [];
  }
}

/// Opens the dialog. `what`: {title, says: [text], label, isGrave, asksDrain, run(fields)}; run
/// gives what to tell when it is done.
export function confirm(what) {
  wanted = what;
  put('confirm-title', what.title);
  $('confirm-says').replaceChildren(...what.says.map((text) => make('li', {}, text)));
  $('confirm-drain').hidden = !what.asksDrain;
  $('confirm-deadline').disabled = !what.asksDrain;
  put('confirm-yes', what.label);
  $('confirm-yes').classList.toggle('grave', Boolean(what.isGrave));
  $('confirm-yes').disabled = false;
  $('confirm-error').hidden = true;
  $('confirm').showModal();
  $('confirm-no').focus();
}

export function confirmAction(name, node) {
  const action = ACTIONS[name];
  confirm({
    title: action.title(node),
    says: action.says(node),
    label: action.label,
    isGrave: action.isGrave,
    asksDrain: action.asksDrain,
    run: async (fields) => {
      const [method, path] = action.how(node);
      const said = await ask('cluster', path, { method, body: action.asksDrain ? fields : undefined });
      const number = said.id ? ` (operation ${said.id}: ${said.state})` : '';
      return `${action.label}, ${named(node)}: asked for${number}.`;
    },
  });
}

export const tell = (text) => put('told', text);

async function carryOut(event) {
  event.preventDefault();
  const what = wanted;
  $('confirm-yes').disabled = true;
  $('confirm-error').hidden = true;
  try {
    const fields = { deadline_s: Math.round(60 * Number($('confirm-deadline').value)),
                     force: $('confirm-force').checked };
    const said = await what.run(fields);
    $('confirm').close();
    tell(said);
    done();
  } catch (error) {
    const text = error instanceof Refused ? error.message : 'The server did not answer in time.';
    put('confirm-error', text);
    $('confirm-error').hidden = false;
  } finally {
    $('confirm-yes').disabled = false;
  }
}

/// `changed` is called after each thing that was done.
export function beginActions(changed) {
  done = changed;
  $('confirm-form').addEventListener('submit', carryOut);
  $('confirm-no').addEventListener('click', () => $('confirm').close());
}
