// The mask at any size: logits enlarged bilinearly, then looked up as levels, as in src/inference/enlarge.py.

const LIMIT = 8; // logits beyond it have the level 0 or 255
const STEPS = 4096; // table entries per unit of a logit
const LEVELS = Uint8Array.from({length: 2 * LIMIT * STEPS + 1}, (_, entry) => Math.round(255 / (1 + Math.exp(LIMIT - entry / STEPS))));
const SUREST = 0.999; // what the closing step's masks are kept within; 0 and 255 stand for it

/** Return the logits of levels 0 … 255. */
export function logitsOf(levels) {
  const table = Float32Array.from({length: 256}, (_, level) => {
    const probability = Math.min(SUREST, Math.max(1 - SUREST, level / 255));
    return Math.log(probability / (1 - probability));
  });
  return Float32Array.from(levels, level => table[level]);
}

/** Return logits of side × side as levels, one byte per pixel, of width × height. */
export function enlarged(logits, side, {width, height}) {
  const columns = neighbours(side, width), rows = neighbours(side, height), levels = new Uint8Array(width * height);
  const line = new Float32Array(side);
  for (let y = 0, i = 0; y < height; y++) {
    const above = rows.first[y] * side, below = rows.second[y] * side, down = rows.weight[y];
    for (let x = 0; x < side; x++) line[x] = logits[above + x] * (1 - down) + logits[below + x] * down;
    for (let x = 0; x < width; x++, i++) {
      const along = columns.weight[x], logit = line[columns.first[x]] * (1 - along) + line[columns.second[x]] * along;
      levels[i] = LEVELS[Math.floor((Math.min(LIMIT, Math.max(-LIMIT, logit)) + LIMIT) * STEPS + 0.5)];
    }
  }
  return levels;
}

function neighbours(before, after) {
  const first = new Uint32Array(after), second = new Uint32Array(after), weight = new Float32Array(after);
  for (let i = 0; i < after; i++) {
    const centre = Math.max(0, (i + 0.5) * before / after - 0.5);
    first[i] = Math.min(Math.floor(centre), before - 1);
    second[i] = Math.min(first[i] + 1, before - 1);
    weight[i] = centre - first[i];
  }
  return {first, second, weight};
}
