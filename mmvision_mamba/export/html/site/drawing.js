// Results drawn over their image.

// Images that are smaller get a larger canvas, on which names can be read.
const LEAST_SIDE = 1280;

// Draw an image with what is found in it; `look` has score, boxes, masks, labels and opacity.
function draw(canvas, {bitmap, found}, look, {task, classes, palette}) {
  const scale = Math.max(1, LEAST_SIDE / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.round(bitmap.width * scale);
  canvas.height = Math.round(bitmap.height * scale);
  const context = canvas.getContext('2d');
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const isDetection = task === 'detection';
  const shown = isDetection ? shownObjects(found, look.score).reverse() : []; // the surest on top
  if (!isDetection || look.masks) {
    const pixels = isDetection ? maskPixels(shown, found.size, palette) : mapPixels(found, palette);
    context.globalAlpha = look.opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(pixels, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 1;
  }
  const unit = Math.max(canvas.width, canvas.height) / LEAST_SIDE;
  for (const object of shown.filter(({box}) => box.every(Number.isFinite))) {
    const color = palette[object.label];
    const [left, top, right, bottom] = object.box.map((side, axis) =>
      Math.min(Math.max(side * scale, 0), axis % 2 ? canvas.height : canvas.width),
    );
    if (look.boxes) {
      context.strokeStyle = css(color);
      context.lineWidth = 3 * unit;
      context.strokeRect(left, top, right - left, bottom - top);
    }
    if (look.labels) {
      const name = `${classes[object.label]} ${object.score.toFixed(2)}`;
      write(context, name, left, top, color, 22 * unit);
    }
  }
}

// Objects of this score and above, the surest first.
function shownObjects(found, score) {
  return found.objects.filter((object) => object.score >= score);
}

// A name on a ground of a colour, within the image.
function write(context, name, left, top, color, size) {
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = 'middle';
  const [width, height] = [context.measureText(name).width + 0.6 * size, 1.35 * size];
  const x = Math.max(Math.min(left, context.canvas.width - width), 0);
  const y = top >= height ? top - height : top;
  context.fillStyle = css(color);
  context.fillRect(x, y, width, height);
  context.fillStyle = isBright(color) ? 'black' : 'white';
  context.fillText(name, x + 0.3 * size, y + 0.53 * height);
}

// The masks of objects, those that come later on top, as a canvas of the image's size.
function maskPixels(objects, [height, width], palette) {
  return painted(height, width, (pixels) => {
    for (const {label, runs} of objects) {
      const color = packed(palette[label]);
      for (let place = 0; place < (runs?.length ?? 0); place += 3) {
        const row = runs[place] * width;
        pixels.fill(color, row + runs[place + 1], row + runs[place + 2]);
      }
    }
  });
}

// A label map's colours, as a canvas of the image's size.
function mapPixels({labels, size: [height, width]}, palette) {
  const colors = palette.map(packed);
  return painted(height, width, (pixels) => {
    for (let place = 0; place < labels.length; place++) {
      pixels[place] = colors[labels[place]];
    }
  });
}

function painted(height, width, paint) {
  const pixels = new Uint32Array(height * width);
  paint(pixels);
  const canvas = new OffscreenCanvas(width, height);
  const bytes = new Uint8ClampedArray(pixels.buffer);
  canvas.getContext('2d').putImageData(new ImageData(bytes, width, height), 0, 0);
  return canvas;
}

// A colour as a whole number whose bytes are red, green, blue and 255.
function packed([red, green, blue]) {
  return new Uint32Array(Uint8Array.of(red, green, blue, 255).buffer)[0];
}

function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

function isBright([red, green, blue]) {
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}
