// The colours of the heat map. Lightness falls or rises steadily, and hues go from yellow to blue,
// which the common kinds of colour blindness tell apart (ColorBrewer YlGnBu; viridis on dark).

const MEAN_SHADE = 0.35;
const SCALES = {
  light: ['#f4f6e6', '#d5eeb3', '#85cfba', '#38a5c2', '#2166ac', '#253494', '#0a1c58'],
  dark: ['#1c1630', '#443983', '#31688e', '#21918c', '#35b779', '#90d743', '#fde725'],
};
const colours = new Map();

export const isDark = matchMedia('(prefers-color-scheme: dark)');

export function colour(share) {
  const name = isDark.matches ? 'dark' : 'light';
  if (!colours.has(name)) {
    const stops = SCALES[name].map((h) => [1, 3, 5].map((i) => parseInt(h.slice(i, i + 2), 16)));
    colours.set(name, Array.from({ length: 256 }, (_, i) => {
      const at = (i / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(at), stops.length - 2);
      const mix = stops[low].map((v, c) => Math.round(v + (stops[low + 1][c] - v) * (at - low)));
      return `rgb(${mix.join(' ')})`;
    }));
  }
  return colours.get(name)[Math.round(255 * Math.min(1, Math.max(0, share)))];
}

/// Where a multiple of the mean stands on the scale: straight while the hottest is near, bent so
/// that the mean keeps its place when one expert stands out.
export function shade(multiple, top) {
  const bend = Math.min(1, Math.log(MEAN_SHADE) / Math.log(1 / top));
  return multiple > 0 ? (multiple / top) ** bend : 0;
}

/// The colour of a CSS variable now.
export const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
