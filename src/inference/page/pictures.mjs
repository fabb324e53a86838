// From a file to pixels: what is shown and saved, and what the network reads.

/** The network reads 224 pixels a side or so: more than this many pixels cost time and memory, and change no mask. */
const MOST_PIXELS = 4e6;
/** Rows of the network's picture that are made at a time: a canvas of a whole photograph is more than some phones allow. */
const BAND = 32;

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
  const factor = Math.ceil(Math.sqrt(width * height / MOST_PIXELS));
  const size = {width: Math.ceil(width / factor), height: Math.ceil(height / factor)};
  const work = {...size, pixels: pixelsOf(bitmap, size), rgb: reduced(plain, size, factor)};
  plain.close();
  return {name, bitmap, width, height, work};
}

/** Return an image's RGBA bytes at a size; what is transparent becomes white. */
export function pixelsOf(bitmap, {width, height}) {
  const context = whiteCanvas(width, height);
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

/** Return RGB bytes, each the mean of `factor` × `factor` pixels: canvases scale otherwise, and the mask would change. */
function reduced(bitmap, {width, height}, factor) {
  const rgb = new Uint8Array(3 * width * height);
  for (let top = 0; top < height; top += BAND) {
    const rows = Math.min(BAND * factor, bitmap.height - top * factor);
    const context = whiteCanvas(bitmap.width, rows);
    context.drawImage(bitmap, 0, top * factor, bitmap.width, rows, 0, 0, bitmap.width, rows);
    const {data} = context.getImageData(0, 0, bitmap.width, rows);
    for (let y = 0, to = 3 * top * width; y * factor < rows; y++) for (let x = 0; x < width; x++) {
      let [red, green, blue, count] = [0, 0, 0, 0];
      for (let v = y * factor; v < Math.min(rows, (y + 1) * factor); v++) for (let u = x * factor; u < Math.min(bitmap.width, (x + 1) * factor); u++) {
        const from = 4 * (v * bitmap.width + u);
        red += data[from]; green += data[from + 1]; blue += data[from + 2]; count += 1;
      }
      rgb[to++] = red / count + 0.5; rgb[to++] = green / count + 0.5; rgb[to++] = blue / count + 0.5;
    }
  }
  return rgb;
}

function whiteCanvas(width, height) {
  const context = new OffscreenCanvas(width, height).getContext('2d', {willReadFrequently: true});
  context.fillStyle = '#fff';
  context.fillRect(0, 0, width, height);
  return context;
}
