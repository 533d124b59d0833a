// A ZIP archive without compression.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

export function createZip(files) { // {name: Uint8Array}
  const parts = [], directory = [];
  let offset = 0, directorySize = 0;
  for (const [name, bytes] of Object.entries(files)) {
    const encoded = new TextEncoder().encode(name), header = new DataView(new ArrayBuffer(30)), entry = new DataView(new ArrayBuffer(46));
    const fields = [[20, 2], [0x0800, 2], [0, 2], [0, 2], [0x21, 2], [crc32(bytes), 4], [bytes.length, 4], [bytes.length, 4], [encoded.length, 2]];
    header.setUint32(0, 0x04034b50, true);
    entry.setUint32(0, 0x02014b50, true);
    entry.setUint16(4, 20, true);
    let position = 4;
    for (const [value, size] of fields) {
      header[size === 2 ? "setUint16" : "setUint32"](position, value, true);
      entry[size === 2 ? "setUint16" : "setUint32"](position + 2, value, true);
      position += size;
    }
    entry.setUint32(42, offset, true);
    parts.push(header, encoded, bytes);
    directory.push(entry, encoded);
    offset += 30 + encoded.length + bytes.length;
    directorySize += 46 + encoded.length;
  }
  const end = new DataView(new ArrayBuffer(22)), count = Object.keys(files).length;
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, count, true); end.setUint16(10, count, true);
  end.setUint32(12, directorySize, true); end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
