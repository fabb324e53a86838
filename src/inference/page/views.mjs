// What people make of a mask: overlay, cut-out and map, as `src.predict type=…` draws them.

const TINT = [255, 64, 32];
const STRENGTH = 0.45;
/** A probability of one half, in levels. */
export const HALF = 127.5;

export const VIEW_WORDS = {
  overlay: 'The object is tinted and outlined in red.',
  cutout: 'The object alone; everything else is transparent.',
  map: 'White where the network is sure of an object, black where there is none.',
};

/** Return the RGBA bytes of a view: `pixels` RGBA, `mask` one byte per pixel. */
export function drawView(view, pixels, mask, width, height) {
  const drawn = new Uint8ClampedArray(pixels.length);
  if (view === 'map') mask.forEach((level, i) => { drawn.fill(level, 4 * i, 4 * i + 3); drawn[4 * i + 3] = 255; });
  else if (view === 'cutout') { drawn.set(pixels); mask.forEach((level, i) => { drawn[4 * i + 3] = level; }); }
  else drawOverlay(drawn, pixels, mask, width, height);
  return drawn;
}

function drawOverlay(drawn, pixels, mask, width, height) {
  const onOutline = outline(mask, width, height);
  for (let i = 0, j = 0; i < mask.length; i++, j += 4) {
    const opacity = onOutline[i] ? 255 : Math.round(mask[i] * STRENGTH);
    for (let c = 0; c < 3; c++) drawn[j + c] = Math.floor((TINT[c] * opacity + pixels[j + c] * (255 - opacity) + 127) / 255);
    drawn[j + 3] = 255;
  }
}

/** Return 1 where the line is: 1/250 of the shorter side to either side of where the probability crosses one half. */
function outline(mask, width, height) {
  const reach = Math.max(1, Math.round(Math.min(width, height) / 250));
  const distance = new Uint16Array(mask.length).fill(0xffff);
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) {
    const inside = mask[i] > HALF;
    if (x + 1 < width && inside !== mask[i + 1] > HALF) distance[i] = distance[i + 1] = 1;
    if (y + 1 < height && inside !== mask[i + width] > HALF) distance[i] = distance[i + width] = 1;
  }
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) {
    distance[i] = Math.min(distance[i], (x ? distance[i - 1] : 0xfffe) + 1, (y ? distance[i - width] : 0xfffe) + 1);
  }
  for (let y = height - 1, i = mask.length - 1; y >= 0; y--) for (let x = width - 1; x >= 0; x--, i--) {
    distance[i] = Math.min(distance[i], (x + 1 < width ? distance[i + 1] : 0xfffe) + 1, (y + 1 < height ? distance[i + width] : 0xfffe) + 1);
  }
  return distance.map(steps => steps <= reach ? 1 : 0);
}
