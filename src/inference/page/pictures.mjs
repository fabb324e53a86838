// From a file to pixels: what is shown and saved, and what the network reads.

/** The network reads 224 pixels a side or so: more than this many pixels cost memory and change no mask. */
const MOST_PIXELS = 4e6;

/** A file that is no picture; its message is for the person. */
export class NoPicture extends Error {}

/**
 * Decode a file.
 * @returns {name, bitmap, width, height, work}: `bitmap` at the picture's own size, upright; `work` the same at the size at which the
 *   network is asked, {width, height, pixels (RGBA, as shown), rgb (for the network)}
 */
export async function readPicture(blob, name) {
  let bitmap, plain;
  try {
    bitmap = await createImageBitmap(blob);
    plain = await createImageBitmap(blob, {colorSpaceConversion: 'none'}); // as training and predict: colour profiles are not applied
  } catch {
    throw new NoPicture(`“${name}” is not a picture that this browser can read. Choose a JPEG, PNG, WebP, GIF, AVIF or BMP file.`);
  }
  const {width, height} = bitmap;
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  const size = {width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale))};
  const work = {...size, pixels: pixelsOf(bitmap, size), rgb: withoutAlpha(pixelsOf(plain, size))};
  plain.close();
  return {name, bitmap, width, height, work};
}

/** Return an image's RGBA bytes at a size; what is transparent becomes white. */
export function pixelsOf(bitmap, {width, height}) {
  const context = new OffscreenCanvas(width, height).getContext('2d', {willReadFrequently: true});
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

/** Return RGBA bytes without their alpha. */
function withoutAlpha(rgba) {
  const rgb = new Uint8Array(rgba.length / 4 * 3);
  for (let i = 0, j = 0; j < rgb.length; i += 4) { rgb[j++] = rgba[i]; rgb[j++] = rgba[i + 1]; rgb[j++] = rgba[i + 2]; }
  return rgb;
}
