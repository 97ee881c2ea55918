// Elements by id, text that changes only where it differs, and elements from parts. No text of an
// answer is ever taken as HTML.

export const $ = (id) => document.getElementById(id);

export function put(where, text) {
  const element = typeof where === 'string' ? $(where) : where;
  const said = String(text);
  if (element.textContent !== said) element.textContent = said;
}

/// make('button', { type: 'button', className: 'quiet' }, 'Drain')
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { dataset, aria, ...plain } = properties;
  Object.assign(element, plain);
  Object.assign(element.dataset, dataset);
  for (const [name, value] of Object.entries(aria || {})) {
    element.setAttribute(name === 'role' ? name : `aria-${name}`, value);
  }
  element.append(...children);
  return element;
}

/// Keeps one element for each key, in the given order, so that what has the focus keeps it.
export function reconcile(parent, items, keyOf, create, update) {
  const old = new Map([...parent.children].map((e) => [e.dataset.key, e]));
  items.forEach((item, i) => {
    const key = String(keyOf(item));
    let element = old.get(key);
    if (element) {
      old.delete(key);
    } else {
      element = create(item);
      element.dataset.key = key;
    }
    update(element, item);
    if (parent.children[i] !== element) parent.insertBefore(element, parent.children[i] || null);
  });
  for (const gone of old.values()) gone.remove();
}

export const widen = (element, part, of) => {
  element.style.width = `${of ? Math.min(100, (100 * part) / of) : 0}%`;
};

export function cell(row, text, name) {
  const td = row.insertCell();
  td.textContent = text;
  if (name) td.className = name;
  return td;
}
