// What happened in the cluster, newest last as it is told, newest first as it is shown. New ones
// are read out by screen readers, those from before the page was opened are not.

import { $, make } from './dom.js';
import { clock } from './format.js';
import { ask } from './server.js';
import { addMark, addRecovery } from './timeline.js';

const SHOWN = 200;
const MARKED = new Set(['died', 'suspect', 'joined', 'left', 'removed']);

let revision = 0;

/// Asks for what came after the last, where the cluster's revision says that there is more.
export async function pollEvents(newest) {
  if (newest === revision) return;
  if (newest < revision) {  // another cluster, or one that was restored
    revision = 0;
    $('events').replaceChildren();
  }
  const said = await ask('cluster', `/api/v1/events?since=${revision}`);
  const isFirst = revision === 0;
  for (const e of said.items) {
    const when = Date.parse(e.time);
    if (MARKED.has(e.kind)) addMark(when, e.kind, e.text);
    if (e.kind === 'placement') addRecovery(when, e.text);
    $('events').prepend(make('li', { dataset: { kind: e.kind } },
      make('time', { dateTime: e.time || '' }, e.time ? clock(when) : '–'),
      make('span', { className: 'kind' }, e.kind), make('span', {}, e.text)));
  }
  while ($('events').children.length > SHOWN) $('events').lastElementChild.remove();
  $('events-empty').hidden = $('events').children.length > 0;
  if (isFirst) setTimeout(() => $('events').setAttribute('aria-live', 'polite'), 0);
  revision = said.revision;
}
