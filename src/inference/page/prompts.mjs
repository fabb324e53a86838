// What a person says about the mask, as the maps that the network reads: what src/inference/prompts.py does in Python.

const TRUST = 0.9; // how sure a person is
const REACH = 0.02; // σ of a click, as a share of the picture's longer side

/**
 * Return the maps of what was said, of side × side: P (0 background, 1 object), p (how sure; 0 where nothing was said) and p of clicks alone.
 * At each pixel the surest click is heard, of two as sure the later, and what the box says there counts the less.
 * @param said {box: [left, top, right, bottom] or null, clicks: [[x, y, 1 or −1], …]} in pixels of a picture of width × height
 */
export function promptMaps({box, clicks}, {width, height}, side) {
  const target = new Float32Array(side * side), certainty = new Float32Array(side * side), clicked = new Float32Array(side * side);
  const across = width / side, down = height / side, reach = REACH * Math.max(width, height);
  for (let row = 0, i = 0; row < side; row++) for (let column = 0; column < side; column++, i++) {
    for (const [x, y, sign] of clicks) {
      const away = Math.hypot((column + 0.5) * across - x, (row + 0.5) * down - y) / reach, sure = Math.fround(TRUST * Math.exp(-away * away / 2));
      if (sure >= certainty[i] && sure > 0) { certainty[i] = clicked[i] = sure; target[i] = sign > 0 ? 1 : 0; }
    }
    if (!box) continue;
    const inside = covered(column * across, across, box[0], box[2]) * covered(row * down, down, box[1], box[3]);
    const sure = TRUST * (1 - inside) * (1 - certainty[i]);
    if (sure > certainty[i]) { certainty[i] = sure; clicked[i] = target[i] = 0; }
  }
  return {target, certainty, clicked};
}

/** Return the share of the line from `start` of `length` that lies between two places. */
function covered(start, length, from, to) {
  return Math.max(0, Math.min(to, start + length) - Math.max(from, start)) / length;
}

/** Say what was said: “a box and 2 clicks”; nothing for nothing. */
export function promptWords({box, clicks}) {
  const count = clicks.length && (clicks.length === 1 ? 'a click' : `${clicks.length} clicks`);
  return [box && 'a box', count].filter(Boolean).join(' and ');
}
