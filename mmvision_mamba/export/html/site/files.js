// Results as files, in the layout of tools/predict.py.

// predictions.json of one image, with objects of this score and above.
function cocoText(name, found, score, classes) {
  const [height, width] = found.size;
  const annotations = shownObjects(found, score).map((object, place) => {
    const [left, top, right, bottom] = object.box;
    const bbox = [left, top, right - left, bottom - top];
    return {
      id: place + 1,
      image_id: 1,
      category_id: object.label + 1,
      bbox,
      score: object.score,
      segmentation: object.runs === null ? [] : runLengths(object.runs, found.size),
      area: object.area ?? bbox[2] * bbox[3],
      iscrowd: 0,
    };
  });
  return JSON.stringify({
    categories: classes.map((className, place) => ({id: place + 1, name: className})),
    images: [{id: 1, file_name: name, width, height}],
    annotations,
  });
}

// A mask's runs along rows in COCO's compressed form, which runs along columns.
function runLengths(runs, [height, width]) {
  const columns = new Map();
  for (let place = 0; place < runs.length; place += 3) {
    for (let column = runs[place + 1]; column < runs[place + 2]; column++) {
      if (!columns.has(column)) {
        columns.set(column, []);
      }
      columns.get(column).push(column * height + runs[place]);
    }
  }
  const counts = [];
  let end = 0;
  for (const column of [...columns.keys()].sort((one, other) => one - other)) {
    for (const place of columns.get(column)) {
      if (place === end && counts.length) {
        counts[counts.length - 1] += 1;
      } else {
        counts.push(place - end, 1);
      }
      end = place + 1;
    }
  }
  if (end < height * width) {
    counts.push(height * width - end);
  }
  return {size: [height, width], counts: compressed(counts)};
}

// Each count as its difference from the last but one, in digits of five bits.
function compressed(counts) {
  let text = '';
  counts.forEach((count, place) => {
    let value = place > 2 ? count - counts[place - 2] : count;
    for (let more = true; more; ) {
      const digit = value & 31;
      value >>= 5;
      more = value !== (digit & 16 ? -1 : 0);
      text += String.fromCharCode(48 + digit + 32 * more);
    }
  });
  return text;
}

// A label map as a PNG file of 8 bits with the classes' colours, or of 16 bits for many classes.
async function labelMapFile({labels, size: [height, width]}, palette) {
  const deep = palette.length > 256;
  const stride = 1 + width * (deep ? 2 : 1);
  const rows = new Uint8Array(height * stride); // each begins with 0: values as they are
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const label = labels[row * width + column];
      if (deep) {
        rows.set([label >> 8, label & 255], row * stride + 1 + 2 * column);
      } else {
        rows[row * stride + 1 + column] = label;
      }
    }
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, deep ? 16 : 8);
  header.setUint8(9, deep ? 0 : 3); // grey, or of a palette
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream('deflate'));
  const parts = [
    Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10),
    ...pngChunk('IHDR', new Uint8Array(header.buffer)),
    ...(deep ? [] : pngChunk('PLTE', Uint8Array.from(palette.flat()))),
    ...pngChunk('IDAT', new Uint8Array(await new Response(packed).arrayBuffer())),
    ...pngChunk('IEND', new Uint8Array(0)),
  ];
  return new Blob(parts, {type: 'image/png'});
}

function pngChunk(kind, data) {
  const body = new Uint8Array(4 + data.length);
  body.set(Array.from(kind, (letter) => letter.charCodeAt(0)));
  body.set(data, 4);
  const [length, sum] = [data.length, checksum(body)].map((value) => {
    const view = new DataView(new ArrayBuffer(4));
    view.setUint32(0, value);
    return view;
  });
  return [length, body, sum];
}

// CRC-32.
function checksum(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
    }
  }
  return ~sum >>> 0;
}
