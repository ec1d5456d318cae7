// Image files as standalone/images.py and standalone/network.py read, resize and normalise them.

const MOST_PIXELS = 2 ** 26;

// An image file's pixels (H, W, 3) in RGB, turned as its EXIF says, what is transparent on white;
// and a bitmap of it, to be shown.
async function readImage(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: 'from-image',
      premultiplyAlpha: 'none',
      colorSpaceConversion: 'none',
    });
  } catch {
    throw new Error('it is not an image that this browser can read, or it is damaged');
  }
  const {width, height} = bitmap;
  if (width * height > MOST_PIXELS) {
    throw new Error(`it is ${width} × ${height}, and at most ${MOST_PIXELS} pixels are taken`);
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    const alpha = rgba[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const value = rgba[from + channel];
      pixels[to + channel] = alpha === 255 ? value : onWhite(value, alpha);
    }
  }
  return {bitmap, image: {size: [height, width], pixels}};
}

// A transparent value on white, with the roundings of Pillow.
function onWhite(value, alpha) {
  const mixed = (value * alpha + 255 * (255 - alpha)) * 128 + 128 * 128;
  return ((mixed >> 8) + mixed) >> 15;
}

// [height, width] that an image is resized to.
function resizedSize([height, width], resize) {
  if (resize === null) {
    return [height, width];
  }
  let factor = resize.scale;
  if (Array.isArray(factor)) {
    if (!resize.keep_ratio) {
      return [factor[1], factor[0]];
    }
    factor = Math.min(
      Math.max(...factor) / Math.max(height, width),
      Math.min(...factor) / Math.min(height, width),
    );
  }
  return [Math.trunc(height * factor + 0.5), Math.trunc(width * factor + 0.5)];
}

// The very values of OpenCV's resize of 8 bits.
function resizeImage(image, size, interpolation) {
  const [height, width] = size;
  const [oldHeight, oldWidth] = image.size;
  if (oldHeight === height && oldWidth === width) {
    return image;
  }
  const resized = {size, pixels: new Uint8Array(height * width * 3)};
  if (interpolation === 'nearest') {
    resizeNearest(image, resized);
  } else if (oldHeight === 2 * height && oldWidth === 2 * width) {
    resizeByHalf(image, resized);
  } else {
    resizeBilinear(image, resized);
  }
  return resized;
}

function resizeNearest(image, resized) {
  const [rows, columns] = [0, 1].map((axis) => {
    const [old, now] = [image.size[axis], resized.size[axis]];
    const places = Array.from({length: now}, (_, place) => Math.floor(place * (1 / (now / old))));
    return places.map((place) => Math.min(place, old - 1));
  });
  let to = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * image.size[1] + column) * 3;
      resized.pixels.set(image.pixels.subarray(from, from + 3), to);
      to += 3;
    }
  }
}

// OpenCV then takes the mean of four.
function resizeByHalf(image, resized) {
  const [height, width] = resized.size;
  const stride = image.size[1] * 3;
  const {pixels} = image;
  let to = 0;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = 2 * row * stride + 6 * column;
      for (let at = from; at < from + 3; at++) {
        const upper = pixels[at] + pixels[at + 3];
        const lower = pixels[at + stride] + pixels[at + stride + 3];
        resized.pixels[to++] = (upper + lower + 2) >> 2;
      }
    }
  }
}

// In fixed point: shares of 11 bits, four bits dropped between the two directions.
function resizeBilinear(image, resized) {
  const [height, width] = resized.size;
  const across = taps(image.size[1], width);
  const down = taps(image.size[0], height);
  const stride = image.size[1] * 3;
  const rows = new Map();
  const rowOf = (number) => {
    let row = rows.get(number);
    if (row === undefined) {
      row = new Int32Array(width * 3);
      for (let column = 0, to = 0; column < width; column++) {
        const first = number * stride + across.first[column] * 3;
        const second = number * stride + across.second[column] * 3;
        for (let channel = 0; channel < 3; channel++) {
          row[to++] =
            (image.pixels[first + channel] * across.ofFirst[column] +
              image.pixels[second + channel] * across.ofSecond[column]) >> 4;
        }
      }
      rows.set(number, row);
    }
    return row;
  };
  for (let y = 0, to = 0; y < height; y++) {
    const [upper, lower] = [rowOf(down.first[y]), rowOf(down.second[y])];
    for (let x = 0; x < upper.length; x++) {
      const sum = ((upper[x] * down.ofFirst[y]) >> 16) + ((lower[x] * down.ofSecond[y]) >> 16);
      resized.pixels[to++] = Math.min(Math.max((sum + 2) >> 2, 0), 255);
    }
    for (const number of rows.keys()) {
      if (number < down.first[y]) {
        rows.delete(number); // it is not needed again
      }
    }
  }
}

// The two places that each new one lies between, and the share of each, of 2,048.
function taps(old, now) {
  const places = Array.from({length: now}, (_, place) =>
    Math.fround((place + 0.5) * (1 / (now / old)) - 0.5),
  );
  const within = (place) => Math.min(Math.max(place, 0), old - 1);
  const first = places.map(Math.floor);
  const shares = places.map((place, index) => Math.fround(place - first[index]));
  return {
    first: first.map(within),
    second: first.map((place) => within(place + 1)),
    ofFirst: shares.map((share) => roundToEven(Math.fround(1 - share) * 2048)),
    ofSecond: shares.map((share) => roundToEven(share * 2048)),
  };
}

function roundToEven(value) {
  const below = Math.floor(value);
  const over = value - below;
  return over > 0.5 || (over === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

// A resized image as the network takes it: {data, shape}.
function networkInput(resized, {input, preprocessing}) {
  const [height, width] = resized.size;
  if (preprocessing.inside) {
    const data = input.layout === 'NHWC' ? resized.pixels : planes(resized.pixels, resized.size);
    return {data, shape: inputShape(input.layout, height, width)};
  }
  const padded = resized.size.map(
    (side) => Math.ceil(side / preprocessing.pad_divisor) * preprocessing.pad_divisor,
  );
  const data = new Float32Array(padded[0] * padded[1] * 3).fill(preprocessing.pad_value);
  const order = preprocessing.channel_order === 'RGB' ? [0, 1, 2] : [2, 1, 0];
  order.forEach((from, channel) => {
    const mean = Math.fround(preprocessing.mean[channel]);
    const std = Math.fround(preprocessing.std[channel]);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const place = row * padded[1] + column;
        const value = resized.pixels[(row * width + column) * 3 + from];
        data[place * 3 + channel] = Math.fround(value - mean) / std;
      }
    }
  });
  return {
    data: input.layout === 'NHWC' ? data : planes(data, padded),
    shape: inputShape(input.layout, ...padded),
  };
}

// (H, W, 3) as (3, H, W).
function planes(data, [height, width]) {
  const area = height * width;
  const found = new data.constructor(data.length);
  for (let place = 0; place < area; place++) {
    for (let channel = 0; channel < 3; channel++) {
      found[channel * area + place] = data[place * 3 + channel];
    }
  }
  return found;
}

function inputShape(layout, height, width) {
  return layout === 'NHWC' ? [1, height, width, 3] : [1, 3, height, width];
}

// Refuse an image that comes to a size that the network does not take.
function refuseSize([height, width], given, input) {
  const fits = [
    [input.height, height],
    [input.width, width],
  ].every(([fixed, side]) => (fixed === null || fixed === side) && side % input.multiple === 0);
  if (!fits) {
    const sides = `${input.width ?? 'any width'} × ${input.height ?? 'any height'}`;
    const multiple = input.multiple > 1 ? `, in multiples of ${input.multiple}` : '';
    throw new Error(
      `it is ${given[1]} × ${given[0]}, which comes to ${width} × ${height}, and the model ` +
        `takes ${sides}${multiple}`,
    );
  }
}
