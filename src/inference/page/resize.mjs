// The picture as the network reads it: Pillow's antialiased bilinear filter, bit for bit, as in src/data/pillow_resize.py.

const BITS = 22;
/** Rows or columns that are read at a time: a canvas of a whole photograph is more than some phones allow. */
const BAND = 64;

/** Return an image as RGB bytes of side × side; what is transparent becomes white. */
export function shrunk(bitmap, side) {
  const {width, height} = bitmap, across = weights(width, side), down = weights(height, side), rgb = new Uint8Array(3 * side * side);
  const shrinks = height - side;
  if (shrinks > 0 && shrinks > 2 * (width - side)) { // the order of Pillow 13
    const between = new Uint8Array(3 * side * width); // side rows
    for (let left = 0; left < width; left += BAND) {
      const columns = Math.min(BAND, width - left), data = read(bitmap, left, 0, columns, height);
      combine(data, {lines: columns, line: 4, tap: 4 * columns}, down, between.subarray(3 * left), {line: 3, step: 3 * width});
    }
    combine(between, {lines: side, line: 3 * width, tap: 3}, across, rgb, {line: 3 * side, step: 3});
    return rgb;
  }
  const between = new Uint8Array(3 * side * height); // side columns
  for (let top = 0; top < height; top += BAND) {
    const rows = Math.min(BAND, height - top), data = read(bitmap, 0, top, width, rows);
    combine(data, {lines: rows, line: 4 * width, tap: 4}, across, between.subarray(3 * side * top), {line: 3 * side, step: 3});
  }
  combine(between, {lines: side, line: 3, tap: 3 * side}, down, rgb, {line: 3, step: 3 * side});
  return rgb;
}

function read(bitmap, left, top, width, height) {
  const context = new OffscreenCanvas(width, height).getContext('2d', {willReadFrequently: true});
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

/** Resize lines of pixels to as many samples as there are weights; `from` and `to` say how far apart lines, pixels and samples are. */
function combine(source, from, {first, weight}, target, to) {
  for (let n = 0; n < from.lines; n++) for (let i = 0; i < first.length; i++) {
    const taps = weight[i];
    let red = 1 << (BITS - 1), green = red, blue = red;
    for (let t = 0, at = n * from.line + first[i] * from.tap; t < taps.length; t++, at += from.tap) {
      red += source[at] * taps[t]; green += source[at + 1] * taps[t]; blue += source[at + 2] * taps[t];
    }
    const place = n * to.line + i * to.step;
    target[place] = red >> BITS; target[place + 1] = green >> BITS; target[place + 2] = blue >> BITS;
  }
}

/** For each of `after` samples: the first of `before` pixels that it reads, and their weights in 1/2²². */
function weights(before, after) {
  const scale = before / after, reach = Math.max(scale, 1), first = new Int32Array(after), weight = [];
  for (let i = 0; i < after; i++) {
    const centre = (i + 0.5) * scale, triangle = [];
    first[i] = Math.max(0, Math.trunc(centre - reach + 0.5));
    for (let tap = first[i]; tap < Math.min(before, Math.trunc(centre + reach + 0.5)); tap++) {
      triangle.push(Math.max(0, 1 - Math.abs((tap - centre + 0.5) / reach)));
    }
    const sum = triangle.reduce((total, value) => total + value, 0);
    weight.push(Int32Array.from(triangle, value => Math.trunc(value / sum * (1 << BITS) + 0.5)));
  }
  return {first, weight};
}
