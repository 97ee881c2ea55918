// Plans for uneven loads: what each would do and why, what it did beside what was predicted, and
// the buttons that make, apply and cancel them. Changes ask first.

import { confirm, tell } from './actions.js';
import { $, make, put, reconcile } from './dom.js';
import { bytes, clock, plural } from './format.js';
import { Refused, ask } from './server.js';

const SHOWN = 6;
const STEPS_SHOWN = 128;
const POLICIES = {
  off: 'The policy is off: nothing is planned unless asked for.',
  advise: 'The policy advises: plans wait to be applied by hand.',
  auto: 'The policy applies its plans by itself.',
};

const seen = new Map();  // plans by their number
const ratio = (n) => (n === null ? 'unknown' : `${n.toFixed(2)}×`);
const copies = (p) => `${plural(p.copies_made, 'copy', 'copies')} made, ${p.copies_dropped} dropped`;

function figuresOf(p) {
  const said = [`Hottest node over the mean ${ratio(p.predicted.before.hottest_over_mean)}, ` +
    `${ratio(p.predicted.after.hottest_over_mean)} predicted`];
  if (p.measured.hottest_over_mean !== null) {
    said[0] += `, ${ratio(p.measured.hottest_over_mean)} measured`;
  }
  said.push(copies(p), `${bytes(p.bytes)} to move`);
  if (p.ended_unix_ms && p.measured.took_ms) {
    said.push(`took ${(p.measured.took_ms / 1000).toFixed(1)} s, ${bytes(p.measured.bytes)} moved`);
  }
  return said.join(' · ');
}

const PLAN_ACTIONS = {
  apply: {
    label: 'Apply',
    says: (p) => [`${copies(p)}, ${bytes(p.bytes)} moved. Requests go on meanwhile.`,
                  'A copy serves only when it is loaded and checked; Cancel takes it back until then.'],
    how: (p) => ['POST', `/api/v1/plans/${p.id}/apply`],
  },
  cancel: {
    label: 'Cancel',
    says: () => ['The placement is then as it was before the plan.'],
    how: (p) => ['DELETE', `/api/v1/plans/${p.id}`],
  },
};

const actionsFor = (p) => (p.state === 'advised' ? ['apply'] : p.state === 'applying' ? ['cancel'] : []);

function confirmPlan(name, p) {
  const action = PLAN_ACTIONS[name];
  confirm({
    title: `${action.label} plan ${p.id}?`,
    says: action.says(p),
    label: `${action.label} it`,
    run: async () => {
      const [method, path] = action.how(p);
      const said = await ask('cluster', path, { method });
      return `Plan ${p.id}: ${said.state}.`;
    },
  });
}

function confirmRebalance() {
  confirm({
    title: 'Rebalance now?',
    says: ['Copies of experts are made, moved and dropped so that all nodes finish together under ' +
             'the load of the moment. Requests go on meanwhile.',
           'What was pinned stays. Plan it first to see what would move.'],
    label: 'Rebalance',
    run: async () => {
      const said = await ask('cluster', '/api/v1/placement/rebalance',
        { method: 'POST', body: { dry_run: false } });
      return `Plan ${said.id}: ${said.state}. ${said.reason}`;
    },
  });
}

async function planIt() {
  $('plan-dry').disabled = true;
  try {
    const said = await ask('cluster', '/api/v1/placement/rebalance',
      { method: 'POST', body: { dry_run: true } });
    tell(`Plan ${said.id} was made, and changes nothing until it is applied.`);
    await pollPlans();
  } catch (error) {
    tell(error instanceof Refused ? error.message : 'The server did not answer in time.');
  } finally {
    $('plan-dry').disabled = false;
  }
}

function createPlan() {
  const item = make('li', { className: 'plan' },
    make('div', { className: 'head' }, make('h3', { className: 'plan-title' }),
      make('span', { className: 'stage plan-state' })),
    make('p', { className: 'plan-reason' }), make('p', { className: 'plan-figures muted' }),
    make('p', { className: 'plan-detail refusal', hidden: true }),
    make('div', { className: 'plan-actions', aria: { role: 'group' } }),
    make('details', { className: 'plan-why' }, make('summary', {}),
      make('ul', { className: 'says plan-says' }), make('ul', { className: 'plan-steps muted' })));
  item.querySelector('.plan-actions').addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (button) confirmPlan(button.dataset.key, seen.get(item.dataset.key));
  });
  return item;
}

function fill(list, texts) {
  if (list.children.length === texts.length &&
      texts.every((text, i) => list.children[i].textContent === text)) return;
  list.replaceChildren(...texts.map((text) => make('li', {}, text)));
}

function updatePlan(item, p) {
  seen.set(String(p.id), p);
  put(item.querySelector('.plan-title'),
    `Plan ${p.id}, by ${p.by === 'policy' ? 'the policy' : 'an operator'} at ${clock(p.created_unix_ms)}`);
  const state = item.querySelector('.plan-state');
  state.dataset.stage = p.state;
  put(state, p.state === 'applying' ? `applying, ${p.percent} %` : p.state);
  put(item.querySelector('.plan-reason'), p.reason);
  put(item.querySelector('.plan-figures'), figuresOf(p));
  const detail = item.querySelector('.plan-detail');
  put(detail, p.detail);
  detail.hidden = !p.detail;
  const actions = item.querySelector('.plan-actions');
  actions.setAttribute('aria-label', `Actions on plan ${p.id}`);
  reconcile(actions, actionsFor(p), (name) => name,
    (name) => make('button', { type: 'button', className: 'quiet' }, PLAN_ACTIONS[name].label),
    (button, name) => button.setAttribute('aria-label', `${PLAN_ACTIONS[name].label} plan ${p.id}`));
  put(item.querySelector('summary'), `Why, and the ${plural(p.steps.length, 'step')}`);
  fill(item.querySelector('.plan-says'), p.explanation);
  fill(item.querySelector('.plan-steps'), p.steps.slice(0, STEPS_SHOWN).map((s) =>
    `${s.action} ${s.expert} ${s.action === 'copy' ? 'to' : 'from'} node ${s.node}: ${s.reason}`));
}

/// Where the coordinator knows of plans.
export async function pollPlans() {
  const policy = await ask('cluster', '/api/v1/policy');
  put('plans-policy', POLICIES[policy.policy] || policy.policy);
  const all = (await ask('cluster', '/api/v1/plans')).items;
  const newest = [...all].reverse().slice(0, SHOWN);
  reconcile($('plans'), newest, (p) => p.id, createPlan, updatePlan);
  $('plans-empty').hidden = newest.length > 0;
}

export function beginPlans() {
  $('plan-dry').addEventListener('click', planIt);
  $('plan-now').addEventListener('click', confirmRebalance);
}
