// The dashboard. Asks the server this page came from again and again, and shows the answers. What
// it shows depends on what is there: a server that generates, a cluster's coordinator, or a gateway,
// which is the one and hands questions on to the other (GET /version, "parts").

import { $, put } from './dom.js';
import { clock, duration } from './format.js';
import { Refused, ask, keyOf, metrics } from './server.js';
import { askForKey, beginSignIn, isAsking, refuseKey } from './signin.js';
import { showStatus } from './status.js';
import { beginHeat, forgetRows, showExperts } from './heat.js';
import { addStatus } from './timeline.js';
import { clusterUnseen, pollCluster } from './cluster.js';
import { beginExpertTable, showExpertTable } from './expert_table.js';
import { beginActions } from './actions.js';
import { beginPlans } from './plans.js';
import { forgetRequests } from './requests.js';

const POLL_MS = 1000;

let parts = null;        // Set of 'generation' and 'cluster'; null until the server has told
let lastAnswer = null;   // when the server last answered anything
let polls = 0;

function banner(state, text, detail) {
  $('banner').dataset.state = state;
  put('state', text);
  put('detail', detail);
  $('board').classList.toggle('stale', state === 'lost');
}

function noAnswer() {
  const since = lastAnswer || new Date();
  lastAnswer = since;
  const passed = duration((Date.now() - since) / 1000);
  banner('lost', `No answer since ${clock(since)}`, `for ${passed}; asking again every second`);
}

/// Of the server's own part.
function failed(error) {
  if (!(error instanceof Refused)) return noAnswer();
  lastAnswer = new Date();
  if (error.status === 401 || (error.status === 403 && keyOf('server'))) {
    banner('waiting', 'Waiting for a key', '');
    refuseKey('server', error.status);
  } else {
    banner('waiting', 'Not ready', error.message);
  }
}

async function findParts() {
  const said = await ask('server', '/version');
  lastAnswer = new Date();
  parts = new Set(said.parts);
  put('version', said.version + (said.commit ? ` (${said.commit.slice(0, 7)})` : ''));
  showParts();
}

/// Shows what the server has, and of a cluster only what the operator's key opens.
function showParts() {
  const isInCluster = parts.has('cluster');
  const isOpen = isInCluster && Boolean(keyOf('cluster'));
  for (const element of document.querySelectorAll('[data-part]')) {
    const isThere = element.dataset.part.split(' ').some((p) => parts.has(p));
    const isLocked = 'signedIn' in element.dataset && isInCluster && !isOpen;
    // A gateway of a cluster holds no keys and values, and no prefix cache.
    const isElsewhere = 'alone' in element.dataset && isInCluster;
    element.hidden = !isThere || isLocked || isElsewhere;
  }
  $('locked').hidden = !isInCluster || isOpen;
  if (!isOpen) forgetRequests();
}

async function pollServer() {
  try {
    const status = await ask('server', '/api/v1/status');
    lastAnswer = new Date();
    if (status.ready) {
      banner('ready', 'Ready', status.description);
    } else {
      banner('waiting', 'Not ready', status.state);
    }
    if (showStatus(status)) {
      forgetRows();
      polls = 0;
    }
    addStatus(status, await metrics());
    if (!parts.has('cluster') && polls % 2 === 0) {
      showExperts(await ask('server', '/api/v1/experts'));
      showExpertTable();
    }
    polls += 1;
  } catch (error) {
    failed(error);
  }
}

async function lookAtCluster() {
  const isOnly = !parts.has('generation');
  if (!keyOf('cluster')) {
    if (isOnly && !isAsking()) {
      banner('waiting', 'Waiting for a key', '');
      askForKey('cluster', '');
    }
    return;
  }
  try {
    const c = await pollCluster();
    if (!isOnly) return;
    lastAnswer = new Date();
    document.title = `${c.name || 'Cluster'} · Atoll`;
    put('model', c.name);
    banner(c.ready ? 'ready' : 'waiting', c.ready ? 'Ready' : 'Not ready',
           c.ready ? `coordinator of cluster ${c.cluster}` : c.waiting_for);
  } catch (error) {
    if (error instanceof Refused && (error.status === 401 || error.status === 403)) {
      refuseKey('cluster', error.status, error.message);
      showParts();
    } else if (isOnly && !(error instanceof Refused)) {
      noAnswer();
      clusterUnseen('the coordinator does not answer');
    } else {
      clusterUnseen(error instanceof Refused ? error.message : 'no answer in time');
    }
  }
}

async function look() {
  if (isAsking() || document.hidden) return;
  try {
    if (parts === null) await findParts();
  } catch (error) {
    failed(error);
    return;
  }
  await Promise.all([parts.has('generation') && pollServer(),
                     parts.has('cluster') && lookAtCluster()]);
}

async function poll() {
  const begun = performance.now();
  await look();
  setTimeout(poll, Math.max(0, POLL_MS - (performance.now() - begun)));
}

beginSignIn(() => { if (parts !== null) showParts(); });
beginActions(() => { if (keyOf('cluster')) lookAtCluster(); });
beginPlans();
beginHeat();
beginExpertTable();
poll();
