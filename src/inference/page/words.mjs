// The result in words: what a person who does not see the picture wants to know.

const ROWS = ['at the top', '', 'at the bottom'];
const COLUMNS = ['left', '', 'right'];

/** Return a share, 0 … 1, as percent. */
export function percent(share) {
  const value = 100 * share;
  return `${value > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** Say what was found: how many parts, where, how large, how sure. */
export function describe(regions, {width, height}) {
  if (!regions.length) return 'Nothing found: the network sees no object in this picture.';
  const share = regions.reduce((sum, region) => sum + region.area, 0) / (width * height);
  const [largest] = regions;
  const sure = `mean probability ${percent(largest.probability)}`;
  if (regions.length === 1) return `Found one object ${place(largest, width, height)}. It covers ${percent(share)} of the picture, ${sure}.`;
  return `Found ${regions.length} parts, together ${percent(share)} of the picture. The largest is ${place(largest, width, height)}, ${sure}.`;
}

function place({box: [left, top, across, down]}, width, height) {
  const third = (centre, size) => Math.min(2, Math.floor(3 * centre / size));
  const row = ROWS[third(top + down / 2, height)], column = COLUMNS[third(left + across / 2, width)];
  if (!row && !column) return 'in the middle';
  return row ? `${row}${column ? ` ${column}` : ''}` : `on the ${column}`;
}
