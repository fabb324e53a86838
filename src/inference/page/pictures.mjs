// From a file to pixels: what is shown and saved, and what the network reads.

/** More pixels than this are shown smaller; what is saved has the picture's own size. */
const MOST_SHOWN = 4e6;

/** A file that is no picture; its message is for the person. */
export class NoPicture extends Error {}

/**
 * Decode a file.
 * @returns {name, bitmap, plain, width, height, shown}: `bitmap` upright, at the picture's own size; `plain` the same without its colour
 *   profile, as training and predict read it; `shown` {width, height, pixels (RGBA)}
 */
export async function readPicture(blob, name) {
  let bitmap, plain;
  try {
    bitmap = await createImageBitmap(blob);
    plain = await createImageBitmap(blob, {colorSpaceConversion: 'none'});
  } catch {
    throw new NoPicture(`“${name}” is not a picture that this browser can read. Choose a JPEG, PNG, WebP, GIF, AVIF or BMP file.`);
  }
  const {width, height} = bitmap;
  const scale = Math.min(1, Math.sqrt(MOST_SHOWN / (width * height)));
  const size = {width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale))};
  return {name, bitmap, plain, width, height, shown: {...size, pixels: pixelsOf(bitmap, size)}};
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
