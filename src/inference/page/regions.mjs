// The connected parts of a mask, and their outlines as COCO polygons: what src/inference/regions.py does in Python.
import {HALF} from './views.mjs';

const SMALLEST_SHARE = 1e-4; // of the picture; smaller parts are specks
const TOLERANCE = 1; // pixels by which an outline may leave out the staircase of the pixels' edges
const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up

/** Return the parts {box: [left, top, width, height], area, probability, outline: [[x, y], …]}, the largest first. */
export function findRegions(mask, width, height) {
  const labels = new Int32Array(mask.length);
  const found = [];
  for (let start = 0; start < mask.length; start++) {
    if (labels[start] || mask[start] <= HALF) continue;
    const region = fill(mask, labels, width, height, start, found.length + 1);
    found.push(region);
  }
  return found
    .map((region, index) => ({...region, label: index + 1}))
    .filter(region => region.area >= Math.max(1, SMALLEST_SHARE * mask.length))
    .sort((a, b) => b.area - a.area)
    .map(({label, start, ...region}) => ({...region, outline: simplified(border(labels, width, height, start, label), TOLERANCE)}));
}

/** Label the pixels that hang together with `start`, corners included; `start` is the first of them row by row. */
function fill(mask, labels, width, height, start, label) {
  const stack = [start];
  labels[start] = label;
  let [left, top, right, bottom, area, sum] = [width, height, 0, 0, 0, 0];
  while (stack.length) {
    const i = stack.pop(), x = i % width, y = (i - x) / width;
    area += 1; sum += mask[i];
    left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
    for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
      const j = v * width + u;
      if (!labels[j] && mask[j] > HALF) { labels[j] = label; stack.push(j); }
    }
  }
  return {box: [left, top, right - left + 1, bottom - top + 1], area, probability: sum / area / 255, start};
}

/** Walk along the pixels' edges with the part to the right; return the corners. Parts that touch at a corner are one. */
function border(labels, width, height, start, label) {
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] === label;
  const origin = [start % width, Math.floor(start / width)];
  const corners = [];
  let [x, y] = origin, direction = 0;
  do {
    [x, y] = [x + STEPS[direction][0], y + STEPS[direction][1]];
    const [leftAhead, rightAhead] = [[[x, y - 1], [x, y]], [[x, y], [x - 1, y]], [[x - 1, y], [x - 1, y - 1]], [[x - 1, y - 1], [x, y - 1]]][direction];
    if (inside(...leftAhead)) { corners.push([x, y]); direction = (direction + 3) % 4; }
    else if (!inside(...rightAhead)) { corners.push([x, y]); direction = (direction + 1) % 4; }
  } while (x !== origin[0] || y !== origin[1] || direction !== 0);
  return corners;
}

/** Leave out corners of a closed polygon that lie within `tolerance` of what remains (Douglas and Peucker). */
function simplified(corners, tolerance) {
  let far = 0;
  corners.forEach((corner, i) => { if (Math.hypot(corner[0] - corners[0][0], corner[1] - corners[0][1]) > Math.hypot(corners[far][0] - corners[0][0], corners[far][1] - corners[0][1])) far = i; });
  const kept = [...reduced([...corners.slice(0, far + 1)], tolerance), ...reduced([...corners.slice(far), corners[0]], tolerance)];
  return kept.length >= 3 ? kept : corners;
}

/** Reduce an open line; its last point is left to the next one. */
function reduced(line, tolerance) {
  const keep = new Uint8Array(line.length), stack = [[0, line.length - 1]];
  keep[0] = 1;
  while (stack.length) {
    const [from, to] = stack.pop();
    let worst = tolerance, at = 0;
    for (let i = from + 1; i < to; i++) { const away = distance(line[i], line[from], line[to]); if (away > worst) [worst, at] = [away, i]; }
    if (at) { keep[at] = 1; stack.push([from, at], [at, to]); }
  }
  return line.filter((_, i) => keep[i]);
}

function distance([x, y], [ax, ay], [bx, by]) {
  const length = Math.hypot(bx - ax, by - ay);
  return length ? Math.abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length : Math.hypot(x - ax, y - ay);
}

/** Return the regions in COCO's form, as `src.predict type=json` writes them; `scale` takes the mask's pixels to the picture's. */
export function toCoco(regions, {name, width, height}, scale) {
  const annotations = regions.map((region, index) => ({
    id: index + 1, image_id: 1, category_id: 1, iscrowd: 0,
    segmentation: [region.outline.flatMap(([x, y]) => [rounded(x * scale.x), rounded(y * scale.y)])],
    bbox: [region.box[0] * scale.x, region.box[1] * scale.y, region.box[2] * scale.x, region.box[3] * scale.y].map(Math.round),
    area: Math.round(region.area * scale.x * scale.y),
    score: Math.round(region.probability * 1e4) / 1e4,
  }));
  return {images: [{id: 1, file_name: name, width, height}], annotations, categories: [{id: 1, name: 'object'}]};
}

function rounded(value) {
  return Math.round(value * 10) / 10;
}
