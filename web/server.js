// Questions to the server this page came from, and the keys they need. There are two: the server's
// own (scope read), and an operator's for the cluster. They live in this tab's session storage and
// travel in a header, never in an address.

const PATIENCE_MS = 5000;
const STORED_AS = { server: 'atoll-key', cluster: 'atoll-operator-key' };

export class Refused extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

export const keyOf = (part) => sessionStorage.getItem(STORED_AS[part]);

export function keepKey(part, value) {
  if (value) {
    sessionStorage.setItem(STORED_AS[part], value);
  } else {
    sessionStorage.removeItem(STORED_AS[part]);
  }
}

/// The answer's JSON. Throws Refused with what a problem+json or an OpenAI error says, and
/// whatever fetch throws where there is no answer in time.
export async function ask(part, path, { method = 'GET', body, headers = {} } = {}) {
  const key = keyOf(part);
  const sent = { ...headers };
  if (key) sent.authorization = `Bearer ${key}`;
  if (body !== undefined) sent['content-type'] = 'application/json';
  const answer = await fetch(path, {
    method,
    headers: sent,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: 'no-store',
    credentials: 'omit',
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (answer.ok) return answer.json();
  const said = await answer.json().catch(() => ({}));
  const text = said.detail || (said.error && said.error.message) || `status ${answer.status}`;
  throw new Refused(answer.status, text);
}

/// The text of GET /metrics.
export async function metrics() {
  const key = keyOf('server');
  const answer = await fetch('/metrics', {
    headers: key ? { authorization: `Bearer ${key}` } : {},
    cache: 'no-store',
    credentials: 'omit',
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (!answer.ok) throw new Refused(answer.status, `status ${answer.status}`);
  return answer.text();
}
