// The dialog that asks for a key, and the button that forgets all of them.

import { $, put } from './dom.js';
import { keepKey, keyOf } from './server.js';

const PARTS = {
  server: {
    title: 'This server asks for a key',
    why: 'One with the scope read. It is kept until this tab closes.',
    button: 'Show the server',
  },
  cluster: {
    title: 'Sign in as an operator',
    why: 'With a key of the cluster: the scope read to look, admin to change things. ' +
         'It is kept until this tab closes.',
    button: 'Sign in',
  },
};

let asked = 'server';
let told = () => {};

export const isAsking = () => $('ask').open;

const showForget = () => { $('forget').hidden = !keyOf('server') && !keyOf('cluster'); };

export function askForKey(part, why) {
  if ($('ask').open) return;
  asked = part;
  put('ask-title', PARTS[part].title);
  put('ask-why', why || PARTS[part].why);
  put('ask-button', PARTS[part].button);
  $('ask').showModal();
}

/// After a 401 or 403: that key is of no use. Says why it asks again.
export function refuseKey(part, status, said = '') {
  const had = keyOf(part);
  keepKey(part, null);
  showForget();
  const who = part === 'server' ? 'The server' : 'The cluster';
  if (status === 403) {
    askForKey(part, said || 'That key may not look here: it lacks the scope read.');
  } else {
    askForKey(part, had ? `${who} does not know that key. Give one with the scope read.` : '');
  }
}

/// `changed` is called when a key was given or forgotten, with its part.
export function beginSignIn(changed) {
  told = changed;
  $('ask').addEventListener('cancel', (event) => {
    if (asked === 'server') event.preventDefault();
  });
  $('ask-form').addEventListener('submit', (event) => {
    event.preventDefault();
    keepKey(asked, $('ask-key').value.trim());
    $('ask-key').value = '';
    $('ask').close();
    showForget();
    told(asked);
  });
  $('forget').addEventListener('click', () => {
    const part = keyOf('server') ? 'server' : 'cluster';
    keepKey('server', null);
    keepKey('cluster', null);
    showForget();
    told(part);
    if (part === 'server') askForKey(part, '');
  });
  $('sign-in').addEventListener('click', () => askForKey('cluster', ''));
  showForget();
}
