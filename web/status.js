// What a server that generates says of itself: /api/v1/status, in figures.

import { $, put, widen } from './dom.js';
import { bytes, count, duration, milliseconds, percent, plural, rate } from './format.js';
import { showOwnRequests } from './requests.js';

const SPARK_POINTS = 120;

let history = [];  // {at, generated}: of this run of the server
let uptime = 0;

/// The server has begun anew: what was counted before is over. True once a restart.
function isRestart(s) {
  const restarted = s.uptime_s < uptime;
  uptime = s.uptime_s;
  return restarted;
}

/// Gives whether the server has been started again since the last time.
export function showStatus(s) {
  const restarted = isRestart(s);
  if (restarted) history = [];
  document.title = `${s.model} · Atoll`;
  put('model', s.model);
  put('uptime', duration(s.uptime_s));
  put('version', s.version + (s.commit ? ` (${s.commit.slice(0, 7)})` : ''));
  put('description', s.system_fingerprint);
  showThroughput(s);
  for (const name of ['first_token', 'inter_token', 'request']) {
    const cells = $(name).querySelectorAll('td');
    const seen = s.latency_ms[name];
    ['p50', 'p90', 'p99'].forEach((p, i) => put(cells[i], seen ? milliseconds(seen[p]) : '–'));
  }
  showRoom(s);
  showOwnRequests(s.live);
  return restarted;
}

function showThroughput(s) {
  put('tokens-rate', rate(s.rates.tokens_per_second));
  put('requests-rate', rate(s.rates.requests_per_second));
  put('tokens-total', `${plural(s.tokens.generated, 'token')} since start`);
  history.push({ at: performance.now(), generated: s.tokens.generated });
  if (history.length > SPARK_POINTS + 1) history.shift();
  const values = history.slice(1).map((h, i) =>
    (1000 * (h.generated - history[i].generated)) / Math.max(h.at - history[i].at, 1));
  const top = Math.max(1, ...values);
  const x = (i) => 600 - ((values.length - 1 - i) * 600) / (SPARK_POINTS - 1);
  const points = values.map((v, i) => `${x(i).toFixed(1)} ${(95 - (v / top) * 94).toFixed(1)}`);
  const line = points.length ? `M${points.join('L')}` : '';
  $('spark-line').setAttribute('d', line);
  $('spark-area').setAttribute('d', line ? `${line}L600 96L${x(0).toFixed(1)} 96Z` : '');
  put('spark-top', values.some((v) => v > 0) ? `${rate(top)}/s` : '');
}

function showRoom(s) {
  const r = s.requests;
  put('running', count(r.running));
  put('waiting', count(r.waiting));
  widen($('queue-bar'), r.tokens_reserved, r.tokens_limit);
  put('queue-note', `${percent(r.tokens_reserved, r.tokens_limit)} of all tokens reserved; ` +
      `the queue takes ${count(r.queue_limit)}`);
  const kv = s.kv;
  put('kv-share', percent(kv.pages_used, kv.pages));
  widen($('kv-used'), kv.pages_used, kv.pages);
  widen($('kv-cached'), kv.pages_cached, kv.pages);
  put('kv-note', `${count(kv.pages_used)} used, ${count(kv.pages_cached)} kept for later, of ` +
      `${plural(kv.pages, 'page')} (${bytes(kv.pages * kv.page_bytes)})`);
  const p = s.prefix_cache;
  put('prefix-share', percent(p.hits, p.queries));
  widen($('prefix-bar'), p.hits, p.queries);
  put('prefix-note', p.queries
    ? `${count(p.hits)} of ${count(p.queries)}; ${plural(p.evictions, 'page')} given up`
    : 'No prompt has been looked up yet');
}
